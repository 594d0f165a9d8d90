"""A part written row by row: whatever kills the writer, finished rows stay, unfinished ones leave nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tarfile
import time
from multiprocessing.context import ForkProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pyarrow as pa
import pytest

from curation import crawl_records
from curation.journal import Journal, Place, reopen
from curation.store import Store


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.of(Store(str(tmp_path)), "fetched", "images/{part:05d}.tar", 3)


def add(journal: Journal, row: int, reason: str | None = None) -> None:
    fields = {"url_id": f"{row:032x}", "url": f"http://a/{row}"} | ({"drop_reason": reason} if reason else {})
    journal.add(row, fields, [] if reason else [(f"{row}.jpg", bytes([row % 256]) * 700), (f"{row}.json", b"{}")])


def names(place: Place) -> list[str]:
    with tarfile.open(place.tar) as tar:
        return tar.getnames()


def test_rows_in_any_order_become_a_part_and_a_tar(place: Place) -> None:
    with Journal(place, "x") as journal:
        journal.open()
        for row in (2, 0, 1):
            add(journal, row, "not_found" if row == 0 else None)
        table = journal.table(crawl_records.FETCHED)
        journal.finish()
        journal.forget()
    assert table["url"].to_pylist() == ["http://a/0", "http://a/1", "http://a/2"]
    assert table["uri"].to_pylist() == [None, "images/00003.tar", "images/00003.tar"]
    assert names(place) == ["2.jpg", "2.json", "1.jpg", "1.json"]
    content = place.tar.read_bytes()
    for row in table.to_pylist()[1:]:
        assert content[row["offset"] : row["offset"] + row["length"]] == bytes([int(row["url"][-1])]) * 700
    assert not place.rows.exists()
    assert not place.open_tar.exists()


def write_for_ever(place: Place) -> None:
    with Journal(place, "x") as journal:
        journal.open()
        for row in range(10**9):
            if row not in journal.done:
                add(journal, row, "not_found" if row % 5 == 0 else None)


def test_killed_writers_lose_no_row_and_leave_no_half(place: Place) -> None:
    fork, before = multiprocessing.get_context("fork"), set[int]()
    for _ in range(4):
        writer = fork.Process(target=write_for_ever, args=(place,))
        writer.start()
        time.sleep(0.15)
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        with Journal(place, "x") as journal:
            done = set(journal.open().done)
        assert before <= done
        before = done
    assert len(before) > 20
    with Journal(place, "x") as journal:
        table = journal.open().table(crawl_records.FETCHED)
        journal.finish()
    assert table.num_rows == len(before)
    kept = [row for row in table.to_pylist() if row["drop_reason"] is None]
    assert len(names(place)) == 2 * len(kept)


def test_what_is_incomplete_is_cut(place: Place) -> None:
    with Journal(place, "x") as journal:
        journal.open()
        for row in range(3):
            add(journal, row)
    size = place.open_tar.stat().st_size
    with place.rows.open("ab") as file:
        file.write(b'{"row":3,"fields":{"url_id"')
    with place.open_tar.open("ab") as file:
        file.write(b"half a member")
    with Journal(place, "x") as journal:
        assert journal.open().done == {0, 1, 2}
    assert place.open_tar.stat().st_size == size
    os.truncate(place.open_tar, size - 100)  # members of the last row were lost with the machine's power
    with Journal(place, "x") as journal:
        assert journal.open().done == {0, 1}
        add(journal, 2)
        assert journal.counts[""] == 3
    assert place.open_tar.stat().st_size == size


def test_rows_of_another_input_are_not_believed(place: Place) -> None:
    with Journal(place, "x") as journal:
        add(journal.open(), 0)
    with Journal(place, "y") as journal:
        assert journal.open().done == set()
    with Journal(place, "x") as journal:
        assert journal.open().done == set()


def test_killed_between_the_tars_name_and_the_receipt(place: Place) -> None:
    with Journal(place, "x") as journal:
        add(journal.open(), 0)
        journal.finish()
    with Journal(place, "x") as journal:
        assert journal.open().done == {0}
        add(journal, 1)
        journal.finish()
    assert names(place) == ["0.jpg", "0.json", "1.jpg", "1.json"]


@pytest.mark.parametrize("whole", [True, False])
def test_reopened_rows_are_done_again(place: Place, whole: bool) -> None:
    with Journal(place, "x") as journal:
        journal.open()
        for row, reason in enumerate([None, "timeout", "not_found", "timeout"]):
            add(journal, row, reason)
        table = journal.table(crawl_records.FETCHED) if whole else None
        if whole:
            journal.finish()
            journal.forget()
    assert reopen(place, "x", table, frozenset({"timeout"})) == 2
    with Journal(place, "x") as journal:
        assert journal.open().done == {0, 2}
        add(journal, 1)
        add(journal, 3, "timeout")
        table = journal.table(crawl_records.FETCHED)
        journal.finish()
    assert table["drop_reason"].to_pylist() == [None, None, "not_found", "timeout"]
    assert names(place) == ["0.jpg", "0.json", "1.jpg", "1.json"]
    assert reopen(place, "x", table, frozenset({"not_found_either"})) == 0


def hold(place: Place, whole: bool, held: Event) -> None:
    with Journal(place, "x") as journal:
        add(journal.open(), 0)
        held.set()
        time.sleep(0.6)
        if whole:
            journal.finish()
            journal.forget()


def holder(place: Place, whole: bool = True) -> ForkProcess:
    """Another process, which writes the part by now."""
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    process = fork.Process(target=hold, args=(place, whole, held))
    process.start()
    assert held.wait(60)
    return process


def test_a_second_writer_waits(place: Place) -> None:
    first = holder(place)
    began = time.monotonic()
    with Journal(place, "x") as journal:
        assert time.monotonic() - began > 0.2
        assert place.rows.exists()  # its own, not the one that was unlinked
        assert names(place) == ["0.jpg", "0.json"]  # nothing is touched before it is opened
        assert journal.tar is None
    first.join()


def test_rows_of_another_input_are_not_reopened(place: Place) -> None:
    assert reopen(place, "y", None, frozenset({"timeout"})) == 0  # a part that was never begun
    assert not place.rows.parent.exists()
    with Journal(place, "x") as journal:
        add(journal.open(), 0)
        add(journal, 1, "timeout")
    assert reopen(place, "y", None, frozenset({"timeout"})) == 0
    with Journal(place, "y") as journal:
        assert journal.open().done == set()


def test_reopening_waits_for_a_writer_that_outlived_its_run(place: Place) -> None:
    with Journal(place, "x") as journal:
        add(journal.open(), 1, "timeout")
    first = holder(place, whole=False)
    assert reopen(place, "x", None, frozenset({"timeout"})) == 1
    first.join()
    with Journal(place, "x") as journal:
        assert journal.open().done == {0}  # what the writer added meanwhile is kept


def test_nothing_to_reopen_leaves_nothing_behind(place: Place) -> None:
    with Journal(place, "x") as journal:
        add(journal.open(), 0)
        table = journal.table(crawl_records.FETCHED)
        journal.finish()
        journal.forget()
    assert reopen(place, "x", table, frozenset({"timeout"})) == 0
    assert not place.rows.exists()


def test_object_stores_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a local folder"):
        Place.of(Store("memory://crawl"), "fetched", "images/{part:05d}.tar", 0)


def test_the_table_has_its_schema_when_nothing_was_done(place: Place) -> None:
    with Journal(place, "x") as journal:
        assert journal.open().table(crawl_records.FETCHED).equals(pa.Table.from_pylist([], schema=crawl_records.FETCHED))
