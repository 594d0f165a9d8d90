-- How large are the images, before and after curation?
-- One row is one range of the shorter side, in pixels, without the upper end.
with
sides as (
    select 'images' as noun, least(width, height) as side_pixels
    from images
    where drop_reason is null
    union all
    select 'manifest' as noun, least(width, height) as side_pixels
    from manifest
),
ranges (from_pixels, to_pixels) as (
    values (0, 64), (64, 128), (128, 224), (224, 336), (336, 512), (512, 768), (768, 1024),
    (1024, 2048), (2048, 4096), (4096, null)
)
select
    ranges.from_pixels,
    ranges.to_pixels,
    count(*) filter (sides.noun = 'images') as kept_images,
    count(*) filter (sides.noun = 'manifest') as manifest_images
from ranges
left join sides
    on sides.side_pixels >= ranges.from_pixels
    and (ranges.to_pixels is null or sides.side_pixels < ranges.to_pixels)
group by ranges.from_pixels, ranges.to_pixels
order by ranges.from_pixels;
