"""sanitized: images that may be used. NSFW images are quarantined, faces are blurred; every step leaves its receipt.

A quarantined image is listed with its score and never exported; the file in the user's pool is not touched. An image
with faces gets new bytes once, in RUN/blurred; all others are referred to where they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curation import nsfw, records
from curation.blur import blur_faces
from curation.decode import Reject, decode_rgb, suffix
from curation.stage import MEMBERS, MapStage, unset

OFF = "none"
TOLD = 0.05  # scores below this are not written down


class Scorer(Protocol):
    """An NSFW detector. limits: class -> the score from which it counts as unsafe, by its card."""

    name: str
    digest: str
    limits: Mapping[str, float]
    classes: tuple[str, ...]

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """N upright (H, W, 3) RGB images -> (N, classes) scores, 0..1."""
        ...


class FaceDetector(Protocol):
    name: str
    digest: str

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """N upright (H, W, 3) RGB images -> per image (n, 5): x0, y0, x1, y1 in its pixels, and a score; best first."""
        ...


@dataclass(frozen=True, kw_only=True)
class SanitizedConfig:
    """What makes an image unsafe. Detectors by name or local file; "none" runs none, and a run says so."""

    nsfw: tuple[str, ...] = ("nudenet",)
    """NSFW detectors; ["none"] runs none."""
    nsfw_rule: str = "any"
    """How several detectors are joined: any, mean or all (curation.nsfw)."""
    nsfw_limits: dict[str, float] = field(default_factory=dict[str, float])
    """Class -> score from which it counts as unsafe; a class not named here has its detector's own limit."""
    faces: str = "blur"
    """What is done about faces: "blur" them, "drop" the image (a seed's are blurred), "keep": only counted, "none": not
    looked for."""
    face_detector: str = "centerface"
    """A name, or a TorchScript file of EgoBlur's kind."""
    face_score: float = 0.4
    """Score from which a face counts as found."""
    face_margin: float = 0.15
    """Share of a face's box that is added on each side before it is blurred."""

    def __post_init__(self) -> None:
        if self.faces not in ("blur", "drop", "keep", OFF):
            raise ValueError(f'faces must be "blur", "drop", "keep" or "none", not "{self.faces}"')
        if self.nsfw_rule not in nsfw.RULES:
            raise ValueError(f'nsfw_rule must be {" or ".join(nsfw.RULES)}, not "{self.nsfw_rule}"')
        if not self.nsfw or (OFF in self.nsfw and len(self.nsfw) > 1):
            raise ValueError('nsfw must name detectors, or be ["none"]')

    @property
    def unchecked(self) -> list[str]:
        """What is not looked for at all."""
        return [*(["nsfw"] if not self.scorers else []), *(["faces"] if self.faces == OFF else [])]

    @property
    def scorers(self) -> tuple[str, ...]:
        return () if OFF in self.nsfw else self.nsfw


@dataclass(frozen=True)
class Detectors:
    """The loaded detectors of a recipe. faces: None where none are looked for."""

    scorers: tuple[Scorer, ...]
    faces: FaceDetector | None

    def limits(self, named: Mapping[str, float]) -> list[dict[str, float]]:
        """Per scorer, class -> limit: the recipe's, else the scorer's own. ValueError for one that could flag nothing."""
        found = [{**s.limits, **{name: value for name, value in named.items() if name in s.classes}} for s in self.scorers]
        for scorer, limits in zip(self.scorers, found, strict=True):
            if not limits:
                classes = ", ".join(scorer.classes)
                raise ValueError(f"{scorer.name} has no unsafe class: name some in [sanitized] nsfw_limits, of {classes}")
        return found


def sanitize(batch: pa.Table, detectors: Detectors, cfg: SanitizedConfig) -> pa.Table:
    """A batch (records.IMAGES with `bytes`) to records.SANITIZED and a column `members`, the blurred images."""
    rows = batch.to_pylist()
    seen, failed = _decoded(rows) if detectors.scorers or detectors.faces else ({}, {})
    images = list(seen.values())
    scores = [dict(zip(seen, scorer(images), strict=True)) if seen else {} for scorer in detectors.scorers]
    boxes = dict(zip(seen, detectors.faces(images), strict=True)) if detectors.faces and seen else {}
    limits = detectors.limits(cfg.nsfw_limits)
    out: list[dict[str, Any]] = []
    for at, row in enumerate(rows):
        found, why = _scored([one[at] for one in scores], detectors.scorers, limits, cfg.nsfw_rule) if at in seen else ({}, {})
        out.append(_sanitize_one(row, failed.get(at), found, why, boxes.get(at), detectors.faces, cfg))
    return pa.Table.from_pylist(out, schema=records.SANITIZED.append(MEMBERS))


