"""LARS: SGD with momentum whose step is, tensor by tensor, in proportion to the tensor's length.

Source: You, Gitman and Ginsburg (arXiv 1708.03888). As SSCD uses it, every tensor is scaled, vectors too; a tensor of
length zero (the last norm of each block, at the start) takes a plain step.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lars(torch.optim.Optimizer):
    """lr is set anew at every step; trust: step length over tensor length at lr 1, before momentum."""

    def __init__(
        self, parameters: Iterable[Tensor], *, momentum: float, weight_decay: float, trust: float, eps: float = 1e-8
    ) -> None:
        own = {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "eps": eps}
        super().__init__(parameters, own)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self.state[parameter]
                    moved = _scaled(parameter, parameter.grad, group)
                    state["speed"] = moved if "speed" not in state else state["speed"].mul_(group["momentum"]).add_(moved)
                    parameter.sub_(group["lr"] * state["speed"])


def _scaled(parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """Gradient and decay, scaled to `trust` x the parameter's length."""
    length, slope = parameter.norm(), gradient.norm()
    share = group["trust"] * length / (slope + group["weight_decay"] * length + group["eps"])
    share = torch.where((length > 0) & (slope > 0), share, torch.ones_like(share))
    return (gradient + group["weight_decay"] * parameter) * share
