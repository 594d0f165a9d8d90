-- Which images are clean, and no near-exact duplicate of another?
-- One row is one identified image.
create or replace view sanitized as
select *
from read_parquet(getvariable('run') || '/sanitized/part-*.parquet');
