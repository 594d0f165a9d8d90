"""What a stage that journals its rows has done so far, while it is at it; and the alarm if most of it fails."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence

from curation.journal import Place
from curation.stage import JournalStage
from curation.store import Receipt, Store
from pipelines.progress import Bar
from pipelines.runner import Task

FEWEST = 200  # rows before an alarm is thought of


class Live:
    """Counts by reason ("" for successes): those of finished parts are kept, only parts at work are looked at."""

    def __init__(self, store: Store, stage: JournalStage, bar: Bar, alarm_below: float, done: Iterable[Receipt]) -> None:
        self.store, self.stage, self.bar, self.alarm_below = store, stage, bar, alarm_below
        self.finished, self.alarmed = Counter[str](), False
        for receipt in done:
            self.finish(receipt)

    def finish(self, receipt: Receipt) -> None:
        """A part has its receipt."""
        self.finished.update({"": receipt.kept, **receipt.reasons})
        self.bar.show(self.finished.total(), self.finished)

    def look(self, running: Sequence[Task]) -> None:
        """Show the counts; warn once if the share of successes is below `alarm_below`."""
        counts = self.finished + sum((self._of(task.part or 0) for task in running), Counter[str]())
        total = counts.total()
        self.bar.show(total, counts)
        if not self.alarmed and total >= FEWEST and counts[""] < self.alarm_below * total:
            self.alarmed = True
            self.bar.alarm(total, counts)

    def _of(self, part: int) -> Counter[str]:
        with contextlib.suppress(FileNotFoundError):  # not begun, or ended a moment ago
            return Counter(json.loads(Place.of(self.store, self.stage.name, self.stage.tar, part).live.read_text()))
        return Counter()
