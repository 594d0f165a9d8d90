"""Schemas: every column says what it means; verdict columns come in one shape."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curation import copy_records, crawl_records, records

HOMES = vars(records) | vars(copy_records) | vars(crawl_records)
SCHEMAS = {name: value for name, value in HOMES.items() if isinstance(value, pa.Schema)} | {
    "DESCRIBED": records.descriptors(4),
    "DESCRIPTORS": records.descriptors(4),
    "EMBEDDINGS": records.embeddings(4),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_has_a_meaning_and_a_name_of_its_own(name):
    schema = SCHEMAS[name]
    assert all(field.metadata and field.metadata[b"meaning"] for field in schema)
    assert len(set(schema.names)) == len(schema.names)


def test_every_noun_has_a_schema():
    assert {noun.upper() for noun in records.NOUNS | records.OPTIONAL | crawl_records.CRAWL_NOUNS} == set(SCHEMAS)


def test_whatever_can_drop_a_row_says_why_in_the_same_columns():
    for name, schema in SCHEMAS.items():
        if "drop_reason" in schema.names:
            assert schema.names[-6:] == [f.name for f in records.VERDICT], name


def test_verdict_columns():
    columns = records.verdicts(3, {1: {"drop_reason": "flat", "drop_score": 1.5}})
    table = pa.Table.from_arrays(columns, schema=pa.schema(records.VERDICT))
    assert table["drop_reason"].to_pylist() == [None, "flat", None]
    assert table["drop_score"].to_pylist() == [None, 1.5, None]
    assert table["drop_cause"].null_count == 3
    assert [c.null_count for c in records.verdicts(2)] == [2] * 6
    assert [len(c) for c in records.verdicts(0)] == [0] * 6


def test_vectors_are_fixed_size_lists_of_half_floats():
    assert records.vectors(8).list_size == 8
    assert records.vectors(8).value_type == pa.float16()
