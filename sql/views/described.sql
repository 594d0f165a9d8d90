-- What did the copy-detection network see in each image, before whitening?
-- One row is one clean image; none unless the recipe whitens its descriptors.
-- `offset 0` as in descriptors.sql.
create or replace view described as
select *
from read_parquet(getvariable('run') || '/described/part-*.parquet')
offset 0;
