-- Which pool images are most like each seed image?
-- One row is one (seed image, pool image) pair.
create or replace view neighbors as
select *
from read_parquet(getvariable('run') || '/neighbors/part-*.parquet');
