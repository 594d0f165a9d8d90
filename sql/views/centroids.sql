-- Where are the clusters, and how large are they?
-- One row is one cluster.
create or replace view centroids as
select *
from read_parquet(getvariable('run') || '/centroids/part-*.parquet');
