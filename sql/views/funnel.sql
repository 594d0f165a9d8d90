-- How many images did every noun receive, keep and drop?
-- One row is one noun, in the order of the flow, zeros where it has not run.
create or replace view funnel as
with
steps (step, noun) as (
    values (1, 'images'), (2, 'cleaned'), (3, 'sanitized'), (4, 'descriptors'), (5, 'survivors'), (6, 'embeddings'),
    (7, 'clusters'), (8, 'selection'), (9, 'shards'), (10, 'manifest')
),
counts as (
    select noun, count(*) as received, count(*) filter (drop_reason is null) as kept
    from verdicts
    group by noun
    union all
    select 'manifest' as noun, count(*) as received, count(*) as kept
    from manifest
)
select
    steps.noun,
    coalesce(counts.received, 0) as received,
    coalesce(counts.kept, 0) as kept,
    coalesce(counts.received - counts.kept, 0) as dropped
from steps
left join counts using (noun)
order by steps.step;
