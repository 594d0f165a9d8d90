-- Is every image of the manifest one that `survivors` calls usable?
-- One row is one image of the manifest that is not.
select manifest.image_id, survivors.group_id
from manifest
join survivors using (image_id)
where survivors.usable is not true;
