-- Which pairs of images are copies of each other?
-- One row is one pair at or above the lowest similarity in use.
create or replace view edges as
select *
from read_parquet(getvariable('run') || '/edges/part-*.parquet');
