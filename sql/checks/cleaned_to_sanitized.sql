-- Was every image that `cleaned` kept, and no other, looked at for what is unsafe?
-- One row is one image that was lost before `sanitized`, or came from nowhere. Silent until `sanitized` has run.
with
received as (
    select image_id
    from cleaned
    where drop_reason is null
),
problems as (
    select image_id, 'lost' as problem
    from received
    anti join sanitized using (image_id)
    union all
    select image_id, 'unexpected' as problem
    from sanitized
    anti join received using (image_id)
)
select image_id, problem
from problems
where list_contains(getvariable('present'), 'sanitized');
