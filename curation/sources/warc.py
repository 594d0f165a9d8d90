"""Images stored in WARC archives: response and resource records; one record at a time, found again by one seek."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from curation.paths import filesystem, printable
from curation.sources.found import Found, unit
from curation.web.archive import ImageRecord, image_records, read_record

MEMBER = "warc"  # the member of images that lie in records; offset and length are those of the packed record
SUFFIXES = (".warc", ".warc.gz", ".warc.zst")
IMAGE_BYTES = 100_000  # of an archive to an image: a guess, for the sizes of parts


def plan(set_name: str, uri: str, key: str, size: int, modified: str, _part_rows: int) -> list[dict[str, Any]]:
    """One unit: where records begin is only known once they are read."""
    facts: dict[str, Any] = {"stop": size, "images": max(1, size // IMAGE_BYTES), "bytes": size, "modified": modified}
    return [unit(set_name, "warc", uri, key, **facts)]


def read(row: dict[str, Any]) -> Iterator[Found]:
    """The images of one archive in its order; what is damaged is a Found with a reason.

    Raises OSError if it cannot be opened, ImportError if FastWARC is not installed.
    """
    empty = True
    for record in image_records(row["uri"]):
        empty = False
        yield _found(row, record)
    if empty:
        yield Found(set=row["set"], key=row["key"], uri=row["uri"], reason="empty_archive", detail="no images")


def _found(row: dict[str, Any], record: ImageRecord) -> Found:
    name = PurePosixPath(row["key"]).name
    told = {key.lower(): value for key, value in (("content-type", record.content_type or ""), *record.headers) if value}
    return Found(
        set=row["set"],
        key=f"{row['key'].removesuffix(name)}{name.split('.')[0]}-{record.offset:012d}",
        uri=row["uri"],
        member=MEMBER,
        offset=record.offset,
        length=record.length,
        url=printable(record.url) if record.url else None,
        sidecars=printable(json.dumps(told, sort_keys=True, ensure_ascii=False)) if told and record.data is not None else None,
        data=record.data,
        reason=record.reason,
        detail=record.detail and f"{record.detail}, at byte {record.offset}",
    )


def ranges(uri: str, spans: list[tuple[int, int, int]]) -> Iterator[tuple[int, bytes | None]]:
    """(place, bytes) of each (offset, length, place), in the order of the file; None where the record is gone."""
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        for offset, length, at in sorted(spans):
            try:
                yield at, read_record(file, offset, length)
            except (OSError, ValueError, EOFError):
                yield at, None
