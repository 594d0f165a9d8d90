-- Which cluster is each pool image in?
-- One row is one embedded image of the pool.
create or replace view clusters as
select *
from read_parquet(getvariable('run') || '/clusters/part-*.parquet');
