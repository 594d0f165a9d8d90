"""The DINOv3 reference trainer's own step on drawn crops, from a checkout of facebookresearch/dinov3 beside this project.

Its SSLMetaArch is built, compiled and sharded as its do_train does it, with its default config; a step is its
forward_backward, clipping, optimiser and moving average, without its logging and the reads that this needs. What its files
import and a step does not use (omegaconf, termcolor, its datasets) has a stand-in where it is not installed. On a CPU nothing
is compiled or sharded.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import distributed

from embedder.training.config import TrainConfig
from embedder.training.masks import masks


class Table(dict[str, Any]):
    """A config whose keys are attributes, too."""

    __getattr__ = dict.__getitem__


def parsed(text: str) -> Table:
    """The YAML that the checkout's config is written in: nested keys, scalars, lists of scalars."""
    root = Table()
    nodes, last = [(-1, root)], (root, "")
    for raw in text.splitlines():
        line = re.split(r"(?:^|\s)#", raw)[0].rstrip()
        indent, word = len(line) - len(line.lstrip()), line.strip()
        if word.startswith("- "):
            node, key = last
            node[key] = [*(node[key] or []), scalar(word[2:])]
        elif word:
            while nodes[-1][0] >= indent:
                nodes.pop()
            key, _, value = word.partition(":")
            node = nodes[-1][1]
            node[key] = scalar(value) if value.strip() else Table()
            if not value.strip():
                nodes.append((indent, node[key]))
                last = (node, key)
    return root


def scalar(word: str) -> Any:
    """A number, a truth value, null or a string."""
    word = word.strip()
    try:
        return {"true": True, "false": False, "null": None}[word.lower()]
    except KeyError:
        pass
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word


class StandIn(ModuleType):
    """A module that has whatever is asked for."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def prepared(checkout: Path) -> None:
    """The checkout can be imported: stand-ins for what is missing, one process as its world."""
    sys.path.insert(0, str(checkout))
    absent = [name for name in ("omegaconf", "termcolor") if importlib.util.find_spec(name) is None]
    for name in [*absent, "dinov3.data"]:
        sys.modules[name] = StandIn(name)
    gpu = torch.cuda.is_available()
    if not distributed.is_initialized():
        store = distributed.HashStore()
        distributed.init_process_group("nccl" if gpu else "gloo", store=store, rank=0, world_size=1)
    wrapper = importlib.import_module("dinov3.distributed.torch_distributed_wrapper")
    wrapper._DEFAULT_PROCESS_GROUP = distributed.group.WORLD  # type: ignore[attr-defined]
    if not gpu:
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]
        torch.compiler.set_stance("force_eager")


def settings(checkout: Path, cfg: TrainConfig, arch: str) -> Table:
    """The checkout's defaults for a network and heads like ours."""
    table = parsed((checkout / "dinov3" / "configs" / "ssl_default_config.yaml").read_text())
    table.student |= {"arch": arch, "patch_size": cfg.model.patch, "drop_path_rate": cfg.model.drop_path}
    for part, bottleneck in (("dino", cfg.heads.dino_bottleneck), ("ibot", cfg.heads.ibot_bottleneck)):
        table[part] |= {"head_n_prototypes": cfg.heads.prototypes, "head_bottleneck_dim": bottleneck}
        table[part] |= {"head_hidden_dim": cfg.heads.hidden}
    table.train |= {"batch_size_per_gpu": cfg.loop.batch, "compile": torch.cuda.is_available()}
    return table


def built(table: Table) -> tuple[Any, torch.optim.Optimizer]:
    """Student, teacher and optimiser as its main and do_train make them."""
    trainer = importlib.import_module("dinov3.train.train")
    with torch.device("meta"):
        model = trainer.SSLMetaArch(table)
    if torch.cuda.is_available():
        model.prepare_for_distributed_training()
        model.to_empty(device="cuda")
    else:
        model.to_empty(device="cpu")
    model.train()
    optimizer = trainer.build_optimizer(table, model.get_params_groups())
    model.init_weights()
    trainer.apply_optim_scheduler(optimizer, 1e-4, 0.04, 1e-4)
    return model, optimizer


def crops(cfg: TrainConfig, device: torch.device) -> dict[str, Any]:
    """A batch as its collate_data_and_cast gives it, in bf16 on a GPU."""
    images, data, grid = cfg.loop.batch, cfg.data, cfg.data.global_side // cfg.model.patch
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    hidden = masks(range(2 * images), 2 * images, (grid, grid), cfg.masks, cfg.loop.seed, 0)
    index = hidden.flatten().nonzero().flatten()
    weight = (1 / hidden.sum(-1).clamp(min=1.0))[:, None].expand_as(hidden)[hidden]
    wide = torch.randn(2 * images, 3, data.global_side, data.global_side, device=device, dtype=kind)
    near = torch.randn(data.locals_ * images, 3, data.local_side, data.local_side, device=device, dtype=kind)
    return {
        "collated_global_crops": wide, "collated_local_crops": near, "collated_masks": hidden, "mask_indices_list": index,
        "masks_weight": weight, "n_masked_patches": torch.full((1,), len(index)), "upperbound": len(index),
        "global_batch_size": images,
    }  # fmt: skip


def stepper(checkout: Path, cfg: TrainConfig, arch: str, device: torch.device) -> Callable[[], float]:
    """A function that takes one step and gives its loss."""
    prepared(checkout)
    table = settings(checkout, cfg, arch)
    model, optimizer = built(table)
    data = crops(cfg, device)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        fresh = data | {"n_masked_patches": data["n_masked_patches"].clone()}
        loss, _ = model.forward_backward(fresh, teacher_temp=0.07, iteration=0)
        for part in model.student.values():
            torch.nn.utils.clip_grad_norm_(part.parameters(), max_norm=table.optim.clip_grad)
        optimizer.step()
        model.update_ema(0.992)
        return float(loss.detach())

    return step


def seconds(step: Callable[[], float], rounds: int) -> dict[str, Any]:
    """Median seconds of a step after two that are not counted, its first and last loss, peak memory."""
    first = step()
    step()
    gpu, taken, last = torch.cuda.is_available(), list[float](), 0.0
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(rounds):
        began = time.perf_counter()
        last = step()
        if gpu:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    found = {"step_s": round(statistics.median(taken), 4), "first_loss": round(first, 4), "last_loss": round(last, 4)}
    return found | ({"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)} if gpu else {})
