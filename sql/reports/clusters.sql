-- How large is every cluster, before and after selection?
-- One row is one cluster, the largest first.
with
before as (
    select cluster, count(*) as images, avg(similarity) as mean_similarity
    from clusters
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
    before.images,
    coalesce(after.manifest_images, 0) as manifest_images,
    round(100 * coalesce(after.manifest_images, 0) / before.images, 2) as percent_selected,
    round(before.mean_similarity, 4) as mean_similarity
from before
left join after using (cluster)
order by before.images desc, before.cluster;
