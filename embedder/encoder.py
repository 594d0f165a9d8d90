"""A weights file as a function: uint8 images to unit vectors.

A weights file is safetensors and describes itself: its metadata holds one JSON object under the key "curate", its tensors
bear their official names. Official files are read too (`official.py`: DINOv2, DINOv3, I-JEPA, MAE; `sscd.py`).

Letters: B images, H W pixels, S pixels (the encoder's own side), E output width.
"""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from curation.paths import one_line
from embedder import official, sscd
from embedder.copynet import CopyNet
from embedder.feed import Feed
from embedder.forward import Forward
from embedder.forward import normalise as normalise
from embedder.vit import VisionTransformer, VitConfig

KEY = "curate"
ROWS = 2048
SIDE = 224  # pixels that official backbones with learned or turned positions are asked at; others at their own


@dataclass(frozen=True)
class Encoder:
    """A frozen network with all that its use needs. Build one with `load_encoder`."""

    name: str
    digest: str  # SHA-256 of the weights file, hex
    dim: int
    side: int  # pixels
    fit: str  # how an image is brought to `side` (curation/decode.py): "short" keeps its aspect, all others make a square
    network: nn.Module
    device: str
    half: bool  # bfloat16 arithmetic; never for copy networks, whose cosines meet a threshold
    forward: Forward
    feeder: Feed | None = None  # on a GPU
    self_similarity: float | None = None  # copy networks: cosine from which two pool images count as copies
    reference_similarity: float | None = None  # ... and from which an image counts as a copy of a protected one
    shared: int | None = None  # ... keypoints in common from which a pair counts whatever its cosine
    confirm: float | None = None  # ... cosine + agreement of thumbnails from which a pair counts, where both are looked at

    @torch.inference_mode()
    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """Returns (B, E) float32 on the CPU, rows of unit length.

        image_B3HW: uint8 RGB on any device, S x S, or with a short edge of S where `fit` is "short". Raises ValueError on
        another type or size.
        """
        if image_B3HW.dtype != torch.uint8 or not self._fits(image_B3HW.shape[1:]):
            edges = f"short edge {self.side}" if self.fit == "short" else f"{self.side}, {self.side}"
            got = f"{image_B3HW.dtype} {tuple(image_B3HW.shape)}"
            raise ValueError(f"{self.name} takes uint8 (B, 3, {edges}), not {got}")
        return functional.normalize(self.forward(image_B3HW), dim=1).cpu()

    @property
    def feed(self) -> Feed | None:
        """Encoded pictures to features, decoded beside the network as fast as it takes them: squares on a GPU, else None."""
        return None if self.fit == "short" else self.feeder

    @property
    def batch_rows(self) -> int:
        """Pictures that are worth handing to `feed` at once; 0: any number."""
        return ROWS if self.feed else 0

    def _fits(self, shape: torch.Size) -> bool:
        channels, *edges = shape
        return channels == 3 and (min(edges) == self.side if self.fit == "short" else edges == [self.side] * 2)


def load_encoder(
    name_or_path: str, device: str = "cpu", size: str | int = "", pool: str = "", compiled: bool = False
) -> Encoder:
    """Load a shipped or fetched encoder by name, or a weights file by path: one of this project's, SSCD's (.pt), or one of
    DINOv2's, DINOv3's, I-JEPA's or MAE's (.pth, .pth.tar).

    size: "518" is a transformer's side in pixels; to a copy network "288" brings the short edge to 288 pixels, "320x320" the
    picture to a square of 320; "" is the network's own. pool: a transformer's "cls", "mean" of the patches, or "cls+mean"; ""
    is the network's own. compiled: a transformer's blocks by torch.compile, where the device is a GPU. Raises ValueError if
    there is no such file, if it is damaged, if its tensors do not fit the network it names, or if that network cannot take
    another size or pooling.
    """
    path = _find(name_or_path)
    if path.name.endswith(official.SUFFIXES):
        network = official.read_official(path)
        side = network.config.side if network.config.positions == "sincos" else SIDE
        found = _encoder(path, device, network, name=path.name.split(".pth")[0], side=side, fit="crop")
    else:
        found = _load_sscd(path, device) if path.suffix in sscd.SUFFIXES else _load_own(path, device)
    found.forward.compiled = compiled
    if pool:
        found = _pooled(found, pool)
    return resized(found, str(size)) if size else found


def _pooled(encoder: Encoder, pool: str) -> Encoder:
    if not isinstance(encoder.network, VisionTransformer):
        raise ValueError(f"{encoder.name} is no transformer: its features are pooled in one way")
    encoder.network.pool_by(pool)
    return replace(encoder, dim=encoder.network.dim)


