-- Which input units was the run split into?
-- One row is one input unit: a file, a byte range of a tar, a row range of a Parquet file.
create or replace view sources as
select *
from read_parquet(getvariable('run') || '/sources/part-*.parquet');