def _decoded(rows: list[dict[str, Any]]) -> tuple[dict[int, NDArray[np.uint8]], dict[int, Reject]]:
    """By row number, the upright pictures, and why the others could not be decoded."""
    seen, failed = dict[int, NDArray[np.uint8]](), dict[int, Reject]()
    for at, row in enumerate(rows):
        try:
            seen[at] = decode_rgb(row["bytes"] or b"")
        except Reject as reject:
            failed[at] = reject
    return seen, failed


def _sanitize_one(
    row: dict[str, Any], failed: Reject | None, found: dict[str, Any], why: dict[str, Any], boxes: Any,
    detector: FaceDetector | None, cfg: SanitizedConfig,
) -> dict[str, Any]:  # fmt: skip
    """One row of records.SANITIZED. found, why: its NSFW columns and verdict."""
    out: dict[str, Any] = {name: row[name] for name in ("image_id", "format", "orientation", *_PLACE)}
    out |= {"bytes_sha256": row["sha256"], "members": []}
    if failed is not None:
        return out | {"drop_reason": failed.reason, "error_message": failed.detail}
    if why and row["sets"] == [records.POOL]:
        return out | found | why
    return out | found | (_faced(row, boxes, detector, cfg) if detector is not None else {})


_PLACE = ("uri", "member", "offset", "length")


def _scored(
    scores: list[Any], scorers: tuple[Scorer, ...], limits: list[dict[str, float]], rule: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """NSFW columns of one image; and the verdict, empty if it is safe."""
    if not scorers:
        return {}, {}
    named = [dict(zip(s.classes, map(float, one), strict=True)) for s, one in zip(scorers, scores, strict=True)]
    told = {
        s.name: {name: round(value, 4) for name, value in one.items() if value >= TOLD}
        for s, one in zip(scorers, named, strict=True)
    }
    out: dict[str, Any] = {"nsfw_scores": json.dumps(told, sort_keys=True), "nsfw_models": [s.digest for s in scorers]}
    verdict = nsfw.judge(named, limits, rule)
    if verdict is None:
        return out, {}
    why: dict[str, Any] = {"drop_reason": "nsfw", "drop_score": verdict.score, "drop_limit": verdict.limit}
    why |= {"drop_model": scorers[verdict.detector].digest, "error_message": verdict.unsafe_class}
    return out | {"nsfw": verdict.ratio, "nsfw_class": verdict.unsafe_class}, why if verdict.ratio >= 1 else {}


def _faced(row: dict[str, Any], boxes: NDArray[np.float32], detector: FaceDetector, cfg: SanitizedConfig) -> dict[str, Any]:
    """Face columns, and what is done about the faces."""
    found = boxes[boxes[:, 4] >= cfg.face_score]
    names = [f.name for f in records.FACE]
    out: dict[str, Any] = {"faces": len(found), "face_model": detector.digest}
    out["face_boxes"] = [dict(zip(names, map(float, box), strict=True)) for box in found]
    if not len(found):
        return out
    if cfg.faces == "keep":
        return out | {"face_action": "kept"}
    if cfg.faces == "drop" and row["sets"] == [records.POOL]:
        why = {"drop_reason": "faces", "drop_score": float(found[0, 4]), "drop_limit": cfg.face_score}
        return out | why | {"drop_model": detector.digest}
    return out | _blurred(row, found, cfg)


def _blurred(row: dict[str, Any], boxes: NDArray[np.float32], cfg: SanitizedConfig) -> dict[str, Any]:
    try:
        made = blur_faces(row["bytes"], boxes, cfg.face_margin)
    except Reject as reject:
        return {"drop_reason": reject.reason, "error_message": reject.detail}
    name = f"{row['image_id']}.{suffix(made.format)}"
    place = {"uri": None, "member": name, "offset": None, "length": len(made.data)}
    facts = {"format": made.format, "orientation": 1, "bytes_sha256": hashlib.sha256(made.data).hexdigest()}
    return place | facts | {"face_action": "blurred", "members": [{"name": name, "data": made.data}]}


STAGE = MapStage(
    name="sanitized",
    consumes=("cleaned", "images"),
    version=2,
    setup=unset,
    fn=sanitize,
    needs_bytes=True,
    batch_rows=16,
    gpu=True,
    tar="blurred/{part:05d}.tar",
)
