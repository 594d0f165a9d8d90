"""What a training tells: lines for people, rows of a CSV file, and, where it is installed, TensorBoard."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, TextIO

COLUMNS = ("step", "loss", "dino", "ibot", "koleo", "lr", "images_per_s", "mfu", "memory_gib", "skipped", "knn")


class Log:
    """log.csv in a folder, rows after the step that a training is resumed at are replaced."""

    def __init__(self, folder: Path, first: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "log.csv"
        old = [row for row in _read(path) if first and int(row["step"]) <= first]
        self.file: TextIO = path.open("w", newline="")
        self.rows = csv.DictWriter(self.file, COLUMNS)
        self.rows.writeheader()
        self.rows.writerows(old)
        self.board = _board(folder)

    def add(self, row: dict[str, Any]) -> None:
        self.rows.writerow(row)
        self.file.flush()
        for name, value in row.items():
            if self.board is not None and name != "step":
                self.board.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row.get("step", "").isdigit()]


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))


def line(row: dict[str, Any], steps: int) -> str:
    """One line for people."""
    parts = "  ".join(f"{name} {row[name]:.3f}" for name in ("loss", "dino", "ibot", "koleo"))
    speed = f"{row['images_per_s']:.1f} images/s" + (f", MFU {row['mfu']:.0%}" if row["mfu"] else "")
    skipped = f", {row['skipped']} unreadable" if row["skipped"] else ""
    return f"step {row['step']} of {steps}  {parts}  lr {row['lr']:.1e}  {speed}, {row['memory_gib']:.1f} GiB{skipped}"
