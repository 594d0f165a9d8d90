-- What does the copy-detection network see in each image?
-- One row is one clean image.
-- `offset 0` keeps filters out of the Parquet reader: DuckDB 2.0.0 answers `is null` wrongly there for text columns
-- that are stored without a dictionary, as beside vectors, and hold one value and nulls.
create or replace view descriptors as
select *
from read_parquet(getvariable('run') || '/descriptors/part-*.parquet')
offset 0;
