-- Does every image have one row in every noun that has one row per image?
-- One row is one image with several rows in one noun.
with
rows as (
    select 'screened' as noun, image_id from screened
    union all
    select 'cleaned' as noun, image_id from cleaned
    union all
    select 'sanitized' as noun, image_id from sanitized
    union all
    select 'descriptors' as noun, image_id from descriptors
    union all
    select 'survivors' as noun, image_id from survivors
    union all
    select 'embeddings' as noun, image_id from embeddings
    union all
    select 'clusters' as noun, image_id from clusters
    union all
    select 'selection' as noun, image_id from selection
    union all
    select 'manifest' as noun, image_id from manifest
    union all
    select 'shards' as noun, image_id from shards
)
select noun, image_id, count(*) as rows
from rows
group by noun, image_id
having count(*) > 1;
