"""The doctor sees what is there, and says what to do about what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from pipelines import doctor


def test_this_machine_is_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CURATE_HOME", str(tmp_path))
    found = {finding.name: finding for finding in doctor.diagnose()}
    assert {"python", "torch", "ray", "faiss", "gpu", "bfloat16", "memory", "open files", "catalogue"} <= set(found)
    assert found["weights copy-small"].ok
    assert found["weights vitti16-small"].ok
    assert found["torch"].ok


def test_problems_come_with_their_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CURATE_HOME", str(tmp_path))
    (tmp_path / "catalogue.toml").write_text(f'[seeds]\nmine = "{tmp_path}/gone"\n')
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 10**6)
    bad = {finding.name: finding for finding in doctor.diagnose() if not finding.ok}
    assert bad["catalogue"].detail == "gone: mine"
    assert "workers" in bad["memory"].remedy
    console = Console(width=160)
    with console.capture() as shown:
        console.print(doctor.render(list(bad.values())))
    assert bad["memory"].remedy in shown.get()


def test_a_missing_package_is_a_finding() -> None:
    finding = doctor._package(doctor.Requirement("no-such-package>=1"))
    assert (finding.ok, finding.remedy) == (False, "pip install 'no-such-package>=1'")
