-- Are the neighbours of every seed image ranked 1, 2, 3, ... from the nearest?
-- One row is one neighbour with a rank out of sequence, or nearer than the one ranked above it.
with
ordered as (
    select
        seed_set, seed_id, rank, image_id, similarity,
        row_number() over by_rank as expected_rank,
        lag(similarity) over by_rank as similarity_above
    from neighbors
    window by_rank as (partition by seed_set, seed_id order by rank)
)
select seed_set, seed_id, rank, image_id, similarity, expected_rank, similarity_above
from ordered
where rank is distinct from expected_rank or similarity > similarity_above;
