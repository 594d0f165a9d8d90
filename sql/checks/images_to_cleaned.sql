-- Was every image that `images` kept, and no other, looked at for near-exact duplicates?
-- One row is one image that was lost before `cleaned`, or came from nowhere. Silent until `cleaned` has run.
with
received as (
    select image_id
    from images
    where drop_reason is null
),
problems as (
    select image_id, 'lost' as problem
    from received
    anti join cleaned using (image_id)
    union all
    select image_id, 'unexpected' as problem
    from cleaned
    anti join received using (image_id)
)
select image_id, problem
from problems
where list_contains(getvariable('present'), 'cleaned');
