"""Rows as text: an aligned table, CSV, or JSON."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa

Style = Literal["table", "csv", "json"]
_WIDEST = 72  # characters of one cell in table style


def render(table: pa.Table, style: Style = "table") -> str:
    """Rows as text. table: aligned columns, long cells, vectors and bytes shortened; csv; json: a list of objects."""
    if style not in ("table", "csv", "json"):
        raise ValueError(f"unknown style {style!r}: table, csv or json")
    if style == "json":
        names = table.column_names
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        objects = [{name: _plain(value) for name, value in zip(names, row, strict=True)} for row in rows]
        return json.dumps(objects, indent=1, ensure_ascii=False) + "\n"
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return _csv(table.column_names, rows) if style == "csv" else _aligned(table, rows)


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it: bytes as hex, whole decimals as integers, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _csv(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        cells = (_plain(value) for value in row)
        writer.writerow([json.dumps(c, ensure_ascii=False) if isinstance(c, list | dict) else c for c in cells])
    return out.getvalue()


def _aligned(table: pa.Table, rows: list[tuple[Any, ...]]) -> str:
    right = [pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t) for t in table.schema.types]
    if table.column_names == ["explain_key", "explain_value"]:
        return "\n".join(str(value).rstrip() for _, value in rows) + "\n"
    cells = [[_short(name) for name in table.column_names], *([_short(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(right))]
    cells.insert(1, ["-" * width for width in widths])
    texts = (
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in cells
    )
    return "\n".join(texts) + "\n"


def _short(value: Any) -> str:
    """One cell: on one line, without control characters, and not wider than _WIDEST."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"{value[:8].hex()}... ({len(value)} bytes)" if len(value) > 8 else value.hex()
    if isinstance(value, list) and len(value) > 4 and isinstance(value[0], int | float):
        return f"[{', '.join(_short(inner) for inner in value[:3])}, ... {len(value)}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    plain = _plain(value)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    text = "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."
