-- Which bytes were written to the curated shards?
-- One row is one image written to, or refused from, a shard.
create or replace view shards as
select *
from read_parquet(getvariable('run') || '/shards/part-*.parquet');
