-- Which addresses are to be fetched?
-- One row is one address.
create or replace view urls as
select *
from read_parquet(getvariable('run') || '/urls/part-*.parquet');
