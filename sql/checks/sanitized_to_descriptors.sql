-- Was every image that `sanitized` kept, and no other, given a descriptor?
-- One row is one image that was lost before `descriptors`, or came from nowhere. Silent until `descriptors` has run.
with
received as (
    select image_id
    from sanitized
    where drop_reason is null
),
problems as (
    select image_id, 'lost' as problem
    from received
    anti join descriptors using (image_id)
    union all
    select image_id, 'unexpected' as problem
    from descriptors
    anti join received using (image_id)
)
select image_id, problem
from problems
where list_contains(getvariable('present'), 'descriptors');
