-- Which images are no near-exact duplicate of another?
-- One row is one identified image.
create or replace view cleaned as
select *
from read_parquet(getvariable('run') || '/cleaned/part-*.parquet');
