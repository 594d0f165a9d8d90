"""What fixes a training of a small network, and the ones that made what ships."""

from dataclasses import dataclass, field, replace
from typing import Literal

from embedder.augment import EDITS, GENTLE, AugmentConfig
from embedder.vit_config import VitConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training. `augment.side` is the size trained at."""

    network: Literal["copy", "vit"]
    augment: AugmentConfig
    vit: VitConfig = field(default_factory=VitConfig)
    minutes: float = 10.0
    batch: int = 128  # images; twice as many views
    lr: float = 1e-3
    weight_decay: float = 0.02
    warmup: float = 0.03  # share of the training
    temperature: float = 0.05
    contrast: float = 1.0  # weight of InfoNCE
    locals_: int = 0  # small views, which look for both large ones
    small: AugmentConfig | None = None  # theirs
    start: str = ""  # encoder that a transformer begins as; it is the teacher, too
    entropy: float = 0.0  # weight of KoLeo
    teach: float = 0.0  # weight of the teacher's targets: hand-made ones, or those of `start`
    teach_first: bool = False  # both views are to guess the first one's target
    finish: float = 0.15  # last share of the training ...
    finish_side: int = 0  # ... spent at this many pixels; 0 stays at `augment.side`
    first_view: float = 1.0  # effort of the first view's edits: nearer 0, pairs are an original and a copy, as in use
    ramp: float = 0.0  # first share of the training, over which the edits grow to their full shares
    ema: float = 0.99
    stored_side: int = 160  # pixels that large images are kept at
    drawn: int = 0  # drawn pictures added as a folder of their own
    halved: bool = False  # products in bfloat16 where the CPU has it
    keep_minutes: float = 0.0  # how often the average is written beside `out`, for a learning curve; 0: never
    first_share: float = 0.0  # share of a batch drawn from the first folder; 0 is in proportion to size
    checkpoint_seconds: float = 60.0
    seed: int = 0


DEFAULTS: dict[str, TrainConfig] = {
    "copy": TrainConfig(
        network="copy",
        augment=EDITS,
        batch=64,
        lr=2e-3,
        temperature=0.06,
        entropy=0.3,
        first_view=0.3,
        ramp=0.25,
        first_share=0.3,
        stored_side=112,
    ),
    "vit": TrainConfig(
        network="vit",
        augment=GENTLE,
        batch=128,
        lr=1.5e-3,
        weight_decay=0.05,
        contrast=0.0,
        teach=1.0,
        ema=0.998,
        halved=True,
        keep_minutes=10.0,
        drawn=3000,
        first_share=0.92,
        vit=VitConfig(side=64, depth=8, stem=True, pool="grid", cells=2),
    ),
}
DEFAULTS["vit-contrast"] = replace(
    DEFAULTS["vit"],
    augment=replace(GENTLE, area=(0.25, 1.0), strength=0.4, grey=0.15),
    small=replace(GENTLE, side=32, area=(0.08, 0.35), strength=0.4, grey=0.15),
    locals_=4,
    lr=5e-4,
    temperature=0.1,
    contrast=1.0,
    teach=0.2,
)
