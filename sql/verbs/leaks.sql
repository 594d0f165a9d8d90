-- Which images of the pool touch which images of a protected set, and what became of them?
-- One row is one (pool image, protected image) pair. $against: name of the set; $similarity: cosine from which pairs are
-- listed; $confirm: cosine + agreement from which they are believed, 0: all; $shared: or this many keypoints.
with
protected as (
    select image_id, uri
    from images
    where drop_reason is null and list_contains(sets, 'protect:' || $against)
),
pool as (
    select image_id, uri
    from images
    where drop_reason is null and list_contains(sets, 'pool')
),
files as (
    select image_id, min(uri) filter ("set" = 'pool') as pool_uri, min(uri) filter ("set" <> 'pool') as protected_uri
    from scanned
    where "set" in ('pool', 'protect:' || $against)
    group by image_id
),
alleged as (
    select a as image_id, b as protected_id, similarity, agreement, shared from edges
    union all
    select b as image_id, a as protected_id, similarity, agreement, shared from edges
),
pairs as (
    select image_id, protected_id, 'edge' as kind, similarity, agreement
    from alleged
    where
        similarity >= $similarity::float
        and ($confirm = 0 or similarity + agreement >= $confirm or ($shared > 0 and shared >= $shared))
    union all
    select pool.image_id, pool.image_id as protected_id, 'same bytes' as kind, 1.0 as similarity, null as agreement
    from pool
    semi join protected on protected.image_id = pool.image_id
    union all
    select image_id, drop_cause as protected_id, 'near exact' as kind, null as similarity, null as agreement
    from cleaned
    where drop_reason = 'near_exact_duplicate'
),
ends as (
    select image_id, min(noun) as dropped_at, min(drop_reason) as drop_reason
    from dropped
    where noun <> 'images'
    group by image_id
)
select
    coalesce(files.pool_uri, pool.uri) as uri,
    coalesce(others.protected_uri, protected.uri) as protected_uri,
    pairs.kind,
    pairs.similarity,
    pairs.agreement,
    ends.dropped_at,
    ends.drop_reason,
    pairs.image_id,
    pairs.protected_id
from pairs
join pool on pool.image_id = pairs.image_id
join protected on protected.image_id = pairs.protected_id
left join files on files.image_id = pairs.image_id
left join files as others on others.image_id = pairs.protected_id
left join ends on ends.image_id = pairs.image_id
order by pairs.similarity desc nulls last, uri, protected_uri, pairs.image_id, pairs.protected_id;
