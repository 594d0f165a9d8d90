-- How do hosts answer, and how much of what they give is unsafe?
-- One row is one host, the most images first; rates are shares of its images that the step received.
with
placed as (
    select
        regexp_extract(coalesce(images.url, images.uri), '^[a-z0-9+]+://([^/:?#]+)', 1) as host,
        sanitized.drop_reason,
        sanitized.nsfw,
        sanitized.faces,
        sanitized.face_action
    from images
    join sanitized using (image_id)
    where images.drop_reason is null
)
select
    host,
    count(*) as images,
    count(*) filter (drop_reason = 'nsfw') as nsfw,
    round(count(*) filter (drop_reason = 'nsfw') / count(*), 4) as nsfw_rate,
    count(*) filter (faces > 0) as with_faces,
    round(count(*) filter (faces > 0) / count(*), 4) as face_rate,
    count(*) filter (face_action = 'blurred') as blurred
from placed
group by host
order by images desc, host;
