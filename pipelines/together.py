"""Several processes of this machine, joined as torchrun joins them; what one of them dies of is told here, in one line."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import uuid
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

TOGETHER = "CURATE_TOGETHER"  # in the environment of processes that `together` started


def together(processes: int, *words: str) -> None:
    """`python WORDS` in so many processes. What ends this one, SIGTERM too, ends them.

    Raises RuntimeError with what the first that failed had to say (`failed`), or how it ended.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ[TOGETHER] = "1"
    how = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    logging.disable(logging.ERROR)  # tables and tracebacks of what is told below
    try:
        elastic_launch(how, sys.executable)(*words)
    except ChildFailedError as error:
        raise RuntimeError(_why(error, processes)) from error
    except SignalException as signal:
        raise SystemExit(128 + signal.sigval) from None
    finally:
        logging.disable(logging.NOTSET)
        del os.environ[TOGETHER]


def _why(error: ChildFailedError, processes: int) -> str:
    rank, failure = error.get_first_failure()
    if "timestamp" in failure.error_file_data:
        return failure.message
    how = failure.message if failure.exitcode < 0 else f"it ended with {failure.exitcode}; its message is above"
    return f"process {rank} of {processes} failed: {how}"


def failed(error: Exception) -> None:
    """Leave an error for `together`, or print it where something else started this process."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if TOGETHER in os.environ and file:
        Path(file).write_text(json.dumps({"message": str(error), "timestamp": int(time.time())}))
    else:
        print(f"curate: {error}", file=sys.stderr)
