-- What does the encoder see in each image?
-- One row is one surviving image.
-- `offset 0` keeps filters out of the Parquet reader: DuckDB 2.0.0 answers `is null` wrongly there for text columns
-- that are stored without a dictionary, as beside vectors, and hold one value and nulls.
create or replace view embeddings as
select *
from read_parquet(getvariable('run') || '/embeddings/part-*.parquet')
offset 0;
