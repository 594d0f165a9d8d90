-- Did every link that was kept lead to an address, each address counting its links?
-- One row is a difference between the number of links and the mentions of addresses. Silent until `urls` has run.
with
found as (
    select
        (select count(*) from links where drop_reason is null) as links,
        (select coalesce(sum(mentions), 0) from urls) as mentions
)
select links, mentions
from found
where links != mentions and list_contains(getvariable('present'), 'urls');
