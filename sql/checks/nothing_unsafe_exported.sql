-- Is every image of the manifest one that the detectors let pass, with its faces blurred where that was asked for?
-- One row is one image of the manifest that was quarantined, or whose bytes are not those that sanitizing left.
select manifest.image_id, sanitized.drop_reason, manifest.bytes_sha256
from manifest
left join sanitized using (image_id)
where
    list_contains(getvariable('present'), 'sanitized')
    and (
        sanitized.image_id is null
        or sanitized.drop_reason is not null
        or sanitized.bytes_sha256 is distinct from manifest.bytes_sha256
    );
