"""`curate train`: a config, a manifest and a folder to a trained encoder; one process, several on this machine, or Ray's.

Several machines without Ray: torchrun --nnodes ... -m pipelines.train RUN --config NAME, which takes the same options.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from embedder.training.config import TrainConfig
from embedder.training.export import NAME, export
from embedder.training.gauges import too_much
from embedder.training.sharding import world
from embedder.training.train import train as learn
from pipelines.config import RecipeError, build, read_table
from pipelines.runner import Cluster
from pipelines.together import failed, together

Said = tuple[str, ...]
REFUSED = ".refused"  # in a training's folder: why Ray's workers would not go on


def configs() -> dict[str, Path]:
    """The shipped configs by name."""
    folder = Path(str(resources.files("embedder").joinpath("training", "configs")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_config(name_or_path: str, changes: Said = ()) -> TrainConfig:
    """A shipped config or a TOML file, with `section.key=value` changes. Raises RecipeError."""
    path = configs().get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise RecipeError(f"no config {name_or_path!r}: neither a shipped one ({', '.join(configs())}) nor a file")
    return build(TrainConfig, read_table(path), changes)


def train(
    run: str,
    config: str,
    out: Path | None = None,
    data: str | None = None,
    changes: Said = (),
    processes: int = 1,
    address: str | None = None,
) -> Path:
    """Train on a run's manifest, or on what `data` (SQL over `manifest`) leaves of it; the encoder's weights file.

    out: RUN/train/NAME unless given; a folder that holds a checkpoint is gone on with. processes: each with a GPU of its own
    where there are GPUs; of this machine, or with `address` of that Ray cluster ("local" starts one). Raises ValueError for
    what cannot be trained, RuntimeError if a process failed.
    """
    folder = out or Path(run) / "train" / Path(config).stem
    cfg = load_config(config, changes)
    if address:
        cfg.share(processes)
        told = {"run": _whole(run), "config": _placed(cfg), "out": _whole(str(folder)), "data": data}
        with Cluster(run, processes, None if address == "local" else address) as cluster:
            cluster.train(as_worker, told)
        if (refused := folder / REFUSED).exists():
            why = refused.read_text()
            refused.unlink()
            raise ValueError(why)
        return folder / NAME
    if processes > 1 and not _launched():
        cfg.share(processes)
        return _several(run, config, folder, data, changes, processes)
    return _here(cfg, run, data, folder)


def watching(knn: Sequence[str | Path] | None) -> Said:
    """The change that asks for k-NN between two labelled places, told whole: workers may start elsewhere."""
    return (f"loop.knn={json.dumps([str(Path(place).absolute()) for place in knn])}",) if knn else ()


def as_worker(told: dict[str, Any]) -> None:
    """One of the processes that Ray Train joined: they share the group that it made."""
    folder = Path(told["out"])
    try:
        _here(told["config"], told["run"], told["data"], folder)
    except (ValueError, FloatingPointError) as error:  # to begin again would end the same way
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REFUSED).write_text(str(error))


def _whole(path: str) -> str:
    """Processes of a cluster start elsewhere."""
    return path if "://" in path else str(Path(path).absolute())


def _placed(cfg: TrainConfig) -> TrainConfig:
    """With the whole paths of what it names: of files, not of encoders by name."""
    start = _whole(cfg.loop.start) if Path(cfg.loop.start).exists() and cfg.loop.start else cfg.loop.start
    teacher = _whole(cfg.loop.teacher) if cfg.loop.teacher else cfg.loop.teacher
    return replace(cfg, loop=replace(cfg.loop, start=start, teacher=teacher))


def _here(cfg: TrainConfig, run: str, data: str | None, folder: Path) -> Path:
    """As one process, or as one of those that torchrun started."""
    device, own = _device(), _launched() and not distributed.is_initialized()
    if own:
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        state = learn(cfg, run if data is None else data, folder, device, run=run)
        return export(state.pair, cfg, folder / NAME)
    except torch.cuda.OutOfMemoryError as error:
        card_gib = torch.cuda.get_device_properties(device).total_memory / 2**30
        raise RuntimeError(too_much(cfg, world()[1], card_gib)) from error
    finally:
        if own:
            distributed.destroy_process_group()


def _several(run: str, config: str, folder: Path, data: str | None, changes: Said, processes: int) -> Path:
    words = ["-m", "pipelines.train", run, "--config", config, "--out", str(folder)] + (["--data", data] if data else [])
    together(processes, *words, *(word for change in changes for word in ("--set", change)))
    return folder / NAME


def _launched() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _device() -> str:
    if not torch.cuda.is_available():
        if "OMP_NUM_THREADS" not in os.environ:  # torchrun sets it; the loader has the other half of the cores
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))
        return "cpu"
    number = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(number)
    return f"cuda:{number}"


def main() -> None:
    """What torchrun starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--config", required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--knn", nargs=2)
    args = parser.parse_args()
    try:
        train(args.run, args.config, args.out, args.data, (*args.changes, *watching(args.knn)))
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        failed(error)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
