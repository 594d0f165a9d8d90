-- Is every chosen image in the manifest, unless its bytes were refused from the shards, and is nothing else in it?
-- One row is one image that was lost before the manifest, or came from nowhere. Silent until `manifest` has run.
with
received as (
    select image_id
    from selection
    where drop_reason is null
),
refused as (
    select image_id
    from shards
    where drop_reason is not null
),
problems as (
    select image_id, 'lost' as problem
    from received
    anti join manifest using (image_id)
    anti join refused using (image_id)
    union all
    select image_id, 'unexpected' as problem
    from manifest
    anti join received using (image_id)
)
select image_id, problem
from problems
where list_contains(getvariable('present'), 'manifest');
