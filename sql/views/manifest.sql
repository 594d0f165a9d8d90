-- What is in the curated set?
-- One row is one selected image, part N describes shard N.
create or replace view manifest as
select *
from read_parquet(getvariable('run') || '/manifest/part-*.parquet');
