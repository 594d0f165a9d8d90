-- How did k-means go, and had it settled?
-- One row is one pass.
create or replace view passes as
select *
from read_parquet(getvariable('run') || '/passes/part-*.parquet');
