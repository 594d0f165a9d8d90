-- Was every image that `descriptors` kept, and no other, judged as a copy or not?
-- One row is one image that was lost before `survivors`, or came from nowhere. Silent until `survivors` has run.
with
received as (
    select image_id
    from descriptors
    where drop_reason is null
),
problems as (
    select image_id, 'lost' as problem
    from received
    anti join survivors using (image_id)
    union all
    select image_id, 'unexpected' as problem
    from survivors
    anti join received using (image_id)
)
select image_id, problem
from problems
where list_contains(getvariable('present'), 'survivors');
