-- Which images are safe, and where are their bytes, with faces blurred?
-- One row is one image that `cleaned` kept.
create or replace view sanitized as
select *
from read_parquet(getvariable('run') || '/sanitized/part-*.parquet');
