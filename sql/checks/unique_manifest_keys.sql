-- Does every key of a curated shard name one image?
-- One row is one (shard, shard_key) that is missing or names several images.
select shard, shard_key, count(*) as images
from manifest
group by shard, shard_key
having count(*) > 1 or shard is null or shard_key is null;
