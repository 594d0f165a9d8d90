"""The dataset card of a run: what is in the set, what was checked by which model, and what was not."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from curation.store import Store
from pipelines.queries import report

CARD = """---
configs:
- config_name: default
  data_files: curated/*.tar
task_categories:
- image-feature-extraction
---
# {images:,} curated images

Made by curate from {pool}; chosen by the seed sets {seeds}. Every decision is in the tables beside this card; the recipe,
with versions and the digests of all weights, is recipe.toml.

| noun | received | kept | dropped, why |
|---|---:|---:|---|
{funnel}

## Safety

{safety}

Opt-outs and robots.txt were honoured as far as the crawl that fetched the pool was told to; images that came from files
carry no such record. No licence is granted by this card: each image keeps its owner's terms.
"""


def write_card(run_dir: str, funnel: list[dict[str, Any]], images: int) -> None:
    """RUN/report/README.md, from the recipe, the funnel and what the detectors found."""
    store = Store(run_dir)
    recipe = tomllib.loads((store.read_bytes("recipe.toml") or b"").decode())
    rows = "\n".join(f"| {row['noun']} | {row['received']:,} | {row['kept']:,} | {_why(row['reasons'])} |" for row in funnel)
    pool = ", ".join(f"`{source}`" for source in recipe["pool"]["sources"])
    seeds = ", ".join(f"`{seed['name']}`" for seed in recipe["seeds"])
    safety = "\n".join(f"- {line}" for line in safety_lines(run_dir, recipe))
    store.write_bytes(
        CARD.format(images=images, pool=pool, seeds=seeds, funnel=rows, safety=safety).encode(), "report", "README.md"
    )


def _why(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())


def safety_lines(run_dir: str, recipe: Mapping[str, Any]) -> list[str]:
    """What was done about NSFW images, faces and metadata, and by which weights; plainly so where nothing was."""
    cfg, weights = recipe["sanitized"], recipe["resolved"]["weights"]
    (found,) = report(run_dir, "safety").to_pylist()
    named = ", ".join(f"{name} (weights {weights[name][:12]})" for name in cfg["nsfw"] if name in weights)
    nsfw = f"NSFW images were looked for by {named}: {found['nsfw']:,} of {found['images']:,} quarantined."
    if "none" in cfg["nsfw"]:
        nsfw = "**NSFW images were not looked for** (`none` in the recipe)."
    face = f"Faces were looked for by {cfg['face_detector']} (weights {weights.get(cfg['face_detector'], '')[:12]}): "
    face += f"{found['faces']:,} in {found['with_faces']:,} images; {found['blurred']:,} images were blurred."
    if cfg["faces"] == "none":
        face = "**Faces were not looked for** (`none` in the recipe)."
    elif cfg["faces"] == "keep":
        face += " **They were left as they are** (`keep` in the recipe)."
    kept = "**Metadata of exported files was kept** (`keep` in the recipe)."
    stripped = (
        "Positions, serial numbers, thumbnails, XMP and comments were removed from exported JPEG, PNG, WebP and GIF files."
    )
    missed = "Detectors miss: treat what was found as a lower bound."
    return [nsfw, face, kept if recipe["manifest"]["metadata"] == "keep" else stripped, missed]
