"""A few lines as a program of two processes that train together on their CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FRAME = """
import sys
from pathlib import Path
import torch
from torch import distributed
from tests.embedder.training.drawn import tiny
distributed.init_process_group("gloo")
{lines}
distributed.destroy_process_group()
"""


def in_two(lines: str, script: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `lines`, which find `words` in sys.argv, by torchrun; written to `script`."""
    script.write_text(FRAME.format(lines=lines))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    here = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *map(str, words)], env=here, capture_output=True, text=True, timeout=200)
