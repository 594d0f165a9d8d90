-- Which addresses are to be fetched, each once, and in which order?
-- One row is one address. `turn` counts the first address of every host, then the second of every host, ...
create or replace table frontier as
with
merged as (
    select
        url_id,
        count(*) as mentions,
        min_by(url, place) as url,
        min_by(host, place) as host,
        min_by(page, place) filter (page is not null) as page,
        min_by(caption, place) filter (caption is not null) as caption,
        min_by(source, place) as source
    from links
    group by url_id
),
ranked as (
    select *, row_number() over (partition by host order by url_id) as turn_of_host
    from merged
)
select * exclude (turn_of_host), row_number() over (order by turn_of_host, url_id) - 1 as turn
from ranked
order by turn;
