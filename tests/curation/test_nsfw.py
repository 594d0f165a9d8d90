"""How several detectors are joined to one verdict."""

from __future__ import annotations

import pytest

from curation.nsfw import judge

A, B = {"x": 0.6, "y": 0.1}, {"z": 0.2}
LIMITS = [{"x": 0.5, "y": 0.5}, {"z": 0.4}]


@pytest.mark.parametrize(("rule", "ratio"), [("any", 1.2), ("all", 0.5), ("mean", 0.85)])
def test_rules(rule: str, ratio: float) -> None:
    verdict = judge([A, B], LIMITS, rule)
    assert verdict is not None
    assert verdict.ratio == pytest.approx(ratio)
    assert (verdict.unsafe_class, verdict.score, verdict.limit, verdict.detector) == ("x", 0.6, 0.5, 0)


def test_classes_without_a_limit_do_not_count() -> None:
    verdict = judge([{"x": 0.9, "y": 0.2}], [{"y": 0.5}], "any")
    assert verdict is not None
    assert (verdict.unsafe_class, verdict.ratio) == ("y", 0.4)
    assert judge([{"x": 0.9}], [{}], "any") is None
    assert judge([], [], "any") is None
