"""plots: the numbers of a run, in pictures that are XML whatever a set is called."""

from __future__ import annotations

import shutil
from xml.etree import ElementTree

import pytest

from pipelines.plots import draw, funnel_picture, ranks_picture
from pipelines.plots_svg import Series, bars, lines


def words(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_bars_are_as_long_as_their_numbers():
    root = ElementTree.fromstring(bars("Sets", [("a", [("seeds", 0), ("found", 9), ("chosen", 99)])]))
    long = [float(r.get("width", "")) for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("x")]
    assert long[0] == 0
    assert long[2] == pytest.approx(2 * long[1], abs=0.1)  # log(100) is twice log(10)


def test_a_line_goes_through_its_points():
    root = ElementTree.fromstring(lines("T", [Series("s", [(1, 1), (2, 10), (3, 100)])], "x", "y", log=True))
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    (x1, y1), (x2, y2), (x3, y3) = (map(float, p.split(",")) for p in line.get("points", "").split())
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
    assert y1 > y2


def test_names_are_escaped_and_nothing_is_said_to_be_nothing():
    assert 'a<b>&"' in words(bars("T", [('a<b>&"', [("seeds", 1)])]))
    assert "nothing to show" in words(ranks_picture([]))
    assert "nothing to show" in words(funnel_picture([]))
    assert words(lines("T", [Series("one", [(1, 5)])], "x", "y"))  # one point: no division by its extent


def test_a_run_is_drawn(world, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(world.run, run)
    paths = draw(str(run))
    assert {p.rsplit("/", 1)[-1] for p in paths} == {
        "clusters.svg",
        "similarity_by_rank.svg",
        "hits_per_image.svg",
        "seed_sets.svg",
    }
    said = words((run / "report" / "seed_sets.svg").read_text())
    assert "6" in said  # the world's seed images
    assert "seeds" in said
