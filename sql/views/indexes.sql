-- How is the pool searched for the neighbours of each seed set, and with what recall?
-- One row is one (shard of the pool, seed set).
create or replace view indexes as
select *
from read_parquet(getvariable('run') || '/indexes/part-*.parquet');
