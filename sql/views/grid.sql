-- Into which cells is the descriptors' space cut, and how far do images look?
-- One row is one cell, or one axis of the sketch (cell is null). No rows: all pairs were compared.
create or replace view grid as
select *
from read_parquet(getvariable('run') || '/grid/part-*.parquet');
