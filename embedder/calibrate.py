"""From a trained network to a shipped one: the last linear layer in closed form, and thresholds for the copy network.

    python -m embedder.calibrate --weights raw.safetensors --data pool/ --held-out kept/ --out copy.safetensors

Whitening is what SSCD does after training (arXiv 2202.10261 section 4) and what retrieval does with most descriptors;
being linear, it is folded into the network. Thresholds come from edits, made here, of images not trained on.

Letters: B images, S pixels, D pooled width, E output width, K kinds of edit.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from embedder.augment import EDITS, AugmentConfig, ease, make_view
from embedder.copynet import CopyNet
from embedder.encoder import Encoder, load_encoder, normalise, save_weights
from embedder.pictures import Pictures, read_pictures
from embedder.vit import VisionTransformer, with_projection

_NOTHING = replace(ease(EDITS, 0.0), flip=0.0, whole=1.0)
# One edit each, at the strength people use; what the thresholds are calibrated on.
SINGLE_EDITS: dict[str, AugmentConfig] = {
    "jpeg": replace(_NOTHING, jpeg=1.0),
    "resize": replace(_NOTHING, pixelate=1.0),
    "crop": replace(_NOTHING, area=(0.6, 0.9), aspect=1.2, whole=0.0),
    "flip": replace(_NOTHING, flip=1.0),
    "rotate": replace(_NOTHING, rotate=1.0),
    "grey": replace(_NOTHING, grey=1.0),
    "colour": replace(_NOTHING, colour=1.0, strength=0.5),
    "blur": replace(_NOTHING, blur=1.0),
    "noise": replace(_NOTHING, noise=1.0),
    "overlay": replace(_NOTHING, overlay=1.0),
    "frame": replace(_NOTHING, frame=1.0),
}
FALSE_PAIRS = 0.01  # of all pairs at or above `self_similarity`
CAUGHT = 0.99  # of planted edits at or above `reference_similarity` ...
INNOCENTS = 0.01  # ... unless more than this share of unrelated images would be taken with them


@torch.inference_mode()
def features(network: CopyNet | VisionTransformer, image_B3SS: Tensor) -> Tensor:
    """Returns (B, D): the network's output before the division by length. image_B3SS: uint8, or float in [0, 1]."""
    layer = network.raw if isinstance(network, CopyNet) else network
    outs = []
    for part in image_B3SS.split(128):
        pixels = part.float() / 255 if part.dtype == torch.uint8 else part
        outs.append(layer(normalise(pixels).contiguous(memory_format=torch.channels_last)))
    return torch.cat(outs)


def whitening(features_BD: Tensor, width: int, power: float) -> tuple[Tensor, Tensor]:
    """Returns weight (E, D) and bias (E,): centre, rotate on principal axes, divide each by its spread to `power`.

    power: 0 only rotates, 1 whitens fully. The weight is scaled to rows of about unit length, to be safe in float16.
    """
    mean_D = features_BD.double().mean(0)
    value, axes = torch.linalg.eigh(torch.cov(features_BD.double().T))
    value, axes = value.flip(0)[:width].clamp(min=1e-9), axes.flip(1)[:, :width]
    weight_ED = (axes * value.pow(-power / 2)).T
    weight_ED = weight_ED / weight_ED.norm(dim=1).mean()
    return weight_ED.float(), (-weight_ED @ mean_D).float()


@torch.no_grad()
def project_transformer(network: VisionTransformer, image_B3SS: Tensor, width: int, power: float) -> VisionTransformer:
    """Returns the transformer with `width` principal axes of its output, found on `image_B3SS`, as its output."""
    weight_ED, bias_E = whitening(features(network, image_B3SS), width, power)
    last = network.project
    layer = nn.Linear(network.pooled_dim, width)
    layer.weight.copy_(weight_ED @ last.weight if isinstance(last, nn.Linear) else weight_ED)
    layer.bias.copy_(weight_ED @ last.bias + bias_E if isinstance(last, nn.Linear) else bias_E)
    return with_projection(network, layer)


@torch.no_grad()
def whiten_copynet(network: CopyNet, image_B3SS: Tensor, power: float) -> CopyNet:
    """Multiply a whitening into `fc`, in place, fitted on `image_B3SS` (which should hold edited images too)."""
    weight_EE, bias_E = whitening(features(network, image_B3SS), network.dim, power)
    network.fc.bias.copy_(weight_EE @ network.fc.bias + bias_E)
    network.fc.weight.copy_(weight_EE @ network.fc.weight)
    return network


def edited(image_B3SS: Tensor, cfg: AugmentConfig, side: int, seed: int) -> Tensor:
    """Returns (B, 3, side, side) uint8: each image after the edits of `cfg`."""
    generator = torch.Generator().manual_seed(seed)
    parts = [make_view(part, replace(cfg, side=side), generator)[1] for part in image_B3SS.split(256)]
    return (torch.cat(parts) * 255).round().byte()


