-- Did every seed set take as they are only images of its own, and everything else from the pool?
-- One row is one choice of an image that is in neither.
with
choices as (
    select image_id, choice.seed_set, choice.mode
    from (
        select image_id, unnest(from_json(chosen_by, '[{"seed_set": "VARCHAR", "mode": "VARCHAR"}]')) as choice
        from selection
        where drop_reason is null
    )
    union
    select image_id, seed_set, mode
    from selection
    where drop_reason is null
)
select choices.image_id, choices.seed_set, choices.mode, survivors.sets
from choices
join survivors using (image_id)
where
    not list_contains(
        survivors.sets,
        case choices.mode when 'as_is' then 'seed:' || choices.seed_set else 'pool' end
    );
