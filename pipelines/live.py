"""What a stage that journals its rows has done so far, while it is at it; and the alarm if most of it fails."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping

from curation.journal import Place
from curation.stage import JournalStage, Stage
from curation.store import Receipt, Store
from pipelines.progress import Bar

FEWEST = 200  # rows before an alarm is thought of


class Live:
    """Counts by reason ("" for successes) over finished parts and those at work."""

    def __init__(
        self, store: Store, stage: Stage, bar: Bar, done: Mapping[int, Receipt], parts: list[int], alarm_below: float
    ) -> None:
        self.store, self.stage, self.bar, self.done, self.parts = store, stage, bar, done, parts
        self.alarm_below, self.alarmed = alarm_below, False

    def look(self) -> None:
        """Show the counts; warn once if the share of successes is below `alarm_below`."""
        if not isinstance(self.stage, JournalStage):
            return
        counts = self.counts(self.stage)
        total = sum(counts.values())
        self.bar.show(total, counts)
        if not self.alarmed and total >= FEWEST and counts[""] < self.alarm_below * total:
            self.alarmed = True
            self.bar.alarm(total, counts)

    def counts(self, stage: JournalStage) -> Counter[str]:
        counts = Counter[str]()
        for part in self.parts:
            if part in self.done:
                counts.update({"": self.done[part].kept, **self.done[part].reasons})
                continue
            with contextlib.suppress(FileNotFoundError):  # not begun, or ended a moment ago
                counts.update(json.loads(Place.of(self.store, stage.name, stage.tar, part).live.read_text()))
        return counts
