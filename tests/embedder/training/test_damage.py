"""What damages a checkpoint, or disturbs a training, is one line; nothing half-written stays."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from embedder.training import checkpoint, sums
from embedder.training.distillation import teacher_of
from embedder.training.learners import learners
from embedder.training.train import train
from tests.embedder.training.drawn import run_folder, tiny
from tests.embedder.training.launched import in_two

CPU = torch.device("cpu")


def learned(folder: Path) -> None:
    (folder / "encoder.safetensors").write_text("learned")


def fail(_: Path) -> None:
    raise RuntimeError("full\nmore")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    checkpoint.begin(folder, 1, *learners(tiny(), CPU), {"config": asdict(tiny())}, keep=1, result=learned).finish()
    return folder


DAMAGE: dict[tuple[str, int | None], str] = {  # file and what is left of it, None for nothing: what is told
    ("__0_0.distcp", 999): "__0_0.distcp is not what was written",
    ("__0_0.distcp", None): "__0_0.distcp is missing",
    (".metadata", 99): ".metadata is not what was written",
    (".metadata", None): ".metadata is missing",
    ("loop.json", 1): "loop.json",
    ("encoder.safetensors", 3): "encoder.safetensors is not what was written",
}


@pytest.mark.parametrize(("name", "left"), DAMAGE)
def test_a_damaged_checkpoint_is_one_line(
    name: str, left: int | None, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    at = Path(shutil.copytree(whole, tmp_path / "copy")) / "step-00000001"
    held = (at / name).read_bytes()
    (at / name).unlink()
    if left is not None:
        (at / name).write_bytes(held[:left])
    told = rf"^{re.escape(str(at))} is damaged.*{DAMAGE[name, left]}.*$"
    with pytest.raises(ValueError, match=told):
        checkpoint.load(at, *learners(tiny(), CPU))
    with pytest.raises(ValueError, match=told):
        teacher_of(at.parent)
    assert "metadata is not found" not in caplog.text  # torch's, with a traceback


def test_a_flipped_bit_is_seen_and_older_checkpoints_have_no_checksums(whole: Path, tmp_path: Path) -> None:
    at = Path(shutil.copytree(whole, tmp_path / "copy")) / "step-00000001"
    said = subprocess.run(["sha256sum", "--check", "--quiet", sums.NAME], cwd=at, capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "")
    held = (at / "__0_0.distcp").read_bytes()
    (at / "__0_0.distcp").write_bytes(held[:-9] + bytes([held[-9] ^ 1]) + held[-8:])
    with pytest.raises(ValueError, match=r"is damaged: __0_0\.distcp is not what was written"):
        checkpoint.load(at, *learners(tiny(), CPU))
    (at / "__0_0.distcp").write_bytes(held)
    (at / sums.NAME).unlink()
    checkpoint.load(at, *learners(tiny(), CPU))


def of_one(name: str, what: str) -> str:
    return f"{hashlib.sha256(what.encode()).hexdigest()}  {name}\n"


SUMS = {  # what SHA256SUMS holds: what is told
    "": "SHA256SUMS says nothing of",
    of_one("encoder.safetensors", "learned"): "SHA256SUMS says nothing of",
    of_one("../x", "x"): "SHA256SUMS cannot be read",
    "\n": "SHA256SUMS cannot be read",
    of_one("a" * 300, ""): ".",
}


@pytest.mark.parametrize("held", SUMS)
def test_checksums_that_were_cut_or_made_up_let_nothing_through(held: str, whole: Path, tmp_path: Path) -> None:
    at = Path(shutil.copytree(whole, tmp_path / "copy")) / "step-00000001"
    (at.parent / "x").write_text("x")
    (at / sums.NAME).write_text(held)
    for read in (lambda: checkpoint.load(at, *learners(tiny(), CPU)), lambda: teacher_of(at.parent)):
        with pytest.raises(ValueError, match=rf"^{re.escape(str(at))} is damaged: .*{SUMS[held]}"):
            read()


@pytest.mark.parametrize("other", [{"depth": 1}, {"depth": 3}, {"registers": 1}])
def test_one_of_another_model_is_refused(other: dict[str, int], whole: Path) -> None:
    with pytest.raises(ValueError, match="of another model"):
        checkpoint.load(whole / "step-00000001", *learners(tiny(model=other), CPU))


def test_what_a_killed_or_failed_checkpoint_left_goes(tmp_path: Path) -> None:
    (tmp_path / ".step-00000002.tmp").mkdir()
    state = learners(tiny(), CPU)
    checkpoint.begin(tmp_path, 3, *state, {}, keep=1, result=lambda _: None).finish()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
    full = checkpoint.begin(tmp_path, 4, *state, {}, keep=1, result=fail)
    with pytest.raises(OSError, match=r"step-00000004 could not be written: RuntimeError: full$"):
        full.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_a_folder_is_one_trainings_at_a_time(tmp_path: Path) -> None:
    run, out = run_folder(tmp_path / "run"), tmp_path / "out"
    with checkpoint.claimed(out), pytest.raises(ValueError, match=r"another training is at work on .*out \(process \d+\)"):
        train(tiny(), str(run), out)
    assert [path.name for path in out.iterdir()] == [".lock"]
    train(tiny(schedule={"steps": 2}), str(run), out, say=lambda _: None)
    assert checkpoint.found(out)


ONE_FAILS = """
from embedder.training import checkpoint, sums
from embedder.training.learners import learners

def full(paths):
    raise OSError("disk full")

if distributed.get_rank() == 1:
    sums.of = full
folder = Path(sys.argv[1])
writing = checkpoint.begin(folder, 1, *learners(tiny(), torch.device("cpu")), {}, keep=1, result=lambda _: None)
try:
    writing.finish()
except OSError as error:
    (folder / f"told-{distributed.get_rank()}").write_text(str(error))
"""


def test_what_goes_wrong_in_one_process_is_raised_in_all(tmp_path: Path) -> None:
    done = in_two(ONE_FAILS, tmp_path / "script.py", tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    for rank in range(2):
        assert (tmp_path / f"told-{rank}").read_text().endswith("step-00000001 could not be written: OSError: disk full")
    assert checkpoint.found(tmp_path) == []
