"""The network that a small training keeps, what it throws away, and who teaches it.

Letters: B images of a batch, N views, S V pixels of a view, E descriptor width.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from curation.paths import one_line
from embedder.contrastive_config import TrainConfig
from embedder.copynet import CopyNet
from embedder.encoder import load_encoder, native_bfloat16, normalise
from embedder.vit import VisionTransformer, with_projection


@dataclass(frozen=True)
class Elder:
    """An encoder as the teacher of the one that began as it: views to unit targets, as `teacher.Teacher`."""

    network: nn.Module
    dim: int

    @torch.no_grad()
    def __call__(self, view_B3SS: Tensor) -> Tensor:
        """Returns (B, dim). view_B3SS: float32 in [0, 1]."""
        with torch.autocast("cpu", torch.bfloat16, enabled=native_bfloat16("cpu")):
            return functional.normalize(self.network(normalise(view_B3SS)).float(), dim=1)


def elder(start: str) -> Elder:
    """The encoder of that name or file."""
    encoder = load_encoder(start)
    return Elder(encoder.network, encoder.dim)


class Learner(nn.Module):
    """The network to keep, and the heads that are thrown away.

    The copy network's head only centres and scales each channel over the batch, so `fold_head` can move it into `fc`. A
    transformer's stands behind the guess of the target: the guess is what is kept.
    """

    def __init__(self, cfg: TrainConfig, teacher_dim: int) -> None:
        super().__init__()
        if cfg.network == "copy":
            self.net: CopyNet | VisionTransformer = CopyNet("small")
            width = self.net.dim
            self.head: nn.Module = nn.BatchNorm1d(width, affine=False)
        else:
            self.net = VisionTransformer(cfg.vit)
            width = self.net.pooled_dim
            self.head = _projector(teacher_dim or width, 512, 128)
        self.to_teacher: nn.Linear | nn.Identity = nn.Linear(width, teacher_dim) if teacher_dim else nn.Identity()
        if cfg.start:
            self._begin_as(load_encoder(cfg.start).network)

    def _begin_as(self, start: nn.Module) -> None:
        """Take over an encoder's weights, its last layer's too. Raises ValueError if it is another network."""
        kept = {key: value for key, value in start.state_dict().items() if not key.startswith("project.")}
        layer = getattr(start, "project", None)
        try:
            self.net.load_state_dict(kept)
            self.to_teacher.load_state_dict(layer.state_dict() if layer else {})
        except RuntimeError as error:
            raise ValueError(f"a training cannot begin as another network: {one_line(error)}") from error

    def forward(self, view_N3VV: Tensor) -> tuple[Tensor, Tensor]:
        """Returns unit rows: the descriptors to contrast (N, E), and the guesses of the targets (N, teacher_dim)."""
        feature = self.net.raw(view_N3VV) if isinstance(self.net, CopyNet) else self.net.pooled(view_N3VV)
        guess = functional.normalize(self.to_teacher(feature).float(), dim=1)
        contrasted = self.head(feature if isinstance(self.net, CopyNet) else guess)
        return functional.normalize(contrasted.float(), dim=1), guess


@torch.no_grad()
def fold_head(learner: Learner) -> CopyNet | VisionTransformer:
    """Returns the network whose own output, brought to unit length, is the learner's in evaluation mode.

    For the copy network that is the descriptor to contrast; for a transformer with a teacher, the guess of its target.
    """
    net, head = copy.deepcopy(learner.net), learner.head
    if isinstance(net, VisionTransformer):
        return net if isinstance(learner.to_teacher, nn.Identity) else with_projection(net, learner.to_teacher)
    assert isinstance(head, nn.BatchNorm1d)
    assert head.running_mean is not None
    assert head.running_var is not None
    scale_E = (head.running_var + head.eps).rsqrt()
    net.fc.weight.mul_(scale_E[:, None])
    net.fc.bias.sub_(head.running_mean).mul_(scale_E)
    return net


def _projector(width: int, hidden: int, out: int) -> nn.Sequential:
    """SimCLR's head (arXiv 2002.05709) with batch norm after both layers, as in MoCo v3 (arXiv 2104.02057)."""
    first = (nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
    return nn.Sequential(*first, nn.Linear(hidden, out), nn.BatchNorm1d(out, affine=False))
