-- In which cell is every image that is compared?
-- One row is one image; cell -1 is a protected image, which is compared with all.
create or replace view cells as
select *
from read_parquet(getvariable('run') || '/cells/part-*.parquet');
