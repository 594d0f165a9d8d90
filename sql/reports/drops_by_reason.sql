-- Why were images dropped?
-- One row is one reason at one noun, in the order of the flow, the most frequent first.
with
steps (step, noun) as (
    select row_number() over (), noun
    from funnel
),
reasons as (
    select
        noun,
        drop_reason,
        count(*) as images,
        min(drop_score) as lowest_score,
        max(drop_score) as highest_score,
        any_value(drop_limit) as drop_limit
    from verdicts
    where drop_reason is not null
    group by noun, drop_reason
)
select
    reasons.noun,
    reasons.drop_reason,
    reasons.images,
    round(100 * reasons.images / funnel.received, 2) as percent_of_received,
    reasons.lowest_score,
    reasons.highest_score,
    reasons.drop_limit
from reasons
join funnel using (noun)
join steps using (noun)
order by steps.step, reasons.images desc, reasons.drop_reason;
