-- Which images were dropped, where, why, and where are their files?
-- One row is one dropped image.
create or replace view dropped as
with
identified as (
    select image_id, uri, key
    from images
    where drop_reason is null
)
select 'images' as noun, image_id, drop_reason, drop_score, drop_limit, drop_model, drop_cause, error_message, uri, key
from images
where drop_reason is not null
union all
select verdicts.*, identified.uri, identified.key
from verdicts
left join identified using (image_id)
where verdicts.noun <> 'images' and verdicts.drop_reason is not null;
