-- Why did addresses give no image?
-- One row is one error class, the most frequent first.
select
    drop_reason,
    count(*) as urls,
    round(100 * count(*) / (select count(*) from fetched), 2) as percent,
    any_value(error_message) as for_example
from fetched
where drop_reason is not null
group by drop_reason
order by urls desc, drop_reason;
