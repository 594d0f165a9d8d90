-- What did every seed set bring in, by which mode?
-- One row is one (seed set, mode), the mode is null for a seed set that chose nothing.
with
members as (
    select unnest(sets) as name
    from images
    where drop_reason is null
),
seeds as (
    select substr(name, 6) as seed_set, count(*) as seed_images
    from members
    where starts_with(name, 'seed:')
    group by name
),
choices as (
    select
        image_id,
        unnest(from_json(chosen_by, '[{"seed_set": "VARCHAR", "mode": "VARCHAR", "similarity": "FLOAT"}]')) as choice
    from selection
    where drop_reason is null
),
chosen as (
    select
        choice.seed_set as seed_set,
        choice.mode as mode,
        count(distinct image_id) as chosen_images,
        count(*) as hits,
        avg(choice.similarity) as mean_similarity
    from choices
    group by choice.seed_set, choice.mode
)
select
    seed_set,
    chosen.mode,
    coalesce(seeds.seed_images, 0) as seed_images,
    coalesce(chosen.chosen_images, 0) as chosen_images,
    coalesce(chosen.hits, 0) as hits,
    round(chosen.mean_similarity, 4) as mean_similarity
from seeds
full join chosen using (seed_set)
order by seed_set, chosen.mode;
