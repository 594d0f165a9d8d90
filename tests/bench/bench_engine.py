"""Tasks over parts, or Ray Data's streaming: the same work on the same encoded images, side by side.

    python -m tests.bench.bench_engine --pool DIR --images 4000 --json

The work: read encoded images from Parquet, decode at 128 px, screen them, write Parquet. Ways: `parts` is this
project's worker on one Parquet part per task; `stream` is read_parquet -> map_batches(actors) -> write_parquet, which
carries the encoded bytes through the object store; `checkpointed` is `stream` with Ray Data's checkpointing, run once
whole and once again over its own finished output. Each way in a process of its own, in turns, Ray's start-up included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation import quality
from curation.decode import Reject, decode_grey
from tests.bench.bench_flow import read_all

PARTS = 16
RESULT = pa.schema([("id", pa.string()), ("entropy", pa.float32()), ("sharpness", pa.float32())])


def screen(table: pa.Table) -> pa.Table:
    """(id, bytes) to RESULT: the work that every way does."""
    rows = []
    for name, data in zip(table["id"].to_pylist(), table["bytes"].to_pylist(), strict=True):
        try:
            grey = decode_grey(data, quality.SCREEN_SIDE)
        except Reject:
            continue
        rows.append({"id": name, "entropy": quality.entropy(grey), "sharpness": quality.sharpness(grey)})
    return pa.Table.from_pylist(rows, schema=RESULT)


class Screen:
    """The callable of Ray Data's actors."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return screen(batch)


def by_parts(folder: Path, out: Path) -> None:
    """One part per task, over a pool of actors; bytes never leave the worker."""
    from pipelines import runner

    class Part:
        def run(self, path: str) -> None:
            table = screen(pq.read_table(path))
            pq.write_table(table, out / Path(path).name)

    with runner.Cluster(str(out), workers=2):
        actors = [runner.ray.remote(num_cpus=1)(Part).remote() for _ in range(2)]
        pool = runner.ray.util.ActorPool(actors)
        list(pool.map_unordered(lambda actor, path: actor.run.remote(path), [str(p) for p in sorted(folder.glob("*.parquet"))]))


def by_stream(folder: Path, out: Path, checkpoint: Path | None = None) -> None:
    """Ray Data, with one CPU left free (an actor pool that holds them all never starts)."""
    from pipelines import runner

    runner.os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    with runner.Cluster(str(out), workers=5):
        import ray.data
        from ray.data.checkpoint import CheckpointConfig

        context = ray.data.DataContext.get_current()
        if checkpoint:
            context.checkpoint_config = CheckpointConfig(
                id_column="id", checkpoint_path=str(checkpoint), delete_checkpoint_on_success=False
            )
        rows = ray.data.read_parquet(str(folder))
        rows.map_batches(
            Screen, batch_format="pyarrow", batch_size=64, compute=ray.data.ActorPoolStrategy(size=2)
        ).write_parquet(str(out))


def seconds(way: str, folder: Path, out: Path, checkpoint: Path | None) -> tuple[float, int]:
    """Wall time of one way in a fresh process, and the rows that it left."""
    command = [sys.executable, "-m", "tests.bench.bench_engine", "--way", way, "--pool", str(folder), "--out", str(out)]
    began = time.monotonic()
    subprocess.run(
        [*command, *(["--checkpoint", str(checkpoint)] if checkpoint else [])], check=True, capture_output=True, timeout=600
    )
    return time.monotonic() - began, sum(pq.read_metadata(p).num_rows for p in out.glob("*.parquet"))


def write_input(pool: Path, folder: Path, images: int) -> None:
    encoded = read_all(pool)[:images]
    table = pa.table({"id": [f"{n:06d}" for n in range(len(encoded))], "bytes": pa.array(encoded, pa.binary())})
    size = -(-table.num_rows // PARTS)
    for part in range(PARTS):
        pq.write_table(table.slice(part * size, size), folder / f"part-{part:05d}.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=("parts", "stream", "checkpointed"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        by_parts(options.pool, options.out) if options.way == "parts" else by_stream(
            options.pool, options.out, options.checkpoint
        )
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(compare(Path(scratch), options.pool, options.images, options.rounds)))


def compare(root: Path, pool: Path, images: int, rounds: int) -> dict[str, object]:
    """Best wall seconds of each way, the rows each left, and what a second, checkpointed run over finished output took."""
    (root / "in").mkdir()
    write_input(pool, root / "in", images)
    found: dict[str, list[float]] = {}
    rows: dict[str, int] = {}
    for turn in range(rounds):
        for way in ("parts", "stream", "checkpointed"):
            out, checkpoint = root / f"{way}-{turn}", root / f"checkpoint-{turn}"
            out.mkdir()
            took, rows[way] = seconds(way, root / "in", out, checkpoint if way == "checkpointed" else None)
            found.setdefault(way, []).append(took)
    again, rows["checkpointed again"] = seconds("checkpointed", root / "in", root / "checkpointed-0", root / "checkpoint-0")
    best = {f"{way}_s": round(min(times), 1) for way, times in found.items()}
    ratio = round(min(found["stream"]) / min(found["parts"]), 2)
    return {"images": images, **best, "again_over_finished_s": round(again, 1), "stream_vs_parts": ratio, "rows": rows}


if __name__ == "__main__":
    main()
