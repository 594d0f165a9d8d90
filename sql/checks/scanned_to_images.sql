-- Is every file and member that was scanned still a row of `images`, as often as it was found?
-- One row is one image_id (null: never identified) with different numbers of rows. Silent until `images` has run.
with
before as (
    select image_id, count(*) as files
    from scanned
    group by image_id
),
after as (
    select image_id, count(*) as files
    from images
    group by image_id
)
select
    coalesce(before.image_id, after.image_id) as image_id,
    coalesce(before.files, 0) as scanned_files,
    coalesce(after.files, 0) as image_files
from before
full join after on before.image_id is not distinct from after.image_id
where before.files is distinct from after.files and list_contains(getvariable('present'), 'images');
