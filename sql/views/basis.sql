-- What are the directions of the PCA hash?
-- One row is one direction, row -1 is the mean image.
create or replace view basis as
select *
from read_parquet(getvariable('run') || '/basis/part-*.parquet');
