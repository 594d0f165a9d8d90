-- Was every image that `survivors` kept, and no other, embedded?
-- One row is one image that was lost before `embeddings`, or came from nowhere. Silent until `embeddings` has run.
with
received as (
    select image_id
    from survivors
    where drop_reason is null
),
problems as (
    select image_id, 'lost' as problem
    from received
    anti join embeddings using (image_id)
    union all
    select image_id, 'unexpected' as problem
    from embeddings
    anti join received using (image_id)
)
select image_id, problem
from problems
where list_contains(getvariable('present'), 'embeddings');
