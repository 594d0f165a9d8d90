-- Which images were found, and which of them are used?
-- One row is one file or member, image_id is unique where status is 'success'.
-- `status` is 'success' or the drop reason.
create or replace view images as
select *, coalesce(drop_reason, 'success') as status
from read_parquet(getvariable('run') || '/images/part-*.parquet');
