"""The pair over several processes: parameters and their gradients in shards (FSDP2), gathered block by block when needed.

Source: DINOv2 paper, section 5 ("Fully-Sharded Data Parallel"): bf16 products; gradients of the heads are reduced in fp32.
"""

from __future__ import annotations

import warnings

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from embedder.training.student_teacher import StudentTeacher

# Class tokens are a view of all tokens; nobody writes into them.
warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")


def world() -> tuple[int, int]:
    """(rank, processes) of the group that was started; (0, 1) without one."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def shard(pair: StudentTeacher, device: torch.device, half: bool) -> StudentTeacher:
    """The pair in shards over all processes; as it is where there is one.

    half: products in bf16. Student and average are cut alike, so that the average is kept shard by shard.
    """
    if world()[1] == 1:
        return pair
    mesh = init_device_mesh(device.type, (world()[1],))
    networks = [pair.student, pair.average, *([pair.frozen] if pair.frozen is not None else [])]
    for network in networks:
        for name, part in network.items():
            reduced = torch.float32 if name != "backbone" else None
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=reduced) if half else MixedPrecisionPolicy()
            _cut(part, mesh, policy)
    return pair


def _cut(part: nn.Module, mesh: distributed.device_mesh.DeviceMesh, policy: MixedPrecisionPolicy) -> None:
    for block in getattr(part, "blocks", []):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(part, mesh=mesh, mp_policy=policy)
    for method in ("tokens", "packed", "get_intermediate_layers"):
        if hasattr(part, method):
            distributed.fsdp.register_fsdp_forward_method(part, method)
