-- Does every chosen image have a positive, finite weight?
-- One row is one chosen image that has not.
with
weights as (
    select 'selection' as noun, image_id, weight
    from selection
    where drop_reason is null
    union all
    select 'manifest' as noun, image_id, weight
    from manifest
)
select noun, image_id, weight
from weights
where weight is null or not isfinite(weight) or weight <= 0;
