"""sanitized: what detectors find decides what happens to an image, and every step leaves its receipt."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from curation import records
from curation.stages.sanitized import Detectors, SanitizedConfig, sanitize
from tests.curation.making import POOL, encoded, image_row, picture


class Nsfw:
    """Calls an image as unsafe as its first pixel is red."""

    name, digest, classes, limits = "red", "a" * 64, ("safe", "red"), {"red": 0.5}

    def __call__(self, images):
        return np.array([[0.1, image[0, 0, 0] / 255] for image in images], np.float32)


class Faces:
    """A face in the middle of every image that is wider than high."""

    name, digest = "wide", "b" * 64

    def __call__(self, images):
        found = []
        for image in images:
            height, width = image.shape[:2]
            box = [width / 4, height / 4, 3 * width / 4, 3 * height / 4, 0.9]
            low = [0, 0, 5, 5, 0.1]
            found.append(np.array([box, low] if width > height else np.zeros((0, 5)), np.float32).reshape(-1, 5))
        return found


BOTH = Detectors((Nsfw(),), Faces())


def sanitized(data: bytes, sets=POOL, detectors: Detectors = BOTH, **options) -> dict:
    digest = hashlib.sha256(data).hexdigest()
    row = image_row(digest[:32], sets, sha256=digest, length=len(data), format=options.pop("format", "PNG"), orientation=1)
    batch = pa.Table.from_pylist([row], schema=records.IMAGES).append_column("bytes", pa.array([data], pa.large_binary()))
    (out,) = sanitize(batch, detectors, SanitizedConfig(**options)).to_pylist()
    assert out["image_id"] == digest[:32]
    return out


def coloured(red: int, size: tuple[int, int] = (80, 80)) -> Image.Image:
    image = picture(1).resize(size)
    image.paste((red, 0, 0), (0, 0, 4, 4))
    return image


def test_a_clean_image_keeps_its_bytes_and_its_place() -> None:
    data = encoded(coloured(0))
    row = sanitized(data)
    assert (row["drop_reason"], row["members"], row["faces"], row["face_action"]) == (None, [], 0, None)
    assert (row["uri"], row["length"], row["bytes_sha256"]) == ("nowhere", len(data), hashlib.sha256(data).hexdigest())
    assert (row["nsfw_models"], row["face_model"]) == (["a" * 64], "b" * 64)
    assert json.loads(row["nsfw_scores"]) == {"red": {"safe": 0.1}}


def test_an_unsafe_image_of_the_pool_is_quarantined_with_its_receipt() -> None:
    row = sanitized(encoded(coloured(255, (120, 80))))
    assert (row["drop_reason"], row["drop_score"], row["drop_limit"], row["drop_model"]) == ("nsfw", 1, 0.5, "a" * 64)
    assert (row["nsfw"], row["nsfw_class"], row["error_message"]) == (2, "red", "red")
    assert (row["members"], row["faces"]) == ([], None)  # nothing of it is written


def test_seeds_are_vouched_for_but_scored_and_blurred() -> None:
    row = sanitized(encoded(coloured(255, (120, 80))), sets=["pool", "seed:s"])
    assert (row["drop_reason"], row["nsfw"], row["face_action"]) == (None, 2, "blurred")
    assert (row["drop_score"], row["drop_model"]) == (None, None)


def test_limits_of_the_recipe_go_before_the_detectors_own() -> None:
    half = encoded(coloured(140))
    assert sanitized(half)["drop_reason"] == "nsfw"
    assert sanitized(half, nsfw_limits={"red": 0.6})["drop_reason"] is None
    assert sanitized(half, nsfw_limits={"safe": 0.05})["nsfw_class"] == "safe"


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_faces_are_blurred_into_new_bytes(kind: str, suffix: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 240, 3), np.uint8))
    data = encoded(noise, kind)
    row = sanitized(data, format=kind, detectors=Detectors((), Faces()))
    (member,) = row["members"]
    assert member["name"] == row["member"] == f"{row['image_id']}.{suffix}"
    assert hashlib.sha256(member["data"]).hexdigest() == row["bytes_sha256"] != hashlib.sha256(data).hexdigest()
    assert (row["faces"], row["face_action"], row["format"], row["length"]) == (1, "blurred", kind, len(member["data"]))
    assert row["face_boxes"][0] == {"x0": 60, "y0": 40, "x1": 180, "y1": 120, "score": pytest.approx(0.9)}
    before, after = (np.asarray(Image.open(io.BytesIO(d)).convert("L"), float) for d in (data, member["data"]))
    assert after[60:100, 90:150].std() < 0.4 * before[60:100, 90:150].std()


def test_other_ways_with_faces() -> None:
    data = encoded(coloured(0, (120, 80)))
    dropped = sanitized(data, faces="drop")
    assert (dropped["drop_reason"], dropped["drop_limit"]) == ("faces", pytest.approx(0.4))
    assert dropped["drop_model"] == "b" * 64
    assert sanitized(data, ["seed:s"], faces="drop")["face_action"] == "blurred"
    kept = sanitized(data, faces="keep")
    assert (kept["face_action"], kept["faces"], kept["members"]) == ("kept", 1, [])
    unseen = sanitized(data, detectors=Detectors((), None), faces="none", nsfw=("none",))
    assert (unseen["faces"], unseen["nsfw"], unseen["face_model"], unseen["drop_reason"]) == (None, None, None, None)


def test_a_detector_that_could_flag_nothing_is_refused() -> None:
    class Mute(Nsfw):
        limits = {}  # noqa: RUF012

    with pytest.raises(ValueError, match=r"red has no unsafe class: name some in \[sanitized\] nsfw_limits, of safe, red"):
        Detectors((Mute(),), None).limits({"blue": 0.5})
    assert Detectors((Mute(),), None).limits({"red": 0.5}) == [{"red": 0.5}]


def test_what_cannot_be_decoded_is_dropped_with_its_reason() -> None:
    assert sanitized(encoded(picture(1))[:200])["drop_reason"] == "truncated"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"faces": "magic"}, "faces"),
        ({"nsfw_rule": "most"}, "nsfw_rule"),
        ({"nsfw": ()}, "nsfw"),
        ({"nsfw": ("none", "nudenet")}, "nsfw"),
    ],
)
def test_wrong_settings_are_named(wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        SanitizedConfig(**wrong)
