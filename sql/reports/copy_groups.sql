-- Which images have the most copies?
-- One row is one group of copies, the 100 largest.
with
groups as (
    select
        group_id,
        max(group_size) as group_size,
        count(*) filter (drop_reason is null) as kept_images,
        bool_and(usable) as usable
    from survivors
    where group_id is not null
    group by group_id
    order by group_size desc, group_id
    limit 100
)
select groups.group_id, groups.group_size, groups.kept_images, groups.usable, images.uri, images.key
from groups
left join images on images.image_id = groups.group_id and images.drop_reason is null
order by groups.group_size desc, groups.group_id;
