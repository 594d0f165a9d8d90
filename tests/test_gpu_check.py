"""The GPU check itself, on processes that need no GPU."""

from __future__ import annotations

import subprocess
import sys

from tests import gpu_check
from tests.gpu_check import ROOT, Check, checks, failed, figure, figures, run, table

LEAST = {"share": 0.5, "other": 1.0, "told": None}


def script(code: str, seconds: float = 60, name: str = "bench") -> Check:
    return Check(name, ("-c", code), seconds, LEAST)


def test_figures_are_read_from_the_last_line_and_compared_with_what_is_wanted():
    result = run(script('print(\'warming up\'); print(\'{"share": 0.75, "other": 0.9, "told": 12}\')'))
    assert (result.found, result.why, failed(result)) == ({"share": 0.75, "other": 0.9, "told": 12}, "", False)
    rows = [line.split()[1:5] for line in table([result])[1:]]
    assert [row[:3] for row in rows[:2]] == [["share", "0.75", "0.5"], ["other", "0.9", "1"]]
    assert [rows[0][3], rows[1][3]] == ["yes", "no"]
    assert rows[2] == ["told", "12"]


def test_what_runs_too_long_is_ended_and_what_it_had_printed_counts():
    code = 'import time; print(\'{"part": {"share": 0.6}}\', flush=True); time.sleep(600)'
    result = run(script(code, seconds=3))
    assert (result.why, figure(result.found, "share"), failed(result)) == ("ended after 3 s", 0.6, False)
    assert "ended after 3 s" in table([result])[1]


def test_a_bench_that_gives_nothing_fails_and_spoils_no_other():
    result = run(script("raise SystemExit('broken')"))
    assert (result.found, result.why, failed(result)) == ({}, "exit status 1", True)
    assert [line.split()[2] for line in table([result])[1:]] == ["-", "-", "-"]


def test_an_error_in_place_of_a_figure_is_not_met():
    result = run(script('print(\'{"share": "OutOfMemoryError: all of it"}\')'))
    assert "no" in table([result])[1].split()


def test_pytest_counts():
    assert figures("....\n2 failed, 10 passed, 3 skipped in 12.34s\n") == {"failed": 2, "passed": 10, "skipped": 3}
    assert failed(run(Check("tests", ("-c", "raise SystemExit(1)"), 60, {"passed": 1})))


def test_all_checks_together_take_less_than_eight_minutes():
    assert sum(check.seconds for check in checks()) < 8 * 60


BLOCKED = """
import os, sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('ray', 'faiss', 'duckdb', 'psutil', 'tomli_w', 'aiohttp', 'fastwarc', 'selectolax',
                                  'onnxruntime', 'webdataset', 'datasets', 'hypothesis', 'pytest_timeout', 'pytest_cov'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Bare())
sys.path.insert(0, '.')
os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'
"""


def bare(code: str, *words: str) -> str:
    """What a process prints that has only what a bare machine with torch has."""
    command = [sys.executable, "-c", BLOCKED + code, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout


def test_gpu_tests_are_collected_on_a_bare_machine():
    said = bare("import pytest; sys.exit(pytest.main([*sys.argv[1:], '--collect-only']))", *gpu_check.pytest_command()[2:])
    assert "tests/embedder/test_gpu.py" in said


def test_gpu_benches_are_imported_on_a_bare_machine():
    names = [check.command[1] for check in checks() if check.name != "tests"]
    assert bare(f"import {', '.join(names)}; print('all')") == "all\n"
