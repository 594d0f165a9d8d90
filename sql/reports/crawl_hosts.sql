-- How did every host of a crawl answer?
-- One row is one host, the most addresses first.
with
answers as (
    select urls.host, fetched.drop_reason, fetched.robots, fetched.seconds, fetched.length
    from fetched
    join urls using (url_id)
)
select
    host,
    count(*) as urls,
    count(*) filter (drop_reason is null) as images,
    mode(drop_reason) as main_reason,
    max(robots) as robots,
    coalesce(sum(length), 0) as bytes,
    round(median(seconds), 3) as median_seconds
from answers
group by host
order by urls desc, host;
