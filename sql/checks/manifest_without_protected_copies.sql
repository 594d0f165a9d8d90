-- Is no copy of a protected image in the manifest, at the similarity that the recipe gives?
-- One row is one (image of the manifest, protected image) pair at or above it. Silent if the recipe gives none.
with
protected as (
    select image_id
    from images
    where drop_reason is null and len(list_filter(sets, lambda name: starts_with(name, 'protect:'))) > 0
),
pairs as (
    select a as image_id, b as protected_id, similarity, agreement, shared
    from edges
    union all
    select b as image_id, a as protected_id, similarity, agreement, shared
    from edges
)
select pairs.image_id, pairs.protected_id, pairs.similarity
from pairs
semi join manifest on manifest.image_id = pairs.image_id
semi join protected on protected.image_id = pairs.protected_id
where
    pairs.similarity >= getvariable('reference_similarity')::float
    and (
        coalesce(getvariable('confirm')::float, 0) = 0
        or pairs.similarity + pairs.agreement >= getvariable('confirm')::float
        or (getvariable('shared')::float > 0 and pairs.shared >= getvariable('shared')::float)
    );
