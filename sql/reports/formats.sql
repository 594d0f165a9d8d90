-- Which image formats came in, and which of them are in the curated set?
-- One row is one format, null where the bytes could not be told.
with
curated_set as (
    select format, count(*) as manifest_images, sum(length) as manifest_bytes
    from manifest
    group by format
),
found as (
    select
        format,
        count(*) as files,
        count(*) filter (drop_reason is null) as kept_images,
        sum(length) as found_bytes
    from images
    group by format
)
select
    found.format,
    found.files,
    found.kept_images,
    coalesce(curated_set.manifest_images, 0) as manifest_images,
    found.found_bytes::bigint as found_bytes,
    coalesce(curated_set.manifest_bytes, 0)::bigint as manifest_bytes
from found
left join curated_set on curated_set.format is not distinct from found.format
order by found.files desc, found.format;
