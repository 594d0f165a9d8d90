-- What became of every address?
-- One row is one address; drop_reason is null for an image.
create or replace view fetched as
select *
from read_parquet(getvariable('run') || '/fetched/part-*.parquet');
