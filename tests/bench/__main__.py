"""The benchmarks that need no data of yours, on a world drawn for them. Those of a GPU: `python -m tests.gpu_check`.

python -m tests.bench
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.demo.world import build_world


def main() -> None:
    """Runs each bench in a process of its own; each prints its JSON as its last line."""
    with tempfile.TemporaryDirectory() as scratch:
        world = build_world(Path(scratch))
        for name, more in (("bench_flow", ["--seeds", str(world / "seeds")]), ("bench_engine", ["--images", "2000"])):
            print(name, flush=True)
            subprocess.run([sys.executable, "-m", f"tests.bench.{name}", "--pool", str(world / "pool"), *more], check=True)


if __name__ == "__main__":
    main()
