-- Was every image that `embeddings` kept, a pool image or a seed, and no other, in a cluster?
-- One row is one image that was lost before `clusters`, or came from nowhere. Silent until `clusters` has run.
with
received as (
    select image_id
    from embeddings
    where drop_reason is null
),
problems as (
    select image_id, 'lost' as problem
    from received
    anti join clusters using (image_id)
    union all
    select image_id, 'unexpected' as problem
    from clusters
    anti join received using (image_id)
)
select image_id, problem
from problems
where list_contains(getvariable('present'), 'clusters');
