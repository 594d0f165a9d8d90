"""A test file run as a program: a run on real workers in a process of its own, which can be killed with all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

Program = subprocess.Popen[str]


def launch(module: str, root: Path, workers: int) -> Program:
    """`python -m MODULE ROOT WORKERS`."""
    command = [sys.executable, "-m", module, str(root), str(workers)]
    return subprocess.Popen(command, env=dict(os.environ), text=True, stderr=subprocess.PIPE, start_new_session=True)


def finish(program: Program) -> None:
    _, errors = program.communicate(timeout=200)
    assert program.returncode == 0, errors


def appeared(path: Path, program: Program, seconds: float = 200) -> bool:
    """Wait until the path is there, as long as the program runs; whether it is."""
    deadline = time.monotonic() + seconds
    while not path.exists() and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return path.exists()


def kill_all(program: Program) -> None:
    """SIGKILL to the program and its workers."""
    os.killpg(program.pid, signal.SIGKILL)
    program.communicate()
