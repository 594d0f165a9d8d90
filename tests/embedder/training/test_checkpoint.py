"""A checkpoint is what was there when it was begun, whatever moves while it is written, and is whole or not there."""

from pathlib import Path

import pytest
import torch

from embedder.training import checkpoint
from embedder.training.learners import learners
from tests.embedder.training.drawn import tiny


def told(folder: Path) -> None:
    (folder / "told.txt").write_text("learned")


def test_what_moves_while_it_is_written_is_not_in_it(tmp_path: Path) -> None:
    pair, optimizer = learners(tiny(), torch.device("cpu"))
    weight = pair.student["backbone"].norm.weight
    writing = checkpoint.begin(tmp_path, 3, pair, optimizer, {"told": 1}, keep=2, result=told)
    with torch.no_grad():
        weight.fill_(7.0)
    assert checkpoint.found(tmp_path) == []
    path = writing.finish()
    assert writing.done()
    assert checkpoint.found(tmp_path) == [path]
    assert (path / "told.txt").read_text() == "learned"
    assert checkpoint.load(path, pair, optimizer) == {"step": 3, "told": 1}
    assert torch.equal(weight, torch.ones_like(weight))


def test_only_the_last_ones_stay(tmp_path: Path) -> None:
    pair, optimizer = learners(tiny(), torch.device("cpu"))
    for step in (1, 2, 3):
        checkpoint.begin(tmp_path, step, pair, optimizer, {}, keep=2, result=told).finish()
    assert [path.name for path in checkpoint.found(tmp_path)] == ["step-00000002", "step-00000003"]


def test_a_result_that_cannot_be_written_leaves_no_checkpoint(tmp_path: Path) -> None:
    pair, optimizer = learners(tiny(), torch.device("cpu"))
    writing = checkpoint.begin(tmp_path, 1, pair, optimizer, {}, keep=1, result=lambda folder: told(folder / "missing"))
    with pytest.raises(OSError, match="could not be written: FileNotFoundError"):
        writing.finish()
    assert checkpoint.found(tmp_path) == []


def test_what_goes_wrong_in_writing_is_told(tmp_path: Path) -> None:
    pair, optimizer = learners(tiny(), torch.device("cpu"))
    writing = checkpoint.begin(tmp_path, 1, pair, optimizer, {}, keep=1, result=told)
    writing.written.result()
    writing.waiting.rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="step-00000001 could not be written: FileNotFoundError"):
        writing.finish()
    assert checkpoint.found(tmp_path) == []
