"""What this machine has, and what to do about what it lacks."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from rich.table import Table

GIB = 2**30
LEAST_DISK, LEAST_MEMORY, LEAST_FILES = 5, 4, 1024  # GiB, GiB, open files


@dataclass(frozen=True)
class Finding:
    """One thing looked at. remedy: what to do if it is not ok."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def diagnose() -> list[Finding]:
    """Everything that a run needs, in the order in which it is needed."""
    return [*_packages(), _faiss(), *_devices(), *_machine(), *_weights(), _catalogue()]


def _packages() -> Iterator[Finding]:
    here = sys.version.split()[0]
    yield Finding("python", sys.version_info >= (3, 11), here, "use Python 3.11 or newer")
    wanted = [Requirement(text) for text in requires("curate") or []]
    yield from (_package(one) for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""}))
    for extra, use in (("crawl", "curate crawl"), ("safety", "NSFW and face detectors, on by default")):
        lacking = [one for one in wanted if _belongs(one, extra) and not _package(one).ok]
        told = f"lacks {', '.join(one.name for one in lacking)}: pip install 'curate[{extra}]'" if lacking else "installed"
        yield Finding(f"extra {extra}", True, f"{told} ({use})")


def _belongs(wanted: Requirement, extra: str) -> bool:
    marker = wanted.marker
    return marker is not None and not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra})


def _package(wanted: Requirement) -> Finding:
    remedy = f"pip install '{wanted.name}{wanted.specifier}'"
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return Finding(wanted.name, False, "not installed", remedy)
    return Finding(wanted.name, wanted.specifier.contains(found, prereleases=True), found, remedy)


def _faiss() -> Finding:
    remedy = "pip install 'curate[cpu]', or 'curate[gpu]' on a machine with CUDA; not both"
    try:
        import faiss
    except (ImportError, RuntimeError) as error:
        return Finding("faiss", False, str(error).splitlines()[0], remedy)
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    return Finding("faiss", True, f"{faiss.__version__}, {gpus} GPUs" if gpus else f"{faiss.__version__}, CPU")


def _devices() -> Iterator[Finding]:
    import torch

    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    yield Finding("gpu", True, ", ".join(gpus) or "none: everything runs on the CPU")
    native = torch.cpu._is_avx512_bf16_supported()
    yield Finding("bfloat16", True, "native on this CPU" if native else "not native on this CPU: networks run in float32")


def _machine() -> Iterator[Finding]:
    cores, memory = len(os.sched_getaffinity(0)), psutil.virtual_memory().available / GIB
    yield Finding("cores", True, str(cores))
    yield Finding(
        "memory", memory >= LEAST_MEMORY, f"{memory:.1f} GiB free", f"free {LEAST_MEMORY} GiB, or use fewer --workers"
    )
    for name, path in (("disk here", "."), ("temporary folder", tempfile.gettempdir())):
        free = shutil.disk_usage(path).free / GIB
        yield Finding(name, free >= LEAST_DISK and os.access(path, os.W_OK), f"{free:.0f} GiB free in {Path(path).resolve()}",
                      f"free {LEAST_DISK} GiB there, or set TMPDIR")  # fmt: skip
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield Finding("open files", files >= LEAST_FILES, str(files), f"ulimit -n {4 * LEAST_FILES}")


def _weights() -> Iterator[Finding]:
    from embedder.encoder import load_encoder

    folder = Path(str(resources.files("embedder").joinpath("weights")))
    shipped = sorted(path.stem for path in folder.glob("*.safetensors"))
    if not shipped:
        yield Finding("weights", False, f"none in {folder}", "install curate again")
    for name in shipped:
        try:
            encoder = load_encoder(name)
        except ValueError as error:
            yield Finding(f"weights {name}", False, str(error), "install curate again")
        else:
            yield Finding(f"weights {name}", True, f"{encoder.dim}-d at {encoder.side} px, sha256 {encoder.digest[:12]}")


def _catalogue() -> Finding:
    from pipelines.catalogue import home, listing

    try:
        entries = listing()
    except ValueError as error:
        return Finding("catalogue", False, str(error), "mend or delete that file")
    gone = [
        e.name for e in entries if "://" not in e.path and not any(c in e.path for c in "*?[{") and not Path(e.path).exists()
    ]
    return Finding("catalogue", not gone, f"gone: {', '.join(gone)}" if gone else f"{len(entries)} named sets in {home()}",
                   "curate seeds add NAME PATH with the new path")  # fmt: skip


def render(findings: list[Finding]) -> Table:
    """One line per finding; the remedy where there is a problem."""
    table = Table(box=None, show_header=False)
    for finding in findings:
        mark = "[green]ok[/green]" if finding.ok else "[red]no[/red]"
        table.add_row(mark, finding.name, finding.detail + ("" if finding.ok else f"\n[yellow]{finding.remedy}[/yellow]"))
    return table
