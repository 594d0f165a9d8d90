-- Does every dropped image say why?
-- One row is one verdict with an empty reason, or with a limit or a cause but no reason.
select noun, image_id, drop_reason, drop_limit, drop_cause
from verdicts
where trim(drop_reason) = '' or (drop_reason is null and (drop_limit is not null or drop_cause is not null));
