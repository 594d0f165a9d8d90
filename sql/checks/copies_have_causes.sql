-- Does every dropped copy name the image that was kept instead, or the protected image that it touches?
-- One row is one drop that names no cause though it is of a copy, or names an image that was not kept.
with
protected as (
    select image_id
    from images
    where drop_reason is null and len(list_filter(sets, lambda name: starts_with(name, 'protect:'))) > 0
),
causes as (
    select 'cleaned' as noun, image_id from cleaned where drop_reason is null
    union all
    select 'survivors' as noun, image_id from survivors where drop_reason is null
    union all
    select 'survivors' as noun, image_id from protected
    union all
    select other.noun, images.image_id
    from images
    cross join (
        values ('images'), ('sanitized'), ('descriptors'), ('embeddings'), ('clusters'), ('selection'), ('shards')
    ) as other (noun)
    where images.drop_reason is null
)
select verdicts.noun, verdicts.image_id, verdicts.drop_reason, verdicts.drop_cause
from verdicts
anti join causes on causes.noun = verdicts.noun and causes.image_id = verdicts.drop_cause
where
    verdicts.drop_reason is not null
    and (verdicts.drop_cause is not null or regexp_matches(verdicts.drop_reason, '(^|_)copy(_|$)|duplicate'));
