-- Did every address get one answer, and was nothing else fetched?
-- One row is one address without an answer, with several, or that came from nowhere. Silent until `fetched` has run.
with
answers as (
    select url_id, count(*) as answers
    from fetched
    group by url_id
)
select coalesce(urls.url_id, answers.url_id) as url_id, coalesce(answers.answers, 0) as answers
from urls
full join answers using (url_id)
where
    (urls.url_id is null or answers.answers is null or answers.answers != 1)
    and list_contains(getvariable('present'), 'fetched');
