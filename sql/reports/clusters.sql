-- How many images of the pool does every cluster hold, before and after selection?
-- One row is one cluster, the largest first.
with
before as (
    select cluster, count(*) as pool_images, avg(similarity) as mean_similarity
    from clusters
    semi join (select image_id from survivors where list_contains(sets, 'pool')) using (image_id)
    where drop_reason is null
    group by cluster
),
after as (
    select cluster, count(*) as manifest_images
    from manifest
    where cluster is not null
    group by cluster
)
select
    before.cluster,
    before.pool_images,
    coalesce(after.manifest_images, 0) as manifest_images,
    round(100 * coalesce(after.manifest_images, 0) / before.pool_images, 2) as percent_selected,
    round(before.mean_similarity, 4) as mean_similarity
from before
left join after using (cluster)
order by before.pool_images desc, before.cluster;
