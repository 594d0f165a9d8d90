-- What was measured of each image?
-- One row is one identified image.
create or replace view screened as
select *
from read_parquet(getvariable('run') || '/screened/part-*.parquet');
