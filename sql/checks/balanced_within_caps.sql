-- Do clusters under one parent give the balanced draw equally much, but for those that have no more to give?
-- One row is one parent whose children do not. Images that are drawn several times count as often.
with recursive
ancestors as (
    select cluster as leaf, level, cluster, parent
    from centroids
    where level = 1
    union all
    select ancestors.leaf, above.level, above.cluster, above.parent
    from ancestors
    join centroids as above on above.level = ancestors.level + 1 and above.cluster = ancestors.parent
),
draws as (
    select image_id, count(*) as times
    from (
        select image_id, unnest(from_json(chosen_by, '[{"mode": "VARCHAR"}]')) as choice
        from selection
        where drop_reason is null
    )
    where choice.mode = 'balanced'
    group by image_id
),
leaves as (
    select clusters.cluster as leaf, count(*) as images, coalesce(sum(draws.times), 0) as given
    from clusters
    join survivors using (image_id)
    left join draws using (image_id)
    where
        clusters.drop_reason is null
        and survivors.usable
        and list_contains(survivors.sets, 'pool')
    group by clusters.cluster
),
children as (
    select
        ancestors.level,
        ancestors.parent,
        sum(leaves.given) as given,
        sum(leaves.images) * (select max(times) from draws) as most
    from ancestors
    join leaves using (leaf)
    group by ancestors.level, ancestors.cluster, ancestors.parent
)
select
    level + 1 as level,
    parent as cluster,
    max(given) as most_given,
    min(given) filter (where given < most) as least_given
from children
group by level, parent
having most_given > least_given + 1;
