-- Which images were chosen by the most seed images?
-- One row is one image of the manifest, the 100 with the most hits.
select image_id, hits, weight, seed_set, mode, similarity, uri, key, caption
from manifest
order by hits desc, image_id
limit 100;
