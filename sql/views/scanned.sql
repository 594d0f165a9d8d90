-- What was found in the sources, before exact duplicates were known?
-- One row is one file or member.
create or replace view scanned as
select *
from read_parquet(getvariable('run') || '/scanned/part-*.parquet');
