-- What did every noun decide about every image it received?
-- One row is one image at one noun. drop_reason is null where it was kept.
create or replace view verdicts as
select 'images' as noun, image_id, drop_reason, drop_score, drop_limit, drop_model, drop_cause, error_message
from images
union all
select 'cleaned' as noun, image_id, drop_reason, drop_score, drop_limit, drop_model, drop_cause, error_message
from cleaned
union all
select 'sanitized' as noun, image_id, drop_reason, drop_score, drop_limit, drop_model, drop_cause, error_message
from sanitized
union all
select 'descriptors' as noun, image_id, drop_reason, drop_score, drop_limit, drop_model, drop_cause, error_message
from descriptors
union all
select 'survivors' as noun, image_id, drop_reason, drop_score, drop_limit, drop_model, drop_cause, error_message
from survivors
union all
select 'embeddings' as noun, image_id, drop_reason, drop_score, drop_limit, drop_model, drop_cause, error_message
from embeddings
union all
select 'clusters' as noun, image_id, drop_reason, drop_score, drop_limit, drop_model, drop_cause, error_message
from clusters
union all
select 'selection' as noun, image_id, drop_reason, drop_score, drop_limit, drop_model, drop_cause, error_message
from selection
union all
select 'shards' as noun, image_id, drop_reason, drop_score, drop_limit, drop_model, drop_cause, error_message
from shards;
