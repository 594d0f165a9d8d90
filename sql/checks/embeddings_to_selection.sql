-- Was every image that `embeddings` kept, and no other, chosen or not?
-- One row is one image that was lost before `selection`, or came from nowhere. Silent until `selection` has run.
with
received as (
    select image_id
    from embeddings
    where drop_reason is null
),
problems as (
    select image_id, 'lost' as problem
    from received
    anti join selection using (image_id)
    union all
    select image_id, 'unexpected' as problem
    from selection
    anti join received using (image_id)
)
select image_id, problem
from problems
where list_contains(getvariable('present'), 'selection');
