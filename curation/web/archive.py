"""WARC archives on any fsspec path (plain, gzip or zstd, a member or frame for each record): their pages and images.

What is damaged costs a row with a reason and nothing else: after a bad member, or a record that is not as long as it says,
reading goes on at the next record that can be found.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from curation.paths import filesystem, one_line
from curation.web.files import BROKEN
from curation.web.warc import ENDS, MISSING, Undecodable, iterate, payload, records

MAX_PAGE = 1 << 24  # bytes of an HTML payload that are read and decoded
MAX_IMAGE = 1 << 30  # of an image
CONSENT = ("x-robots-tag", "tdm-reservation")
_HTML = ("text/html", "application/xhtml+xml")
_UNTOLD = (None, "", "application/octet-stream", "binary/octet-stream", "application/x-download", "unknown/unknown")
_HTML_BYTES = re.compile(rb"<(?:!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE)
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\xff\x0a", b"\0\0\0\x0cJXL ")


class PageRecord(NamedTuple):
    """offset: of the record in the file. headers: those of consent. A page whose reason is page_cut still has its html."""

    offset: int
    url: str | None = None
    html: bytes = b""
    charset: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    reason: str | None = None
    detail: str | None = None


class ImageRecord(NamedTuple):
    """offset, length: of the compressed record in the file, for `read_record`. data: None if there is a reason."""

    offset: int
    length: int = 0
    url: str | None = None
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    data: bytes | None = None
    reason: str | None = None
    detail: str | None = None


def page_records(uri: str) -> Iterator[PageRecord]:
    """The HTML of response and resource records, decoded, in the order of the file; and what is broken, with a reason.

    Raises OSError if the file cannot be opened, ImportError if FastWARC is not installed.
    """
    kinds = _kinds()
    for offset, record, why in records(uri):
        if record is None and why:
            yield PageRecord(offset, reason=_reason(why), detail=why)
        elif record is not None and record.record_type in kinds:
            found = _page(offset, record)
            if found:
                yield found


def image_records(uri: str) -> Iterator[ImageRecord]:
    """The images of response and resource records, in the order of the file; and what is broken, with a reason.

    A record is an image if its HTTP header or WARC header says so, or if it says nothing and its bytes do. Raises as
    page_records does.
    """
    held: ImageRecord | None = None
    kinds = _kinds()
    for offset, record, why in records(uri):
        if held and why and offset == held.offset:
            yield held._replace(data=None, reason=_reason(why), detail=why)
        elif held and why and not _there(uri, held, offset):
            yield held._replace(data=None, reason="bad_record", detail="not as long as its Content-Length")
        elif held:
            yield _ended(held, offset)
        if why and not (held and offset == held.offset):
            yield ImageRecord(offset, reason=_reason(why), detail=why)
        held = _image(offset, record) if record is not None and record.record_type in kinds else None


def read_record(file: Any, offset: int, length: int) -> bytes:
    """The payload of one record, decoded. file: an open archive. Raises OSError or ValueError if it is not there."""
    file.seek(offset)
    blob = file.read(length)
    record = next(iterate(io.BytesIO(blob)), None)
    if record is None or len(blob) < length:
        raise OSError(f"no record at byte {offset}")
    data, whole = payload(record, MAX_IMAGE)
    if not whole:
        raise OSError(f"the record at byte {offset} is cut")
    return data


def _reason(why: str) -> str:
    return "truncated_archive" if why.startswith(ENDS) else "bad_record"


def _kinds() -> Any:
    """The types of records that hold what a server gave."""
    try:
        from fastwarc.warc import WarcRecordType
    except ImportError as error:
        raise ImportError(MISSING) from error
    return (WarcRecordType.response, WarcRecordType.resource)


def _there(uri: str, found: ImageRecord, end: int) -> bool:
    """Whether a record that something broken follows ends before that."""
    fs, path = filesystem(uri)
    try:
        with fs.open(path, "rb") as file:
            return read_record(file, found.offset, end - found.offset) == found.data
    except BROKEN:
        return False


def _ended(found: ImageRecord, end: int) -> ImageRecord:
    """The record, now that it is known where the next one begins. In a file packed as a whole records begin nowhere."""
    if end > found.offset:
        return found._replace(length=end - found.offset)
    why = "packed as a whole: pack it again, record by record"
    return found._replace(data=None, reason="unsupported_archive", detail=why)


def _page(offset: int, record: Any) -> PageRecord | None:
    """The page of a record; None if it holds none, or one that cannot be read to its end of itself (`records` tells)."""
    kind, status = _kind(record), _status(record)
    if (kind not in _HTML and kind not in _UNTOLD) or not 200 <= status < 300:
        return None
    told = dict(record.headers.to_tuples())
    url, headers, cut = told.get("WARC-Target-URI"), _consent(record), told.get("WARC-Truncated")
    try:
        data, _ = payload(record, MAX_PAGE)
    except Undecodable as error:
        return (
            PageRecord(offset, url, headers=headers, reason="bad_encoding", detail=one_line(error)) if kind in _HTML else None
        )
    except BROKEN:
        return None
    if kind in _UNTOLD and not _HTML_BYTES.search(data, 0, 1024):
        return None
    reason = "page_cut" if cut else None
    return PageRecord(offset, url, data, record.http_charset, headers, reason, f"WARC-Truncated: {cut}" if cut else None)


def _image(offset: int, record: Any) -> ImageRecord | None:
    """The image of a record, its length not yet known; None if it holds none or is broken (`records` tells of that)."""
    kind = _kind(record)
    if not ((kind or "").startswith("image/") or kind in _UNTOLD) or not 200 <= _status(record) < 300:
        return None
    told = dict(record.headers.to_tuples())
    found = ImageRecord(offset, 0, told.get("WARC-Target-URI"), kind, _consent(record))
    try:
        data, _ = payload(record, MAX_IMAGE)
    except Undecodable as error:
        return found._replace(reason="bad_encoding", detail=one_line(error)) if kind not in _UNTOLD else None
    except BROKEN:
        return found
    if kind in _UNTOLD and not is_image(data):
        return None
    if told.get("WARC-Truncated"):
        return found._replace(reason="truncated", detail=f"WARC-Truncated: {told['WARC-Truncated']}")
    if len(data) > MAX_IMAGE:
        return found._replace(reason="too_many_bytes", detail=f"more than {MAX_IMAGE} bytes")
    return found._replace(data=data)


def _kind(record: Any) -> str | None:
    """Media type by the HTTP header, or the WARC header of a resource; lower case, without parameters."""
    told = record.http_content_type if record.is_http else dict(record.headers.to_tuples()).get("Content-Type")
    return told.partition(";")[0].strip().lower() if told else None


def _status(record: Any) -> int:
    return (record.http_headers.status_code or 0) if record.is_http and record.http_headers else 200


def _consent(record: Any) -> tuple[tuple[str, str], ...]:
    """Those HTTP headers that tell what an owner wishes."""
    every = record.http_headers.to_tuples() if record.http_headers else ()
    return tuple([one for one in every if one[0][:1] in "xXtT" and one[0].lower() in CONSENT])


def is_image(data: bytes) -> bool:
    """Whether bytes begin as a JPEG, PNG, GIF, WebP, AVIF, HEIC, TIFF, BMP or JPEG XL does."""
    if data[4:8] == b"ftyp":
        return data[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1")
    return data.startswith(_IMAGES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
