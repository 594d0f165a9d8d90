-- Which images were chosen, by what, and why not the others?
-- One row is one embedded image.
create or replace view selection as
select *
from read_parquet(getvariable('run') || '/selection/part-*.parquet');