def thresholds(encoder: Encoder, image_B3SS: Tensor, seed: int = 0) -> dict[str, Any]:
    """Both thresholds, and what they do, on held-out images and one edit of each (the kinds take turns).

    `self_similarity`: the lowest cosine at which at most one in a hundred pairs of the whole pool (originals and edits)
    is false. `reference_similarity`: the cosine that 99 in 100 edits reach with their own original, but not below the
    one at which one image in a hundred would match an unrelated protected set of 1,000.
    """
    original = embed(encoder, edited(image_B3SS, _NOTHING, encoder.side, seed))
    kinds = list(SINGLE_EDITS)
    copies = torch.empty_like(original)
    for number, kind in enumerate(kinds):
        rows = torch.arange(number, len(original), len(kinds))
        copies[rows] = embed(encoder, edited(image_B3SS[rows], SINGLE_EDITS[kind], encoder.side, seed + number))
    true_B = (original * copies).sum(1)
    false = false_similarities(torch.cat([original, copies]), len(original))
    own = self_threshold(true_B, false)
    unrelated = (original[1000:] @ original[:1000].T).amax(1)
    caught, innocent = true_B.quantile(1 - CAUGHT).item(), unrelated.quantile(1 - INNOCENTS).item()
    reference = min(own, max(caught, innocent))
    per_kind = {
        kind: round((true_B[number :: len(kinds)] >= own).double().mean().item(), 3) for number, kind in enumerate(kinds)
    }
    return {
        "self_similarity": round(own, 3),
        "reference_similarity": round(reference, 3),
        "calibration": {
            "images": len(original),
            "self_recall": round((true_B >= own).double().mean().item(), 4),
            "self_recall_per_edit": per_kind,
            "reference_recall": round((true_B >= reference).double().mean().item(), 4),
            "reference_innocents_per_1000_protected": round((unrelated >= reference).double().mean().item(), 4),
        },
    }


def embed(encoder: Encoder, image_B3SS: Tensor) -> Tensor:
    """The encoder in batches of 128."""
    return torch.cat([torch.as_tensor(encoder(part)) for part in image_B3SS.split(128)])


def false_similarities(descriptors_ND: Tensor, originals: int, keep: int = 200_000) -> Tensor:
    """Returns the largest similarities of pairs of different images, falling.

    Row i and row i + `originals` show the same image.
    """
    image_N = torch.arange(len(descriptors_ND)) % originals
    largest = torch.empty(0)
    for start in range(0, len(descriptors_ND), 1000):
        rows = slice(start, start + 1000)
        similarity = descriptors_ND[rows] @ descriptors_ND.T
        once = torch.arange(len(descriptors_ND)) > torch.arange(len(descriptors_ND))[rows, None]
        largest = torch.cat([largest, similarity[once & (image_N != image_N[rows, None])]])
        largest = largest.topk(min(keep, len(largest))).values
    return largest


def self_threshold(true_B: Tensor, false_sorted: Tensor) -> float:
    """The lowest true similarity at or above which false pairs are at most `FALSE_PAIRS` of all.

    false_sorted: falling. If there is none, a value above every false pair.
    """
    ranked = true_B.sort(descending=True).values
    false_count = torch.searchsorted(-false_sorted, -ranked, right=True)
    good = (false_count <= FALSE_PAIRS * (torch.arange(len(ranked)) + 1 + false_count)).nonzero()
    return ranked[good[-1]].item() if len(good) else false_sorted[0].item() + 1e-3


def finish_copynet(
    network: CopyNet, pictures: Pictures, held_out: Pictures, side: int, power: float, out: Path
) -> dict[str, Any]:
    """Whiten on lightly and fully edited training images; write; calibrate on the held-out ones; write again.

    power: 0 leaves the network as it was trained.
    """
    if power:
        folders, efforts = pictures.folders, (0.15, 1.0)
        views = [edited(folder[:3000], ease(EDITS, effort), side, seed=7) for folder in folders for effort in efforts]
        whiten_copynet(network, torch.cat(views), power)
    save_weights(out, network, side)
    found = thresholds(load_encoder(str(out)), torch.cat(held_out.folders))
    save_weights(out, network, side, **found)
    return found


def finish_transformer(network: VisionTransformer, pictures: Pictures, width: int, power: float, out: Path) -> dict[str, Any]:
    """Add the projection, fitted on 10,000 training images, and write."""
    network = project_transformer(network, pictures.sample(10_000, seed=0), width, power)
    save_weights(out, network, network.config.side)
    return {"width": width, "power": power}


def main() -> None:
    """Load, finish, write."""
    parser = argparse.ArgumentParser(description="Finish a trained network: last layer and thresholds.")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, action="append", required=True, help="training images; may be repeated")
    parser.add_argument("--held-out", type=Path, action="append", default=[], help="images not trained on (copy network)")
    parser.add_argument("--side", type=int, default=64, help="copy network: pixels it is used at")
    parser.add_argument("--window", type=float, help="copy network: share of the centre that is looked at as well")
    parser.add_argument("--width", type=int, default=256, help="transformer: output width")
    parser.add_argument("--power", type=float, default=0.0, help="0 whitens not at all, 1 fully")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    network: nn.Module = load_encoder(str(args.weights)).network
    if isinstance(network, CopyNet):
        network.windows = (1.0, args.window) if args.window else (1.0,)
        seen, held_out = (read_pictures(folders, args.side, enlarge=True) for folders in (args.data, args.held_out))
        print(finish_copynet(network, seen, held_out, args.side, args.power, args.out))
    elif isinstance(network, VisionTransformer):
        seen = read_pictures(args.data, network.config.side, enlarge=True)
        print(finish_transformer(network, seen, args.width, args.power, args.out))


if __name__ == "__main__":
    main()