def resized(encoder: Encoder, size: str) -> Encoder:
    """The encoder at another input size, "N" or "NxN" pixels. Raises ValueError for a size or a network that cannot.

    Thresholds belong to a size: they stay at the network's own, and SSCD's at both sizes that its authors recommend.
    """
    asked = re.fullmatch(r"(\d{2,4})(?:x(\d{2,4}))?", size)
    if not asked or (asked[2] or asked[1]) != asked[1] or not 32 <= int(asked[1]) <= 1024:
        raise ValueError(f'size is "N" for the short edge or "NxN" for a square, 32 to 1024 pixels, not {size!r}')
    if isinstance(encoder.network, VisionTransformer):
        if int(asked[1]) % (patch := encoder.network.config.patch):
            raise ValueError(f"{encoder.name} takes multiples of {patch} pixels, not {asked[1]}")
        return replace(encoder, side=int(asked[1]))
    square = "skew" if encoder.fit == "short" else encoder.fit
    other = replace(encoder, side=int(asked[1]), fit=square if asked[2] else "short")
    if (other.side, other.fit) == (encoder.side, encoder.fit) or (encoder.fit == sscd.FIT and size in sscd.SIZES):
        return other
    return replace(other, self_similarity=None, reference_similarity=None, confirm=None, shared=None)


def _load_sscd(path: Path, device: str) -> Encoder:
    try:
        network, known = sscd.read_network(path), sscd.thresholds(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a usable SSCD file: {error}") from error
    return _encoder(path, device, network, name=path.name.split(".")[0], side=sscd.SIDE, fit=sscd.FIT, **known)


def _load_own(path: Path, device: str) -> Encoder:
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {})[KEY])
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
        network = _build(card)
        if isinstance(network, VisionTransformer):
            network.load_state_dict(official.named(tensors), assign=True)
        else:
            network.load_state_dict(tensors)
        name, side, fit = str(card["name"]), int(card["side"]), str(card["fit"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not a usable weights file: {one_line(error)}") from error
    known = {key: card.get(key) for key in ("self_similarity", "reference_similarity", "confirm", "shared")}
    return _encoder(path, device, network, name=name, side=side, fit=fit, **known)


def _encoder(path: Path, device: str, network: CopyNet | VisionTransformer, **told: Any) -> Encoder:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return frozen(network, device, digest=digest, **told)


def frozen(network: CopyNet | VisionTransformer, device: str, *, digest: str = "", **told: Any) -> Encoder:
    """A network, which is frozen with it, as an encoder on a device. told: name, side, fit and the rest of an `Encoder`."""
    network = network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    half = isinstance(network, VisionTransformer) and native_bfloat16(device)
    return Encoder(
        digest=digest,
        dim=network.dim,
        network=network,
        device=device,
        half=half,
        forward=(forward := Forward(network, device, half)),
        feeder=Feed(forward) if torch.device(device).type == "cuda" else None,
        **told,
    )


def _fetched(name: str) -> list[Path]:
    """Where `curate weights` keeps a checkpoint of this name, if it has one."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curate" / "weights"
    note = home / f"{name}.json"
    return [home / json.loads(note.read_text())["file"]] if re.fullmatch(r"\w+", name) and note.is_file() else []


def _find(name_or_path: str) -> Path:
    weights = Path(str(resources.files("embedder").joinpath("weights")))
    for path in (weights / f"{name_or_path}.safetensors", Path(name_or_path), *_fetched(name_or_path)):
        if path.is_file():
            return path
    shipped = ", ".join(sorted(path.stem for path in weights.glob("*.safetensors"))) or "none"
    raise ValueError(f"no encoder {name_or_path!r}: neither a shipped name ({shipped}) nor a file")


def _build(card: dict[str, Any]) -> CopyNet | VisionTransformer:
    if card["network"] == "copy":
        return CopyNet(card["variant"], tuple(card["windows"]))
    if card["network"] == "vit":
        with torch.device("meta"):  # without memory and first values: all tensors come from the file
            return VisionTransformer(VitConfig(**card["vit"]))
    raise ValueError(f"unknown network {card['network']!r}")


def native_bfloat16(device: str) -> bool:
    """Whether the device computes bfloat16 in hardware: GPUs from Ampere on, CPUs with avx512_bf16."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.device(device).type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def save_weights(path: Path, network: CopyNet | VisionTransformer, side: int, **card: Any) -> None:
    """Write float16 tensors under their official names, and the description that `load_encoder` reads.

    card: further keys, such as thresholds.
    """
    described: dict[str, Any] = {"name": Path(path).stem, "side": side, "fit": "squash", **card}
    if isinstance(network, CopyNet):
        described |= {"network": "copy", "variant": network.variant, "windows": network.windows}
    else:
        described |= {"network": "vit", "vit": asdict(network.config)}
    tensors = official.export(network) if isinstance(network, VisionTransformer) else network.state_dict()
    exact = {key for key, value in tensors.items() if not value.is_floating_point() or key.endswith("periods")}
    stored = {key: value.contiguous() if key in exact else value.half().contiguous() for key, value in tensors.items()}
    save_file(stored, path, metadata={KEY: json.dumps(described)})
