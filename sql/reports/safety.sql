-- What did the detectors find, and what was done about it?
-- One row is the whole run.
select
    count(*) as images,
    count(*) filter (drop_reason = 'nsfw') as nsfw,
    count(*) filter (drop_reason = 'faces') as dropped_for_faces,
    coalesce(sum(faces), 0)::bigint as faces,
    count(*) filter (faces > 0) as with_faces,
    count(*) filter (face_action = 'blurred') as blurred
from sanitized;
