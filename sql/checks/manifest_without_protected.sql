-- Is no image of a protected set in the manifest?
-- One row is one image of the manifest whose bytes a protected set holds.
with
protected as (
    select image_id
    from images
    where drop_reason is null and len(list_filter(sets, lambda name: starts_with(name, 'protect:'))) > 0
)
select image_id
from manifest
semi join protected using (image_id);
