-- Is the edge that tied every dropped image to its group among the stored pairs?
-- One row is one dropped image whose edge is not there.
with
pairs as (
    select a as image_id, b as via from edges
    union all
    select b as image_id, a as via from edges
)
select survivors.image_id, survivors.via, survivors.via_similarity
from survivors
anti join pairs on pairs.image_id = survivors.image_id and pairs.via = survivors.via
where survivors.via is not null;
