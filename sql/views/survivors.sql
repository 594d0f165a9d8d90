-- Which image of every group of copies stays, and may it enter the manifest?
-- One row is one described image.
create or replace view survivors as
select *
from read_parquet(getvariable('run') || '/survivors/part-*.parquet');
