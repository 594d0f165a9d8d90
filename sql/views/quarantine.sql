-- Which images were put aside as unsafe?
-- One row is one image. It is in no shard; the pool's own file is not touched.
create or replace view quarantine as
select
    sanitized.image_id,
    sanitized.drop_reason,
    sanitized.drop_score,
    sanitized.drop_limit,
    sanitized.nsfw_class,
    sanitized.nsfw_models,
    images.uri,
    images.member,
    images.url
from sanitized
join images using (image_id)
where sanitized.drop_reason in ('nsfw', 'faces') and images.drop_reason is null;
