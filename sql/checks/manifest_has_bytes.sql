-- Is every image of the manifest in the shard it names, with the same bytes, and is nothing else in the shards?
-- One row is one image whose bytes are missing, refused, different, elsewhere, or in a shard without a manifest row.
-- Silent until `shards` has run.
with
written as (
    select image_id, sha256, length, shard, member, metadata
    from shards
    where drop_reason is null
),
problems as (
    select
        coalesce(manifest.image_id, written.image_id) as image_id,
        case
            when written.image_id is null then 'no bytes'
            when manifest.image_id is null then 'not in the manifest'
            when written.metadata = 'kept' and written.sha256 is distinct from manifest.bytes_sha256 then 'other bytes'
            when written.length > manifest.length + 512 then 'other length'
            when written.shard is distinct from manifest.shard then 'other shard'
            when not starts_with(written.member, manifest.shard_key || '.') then 'other key'
        end as problem
    from manifest
    full join written using (image_id)
)
select image_id, problem
from problems
where problem is not null and list_contains(getvariable('present'), 'shards');
