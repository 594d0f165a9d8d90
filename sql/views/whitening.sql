-- What is subtracted from the descriptors, and by which matrix are they multiplied?
-- One row is one row of the matrix, row -1 the mean; none unless the recipe whitens its descriptors.
create or replace view whitening as
select *
from read_parquet(getvariable('run') || '/whitening/part-*.parquet');
