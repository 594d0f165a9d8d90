-- Is every image_id kept only once among the images?
-- One row is one image_id that is kept more than once.
select image_id, count(*) as kept_files
from images
where drop_reason is null
group by image_id
having count(*) > 1;
