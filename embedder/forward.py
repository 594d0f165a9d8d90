"""A frozen network on its device: any number of images in pieces as large as pay, in bfloat16 and compiled where asked.

Letters: B images, H W pixels, E output width.
"""

import copy
import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from embedder.vit import VisionTransformer

# ImageNet statistics of RGB in [0, 1], as every network here is trained with.
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
FEWEST, MOST = 16, 1024  # images of a piece that are tried
GAIN = 1.03  # rate of twice the images from which they pay
SHARE = 0.8  # of the device's memory that a piece may take
LOG = logging.getLogger(__name__)


def normalise(image_B3SS: Tensor) -> Tensor:
    """Float RGB in [0, 1] to zero mean and unit spread per channel."""
    return (image_B3SS - MEAN.to(image_B3SS.device)) / STD.to(image_B3SS.device)


class Forward:
    """uint8 images to features, on the network's device.

    On a GPU the images of a piece are found by trying, once for each side, and halved whenever memory runs out, which is
    logged; a CPU takes all at once. half: bfloat16; on a GPU of a copy whose weights are cast once, elsewhere by autocast.
    compiled: each block by torch.compile, on a GPU only; pieces are then filled up to one size.
    """

    def __init__(self, network: nn.Module, device: str, half: bool, compiled: bool = False) -> None:
        self.network, self.device, self.half, self.compiled = network, torch.device(device), half, compiled
        self.pieces: dict[int, int] = {}  # short edge -> images of a piece
        self._ready: nn.Module | None = None

    @torch.inference_mode()
    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """(B, E) float32 on the device, not normalised; a GPU may still be at work on it."""
        parts: list[Tensor] = []
        at = 0
        while at < len(image_B3HW):
            size = self.piece(*image_B3HW.shape[2:]) or len(image_B3HW)
            try:
                parts.append(self._run(image_B3HW[at : at + size], size))
                at += size
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                self._halve(min(image_B3HW.shape[2:]), min(size, len(image_B3HW) - at))
        return torch.cat(parts) if parts else torch.empty(0)

    def piece(self, height: int, width: int) -> int:
        """Images of a piece at this size; 0: all at once."""
        side = min(height, width)
        if side not in self.pieces:
            if self.device.type != "cuda":
                return 0
            self.pieces[side] = self._search(side)
            LOG.info("%d images of %d pixels at a time", self.pieces[side], side)
        return max(1, self.pieces[side] * side // max(height, width))

    def _run(self, image_B3HW: Tensor, size: int) -> Tensor:
        """One piece; filled up to `size` where another size would be compiled anew."""
        count, network = len(image_B3HW), self._network()
        image_B3HW = image_B3HW.to(self.device, non_blocking=True)
        if self.compiled and self.device.type == "cuda" and count < size:
            image_B3HW = torch.cat([image_B3HW, image_B3HW.new_zeros(size - count, *image_B3HW.shape[1:])])
        pixels = normalise(image_B3HW.float() / 255).contiguous(memory_format=torch.channels_last)
        if network is not self.network:
            return network(pixels.bfloat16()).float()[:count]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return network(pixels).float()[:count]

    def _network(self) -> nn.Module:
        """What runs, made when first asked for: others use the network's own weights."""
        if self._ready is None:
            gpu, network = self.device.type == "cuda", self.network
            cast = gpu and self.half and isinstance(network, VisionTransformer) and not network.config.stem
            self._ready = in_bfloat16(network) if cast else network
        return self._ready

    def _search(self, side: int) -> int:
        """Tried as it is: to compile every size would take longer than all of them."""

        def seconds(size: int) -> float:
            image = torch.zeros(size, 3, side, side, dtype=torch.uint8, device=self.device)
            for _ in range(2):
                torch.cuda.synchronize(self.device)
                began = time.perf_counter()
                self._run(image, size)
                torch.cuda.synchronize(self.device)
            return time.perf_counter() - began

        def room(size: int) -> bool:
            torch.cuda.empty_cache()
            free, whole = torch.cuda.mem_get_info(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            self._run(torch.zeros(size // 2, 3, side, side, dtype=torch.uint8, device=self.device), size // 2)
            return 2 * (torch.cuda.max_memory_allocated(self.device) - before) < free - (1 - SHARE) * whole

        best = best_piece(seconds, room)
        torch.cuda.empty_cache()
        if self.compiled:
            compile_blocks(self._network())
        return best

    def _halve(self, side: int, size: int) -> None:
        self.pieces[side] = max(1, size // 2)
        LOG.warning("out of memory with %d images of %d pixels: %d from now on", size, side, self.pieces[side])
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def best_piece(seconds: Callable[[int], float], room: Callable[[int], bool]) -> int:
    """Images of a piece: doubled until that gains less than GAIN, `room` says no, or memory runs out.

    seconds(images): what a piece takes. room(images): whether it should be tried.
    """
    best, rate, size = FEWEST, 0.0, FEWEST
    while size <= MOST and (size == FEWEST or room(size)):
        try:
            found = size / seconds(size)
        except torch.OutOfMemoryError:
            return best if size > FEWEST else max(1, FEWEST // 2)
        if found < GAIN * rate:
            break
        best, rate, size = size, found, 2 * size
    return best


@torch.inference_mode(False)
def in_bfloat16(network: nn.Module) -> nn.Module:
    """A copy whose parameters are bfloat16; buffers, such as the wavelengths of turned positions, stay as they are."""
    half = copy.deepcopy(network)
    for parameter in half.parameters():
        parameter.data = parameter.data.bfloat16()
    return half


def compile_blocks(network: nn.Module, mode: str = "default") -> None:
    """Compile a transformer's blocks in place: one compilation serves all of them."""
    for block in getattr(network, "blocks", []):
        block.compile(dynamic=False, mode=mode)
