"""Named sets: kept, found from anywhere, refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import catalogue
from pipelines.config import RecipeError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURATE_HOME", str(tmp_path / "home"))
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)


def test_a_name_stands_for_its_absolute_path(tmp_path: Path) -> None:
    entry = catalogue.add("seeds", "mine", "photos")
    assert entry.path == str(tmp_path / "photos")
    assert catalogue.resolve("mine") == ("mine", str(tmp_path / "photos"))
    assert catalogue.listing() == [entry]


def test_a_path_is_named_by_its_folder(tmp_path: Path) -> None:
    assert catalogue.resolve(str(tmp_path / "photos")) == ("photos", str(tmp_path / "photos"))


def test_a_second_add_moves_the_name(tmp_path: Path) -> None:
    catalogue.add("seeds", "mine", "photos")
    (tmp_path / "other").mkdir()
    catalogue.add("seeds", "mine", "other")
    assert catalogue.resolve("mine")[1] == str(tmp_path / "other")


def test_unknown_names_are_met_with_a_suggestion() -> None:
    catalogue.add("protect", "imagenet-val", "photos")
    with pytest.raises(RecipeError, match="did you mean imagenet-val"):
        catalogue.resolve("imagnet-val")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x"])
def test_bad_names(name: str) -> None:
    with pytest.raises(RecipeError, match="no name for a set"):
        catalogue.add("seeds", name, "photos")


def test_a_missing_path_is_not_catalogued() -> None:
    with pytest.raises(RecipeError, match="no such file or directory"):
        catalogue.add("seeds", "mine", "nowhere")
    assert catalogue.listing() == []


def test_a_broken_catalogue_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "catalogue.toml").write_text("[seeds")
    with pytest.raises(RecipeError, match=r"cannot read .*catalogue\.toml"):
        catalogue.listing()
