"""The pair that learns: a student that sees crops, some of them masked, and a teacher that is its moving average.

Source: DINOv2 paper, section 4, and dinov2/train/ssl_meta_arch.py. Differs: global and local crops go through the backbone
as one sequence and through the heads as one batch; the nearest of KoLeo is looked for among fixed groups of images.

Letters: B images of this process, D width, K prototypes, M masked patches, P patches of a global crop.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from embedder.training import losses
from embedder.training.centring import Centre, Sinkhorn
from embedder.training.heads import Head
from embedder.vit import VisionTransformer, VitConfig

GLOBALS = 2


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The projection heads."""

    prototypes: int = 65_536
    """K, of each head."""
    hidden: int = 2048
    """Width of the two hidden layers."""
    dino_bottleneck: int = 256
    """Width before the prototypes, class token."""
    ibot_bottleneck: int = 256
    """Width before the prototypes, patches."""
    tied: bool = False
    """One head for both."""
    batch_norm: bool = False
    """Hidden layers are normalised over a batch's tokens (of each process): differences between images count from the first
    step on, which saves a short training from a long beginning in which all images look alike to the heads."""

    def __post_init__(self) -> None:
        for name in ("prototypes", "hidden", "dino_bottleneck", "ibot_bottleneck"):
            if getattr(self, name) < 1:
                raise ValueError(f"heads.{name} is 1 or more, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What is minimised: DINO + ibot x iBOT + koleo x KoLeo."""

    ibot: float = 1.0
    """Weight; 0 leaves masks and the patch head out."""
    koleo: float = 0.1
    """Weight, for each of the two global crops."""
    koleo_group: int = 0
    """Images among which the nearest is looked for; 0: those of one process."""
    student_temperature: float = 0.1
    """Of both cross-entropies."""
    centring: str = "sinkhorn"
    """"sinkhorn" (long recipe) or "softmax" (a moving centre: short recipe)."""

    def __post_init__(self) -> None:
        if self.centring not in ("sinkhorn", "softmax"):
            raise ValueError(f'loss.centring is "sinkhorn" or "softmax", not {self.centring!r}')


@dataclass(frozen=True)
class Losses:
    """Parts of one step, and what is minimised."""

    dino: Tensor
    ibot: Tensor
    koleo: Tensor
    total: Tensor

    def parts(self) -> dict[str, Tensor]:
        return {"loss": self.total, "dino": self.dino, "ibot": self.ibot, "koleo": self.koleo}


@dataclass(frozen=True)
class Views:
    """What one step sees: globals_ (2B, 3, G, G), all first crops before all second ones; locals_ (L x B, 3, l, l) likewise;
    masks (2B, P) bool, best on the CPU, where they are counted without waiting for a GPU; or None where nothing is hidden:
    then iBOT compares all patches."""

    globals_: Tensor
    locals_: Tensor
    masks: Tensor | None


class StudentTeacher(nn.Module):
    """student and teacher: a ModuleDict each, with `backbone`, `dino_head` and, unless they are one, `ibot_head`.

    distilled: a frozen teacher (backbone and heads of any width, the same K). Then the teacher does not move, and `average`
    holds the moving average of the student, which is the result.
    """

    def __init__(self, vit: VitConfig, heads: HeadConfig, loss: LossConfig, distilled: nn.ModuleDict | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.student = parts(vit, heads, loss)
        self.average = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.frozen = distilled.requires_grad_(False).eval() if distilled else None
        self.centres = nn.ModuleDict({name: _centring(loss, heads) for name in ("dino", "ibot")})
        self.dino, self.ibot = losses.dino, losses.ibot

    @property
    def teacher(self) -> nn.ModuleDict:
        return self.frozen if self.frozen is not None else self.average

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Blocks and cross-entropies become compiled functions: one for all blocks of a network, for each shape of a step."""
        for network in (self.student, self.teacher):
            for block in network["backbone"].blocks:
                block.compile(dynamic=False, backend=backend)
        self.dino, self.ibot = (torch.compile(one, dynamic=True, backend=backend) for one in (losses.dino, losses.ibot))

    def losses(self, views: Views, teacher_temperature: float) -> Losses:
        """Losses of this process's images; gradients flow to the student alone."""
        where = _where(views, self._grid(views)) if self.loss.ibot else None
        targets = self._targets(views, where, teacher_temperature)
        crops = [views.globals_, views.locals_] if len(views.locals_) else [views.globals_]
        hidden = [None if views.masks is None else there(views.masks, views.globals_.device), None][: len(crops)]
        tokens = self.student["backbone"].packed(crops, hidden)
        classes_CD = torch.cat([some[:, 0] for some in tokens])
        scores_CK, patches_MK = _scores(self.student, classes_CD, _patches(self.student, tokens[0]), where)
        images = len(views.globals_) // GLOBALS
        dino = self.dino(scores_CK.unflatten(0, (-1, images)), targets[0], self.loss.student_temperature)
        koleo = sum(losses.koleo(x, self.loss.koleo_group) for x in tokens[0][:, 0].chunk(GLOBALS))
        ibot = dino * 0
        if where is not None:
            ibot = self.ibot(patches_MK, targets[1], where.weight, len(views.globals_), self.loss.student_temperature)
        return Losses(dino, ibot, koleo, dino + self.loss.ibot * ibot + self.loss.koleo * koleo)

    def _grid(self, views: Views) -> int:
        """Patches of a global crop."""
        patch = self.student["backbone"].config.patch
        return (views.globals_.shape[2] // patch) * (views.globals_.shape[3] // patch)

    @torch.no_grad()
    def _targets(self, views: Views, where: _Where | None, temperature: float) -> tuple[Tensor, Tensor]:
        """(2, B, K) of the class tokens and (M, K) of the masked patches."""
        tokens = self.teacher["backbone"].tokens(views.globals_)
        scores_CK, patches_MK = _scores(self.teacher, tokens[:, 0], _patches(self.teacher, tokens), where)
        classes = self.centres["dino"](scores_CK, temperature).unflatten(0, (GLOBALS, -1))
        return classes, self.centres["ibot"](patches_MK, temperature) if where is not None else patches_MK

    @torch.no_grad()
    def update_average(self, momentum: float) -> None:
        """The average follows the student."""
        for module in (module for module in self.average.modules() if isinstance(module, FSDPModule)):
            module.reshard()  # whole since its last forward
        kept, new = _local(self.average.parameters()), _local(self.student.parameters())
        torch._foreach_lerp_(kept, new, 1 - momentum)
        for mine, other in zip(self.average.buffers(), self.student.buffers(), strict=True):
            mine.copy_(other)


@dataclass(frozen=True)
class _Where:
    """Masked patches: index (M,) into the flattened (2B x P) ones; weight (M,): 1 / the number of its crop's."""

    index: Tensor
    weight: Tensor


def parts(vit: VitConfig, heads: HeadConfig, loss: LossConfig) -> nn.ModuleDict:
    """A backbone and its heads."""
    backbone = VisionTransformer(vit)
    made = {"backbone": backbone, "dino_head": _head(backbone, heads, heads.dino_bottleneck)}
    if loss.ibot and not heads.tied:
        made["ibot_head"] = _head(backbone, heads, heads.ibot_bottleneck)
    return nn.ModuleDict(made)


def _head(backbone: VisionTransformer, heads: HeadConfig, bottleneck: int) -> Head:
    return Head(backbone.width, heads.prototypes, heads.hidden, bottleneck, batch_norm=heads.batch_norm)


def _centring(loss: LossConfig, heads: HeadConfig) -> nn.Module:
    return Sinkhorn() if loss.centring == "sinkhorn" else Centre(heads.prototypes)


def _where(views: Views, patches: int) -> _Where:
    """The hidden patches; all of them where there are no masks (distillation)."""
    crops, device = len(views.globals_), views.globals_.device
    if views.masks is None:
        every = torch.ones(crops * patches, device=device)
        return _Where(torch.arange(crops * patches, device=device), every / patches)
    counts = views.masks.sum(dim=1, keepdim=True).clamp_min(1)
    index = views.masks.flatten().nonzero()[:, 0]
    weight = (1 / counts).expand_as(views.masks).flatten()[index]
    return _Where(there(index, device), there(weight, device))


def there(x: Tensor, device: torch.device) -> Tensor:
    """x on a device, without waiting for it."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and not x.is_cuda else x.to(device)


def _patches(network: nn.ModuleDict, tokens_BTD: Tensor) -> Tensor:
    """(B x P, D)."""
    return tokens_BTD[:, 1 + network["backbone"].config.registers :].flatten(0, 1)


def _scores(network: nn.ModuleDict, classes_CD: Tensor, patches_PD: Tensor, where: _Where | None) -> tuple[Tensor, Tensor]:
    """Scores of the class tokens, and of the masked patches. Heads that are one run once, over both."""
    chosen_MD = patches_PD[:0] if where is None else patches_PD.index_select(0, where.index)
    if "ibot_head" in network or where is None:
        return network["dino_head"](classes_CD), network["ibot_head"](chosen_MD) if where is not None else chosen_MD
    both = network["dino_head"](torch.cat([classes_CD, chosen_MD]))
    return both[: len(classes_CD)], both[len(classes_CD) :]


def _local(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The part of each that this process holds."""
    return [p.to_local() if isinstance(p, DTensor) else p.data for p in parameters]
