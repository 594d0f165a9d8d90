-- Which groups of copies are suspiciously large, or hang together by chains of weak links?
-- One row is one group with an image that has no edge to the one kept, or with 1,000 images or more; the 100 largest.
select
    group_id,
    max(group_size) as group_size,
    count(via) as chained_images,
    min(coalesce(via_similarity, drop_score)) as weakest_similarity
from survivors
where group_id is not null
group by group_id
having max(group_size) >= 1000 or count(via) > 0
order by group_size desc, chained_images desc, group_id
limit 100;
