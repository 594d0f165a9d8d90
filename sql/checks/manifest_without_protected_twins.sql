-- Is no image in the manifest whose near-exact duplicate, dropped in its favour, was a protected image?
-- One row is one (image of the manifest, protected image) pair.
with
protected as (
    select image_id
    from images
    where drop_reason is null and len(list_filter(sets, lambda name: starts_with(name, 'protect:'))) > 0
)
select twins.drop_cause as image_id, twins.image_id as protected_id
from cleaned as twins
semi join protected on protected.image_id = twins.image_id
semi join manifest on manifest.image_id = twins.drop_cause
where twins.drop_reason is not null;
