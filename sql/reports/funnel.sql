-- How many images are left after every noun?
-- One row is one noun, in the order of the flow.
select
    noun,
    received,
    kept,
    dropped,
    round(100 * kept / nullif(received, 0), 2) as percent_kept
from funnel;
