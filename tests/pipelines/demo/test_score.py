"""The score, on tables small enough to count by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipelines.demo.score import score

A, B, C, D, P = (letter * 64 for letter in "abcde")


def row(sha: str, kind: str, family: str, concept: str = "sea", expected: str | None = None) -> dict[str, object]:
    return {"sha256": sha, "kind": kind, "family": family, "concept": concept, "expected": expected, "transform": None,
            "container": f"photos/{sha[0]}.jpg", "member": None}  # fmt: skip


TRUTH = pa.Table.from_pylist([
    row(A, "original", "a"), row(A, "exact_duplicate", "a"), row(B, "edited_copy", "a"), row(C, "original", "c", "brick"),
    row(D, "broken", "d", expected="truncated"), row(P, "protected_copy", "p"),
])  # fmt: skip
SEEDS = pa.table({"sha256": ["f" * 64], "seed_set": ["s"], "concept": ["sea"]})


def tables(copy_cause: str = A, left: tuple[str, ...] = (A,), reason: str | None = "truncated") -> dict[str, pa.Table]:
    def image(sha: str, drop: str | None = None) -> dict[str, object]:
        return {"image_id": sha[:32], "sha256": sha, "uri": f"/pool/photos/{sha[0]}.jpg", "member": None, "drop_reason": drop}

    images = [image(A), image(A, "exact_duplicate"), image(B), image(C), image(D, reason), image(P)]
    survivors = [
        {"image_id": A[:32], "group_id": A[:32], "drop_reason": None, "drop_cause": None},
        {"image_id": B[:32], "group_id": copy_cause[:32], "drop_reason": "copy", "drop_cause": copy_cause[:32]},
        {"image_id": C[:32], "group_id": None, "drop_reason": None, "drop_cause": None},
        {"image_id": P[:32], "group_id": None, "drop_reason": "protected_copy", "drop_cause": None},
    ]
    manifest = [{"image_id": sha[:32], "sha256": sha, "mode": "sample", "seed_id": "f" * 32} for sha in left]
    return {"images": pa.Table.from_pylist(images), "cleaned": pa.Table.from_pylist(survivors[:1]),
            "survivors": pa.Table.from_pylist(survivors), "manifest": pa.Table.from_pylist(manifest)}  # fmt: skip


def test_all_found() -> None:
    found = score(TRUTH, SEEDS, tables())
    assert found.met
    assert (found.exact_duplicates, found.copy_recall, found.copy_precision, found.retrieval_precision) == (1, 1, 1, 1)


def test_a_copy_of_the_wrong_image_costs_recall_and_precision() -> None:
    found = score(TRUTH, SEEDS, tables(copy_cause=C))
    assert (found.copy_recall, found.copy_precision, found.met) == (0, 0, False)


def test_leaks_and_wrong_concepts_are_counted() -> None:
    found = score(TRUTH, SEEDS, tables(left=(A, P, C, C)))
    assert found.protected_left == 1
    assert found.retrieval_precision == pytest.approx(0.5)


@pytest.mark.parametrize("reason", [None, "not_an_image"])
def test_another_reason_is_a_miss(reason: str | None) -> None:
    found = score(TRUTH, SEEDS, tables(reason=reason))
    assert found.hostile == 0
    assert found.misses == [f"photos/d.jpg : {reason}, not truncated"]
