"""A weights file as a function: uint8 images to unit vectors.

A weights file is safetensors and describes itself: its metadata holds one JSON object under the key "curate".

Letters: B images, S pixels (the encoder's own side), E output width.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from embedder.copynet import CopyNet
from embedder.vit import VisionTransformer, VitConfig

# ImageNet statistics of RGB in [0, 1], as every network here is trained with.
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
KEY = "curate"


def normalise(image_B3SS: Tensor) -> Tensor:
    """Float RGB in [0, 1] to zero mean and unit spread per channel."""
    return (image_B3SS - MEAN.to(image_B3SS.device)) / STD.to(image_B3SS.device)


@dataclass(frozen=True)
class Encoder:
    """A frozen network with all that its use needs. Build one with `load_encoder`."""

    name: str
    digest: str  # SHA-256 of the weights file, hex
    dim: int
    side: int  # pixels
    fit: str  # "squash" or "crop": how an image becomes side x side
    network: nn.Module
    device: str
    half: bool  # bfloat16 arithmetic
    self_similarity: float | None = None  # copy networks: cosine from which two pool images count as copies
    reference_similarity: float | None = None  # ... and from which an image counts as a copy of a protected one
    confirm: float | None = None  # ... cosine + agreement of thumbnails from which a pair counts, where both are looked at

    @torch.inference_mode()
    def __call__(self, image_B3SS: Tensor) -> Tensor:
        """Returns (B, E) float32 on the CPU, rows of unit length.

        image_B3SS: uint8 RGB on any device. Raises ValueError on another type or size.
        """
        if image_B3SS.dtype != torch.uint8 or image_B3SS.shape[1:] != (3, self.side, self.side):
            got = f"{image_B3SS.dtype} {tuple(image_B3SS.shape)}"
            raise ValueError(f"{self.name} takes uint8 (B, 3, {self.side}, {self.side}), not {got}")
        pixels = image_B3SS.to(self.device).float() / 255
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.half):
            out = self.network(normalise(pixels).contiguous(memory_format=torch.channels_last))
        return functional.normalize(out.float(), dim=1).cpu()


def load_encoder(name_or_path: str, device: str = "cpu") -> Encoder:
    """Load a shipped encoder by name, or a weights file by path.

    Raises ValueError if there is no such file, if it is damaged, or if its tensors do not fit the network it names.
    """
    path = _find(name_or_path)
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {})[KEY])
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
        network = _build(card)
        network.load_state_dict(tensors)
        name, side, fit = str(card["name"]), int(card["side"]), str(card["fit"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not a usable weights file: {str(error).strip().splitlines()[0]}") from error
    network = network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    return Encoder(
        name=name, digest=hashlib.sha256(path.read_bytes()).hexdigest(), dim=network.dim, side=side, fit=fit,
        network=network, device=device, half=_native_bfloat16(device),
        **{key: card.get(key) for key in ("self_similarity", "reference_similarity", "confirm")},
    )  # fmt: skip


def _find(name_or_path: str) -> Path:
    weights = Path(str(resources.files("embedder").joinpath("weights")))
    for path in (weights / f"{name_or_path}.safetensors", Path(name_or_path)):
        if path.is_file():
            return path
    shipped = ", ".join(sorted(path.stem for path in weights.glob("*.safetensors"))) or "none"
    raise ValueError(f"no encoder {name_or_path!r}: neither a shipped name ({shipped}) nor a file")


def _build(card: dict[str, Any]) -> CopyNet | VisionTransformer:
    if card["network"] == "copy":
        return CopyNet(card["variant"], tuple(card["windows"]))
    if card["network"] == "vit":
        return VisionTransformer(VitConfig(**card["vit"]))
    raise ValueError(f"unknown network {card['network']!r}")


def _native_bfloat16(device: str) -> bool:
    """Whether the device computes bfloat16 in hardware: GPUs from Ampere on, CPUs with avx512_bf16."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.device(device).type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def save_weights(path: Path, network: CopyNet | VisionTransformer, side: int, **card: Any) -> None:
    """Write float16 tensors and the description that `load_encoder` reads. card: further keys, such as thresholds."""
    described: dict[str, Any] = {"name": Path(path).stem, "side": side, "fit": "squash", **card}
    if isinstance(network, CopyNet):
        described |= {"network": "copy", "variant": network.variant, "windows": network.windows}
    else:
        described |= {"network": "vit", "vit": asdict(network.config)}
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    stored = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    save_file(stored, path, metadata={KEY: json.dumps(described)})
