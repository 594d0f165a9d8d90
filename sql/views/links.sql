-- Which links were found in lists, pages and archives?
-- One row is one link, or one row or record that could not be read.
create or replace view links as
select *
from read_parquet(getvariable('run') || '/links/part-*.parquet');
