"""Labelled images where they lie: folders of classes, a CSV, or WebDataset tars with `.cls` members."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from curation.sources.found import IMAGE_SUFFIXES
from embedder.pictures import read_tars

Item = tuple[str, str, bytes]  # name, class, encoded image


def labelled(where: Path) -> Iterator[Item]:
    """Yields (name, class, bytes), sorted by name inside a folder and in the file's order for a CSV.

    where: DIR/CLASS/.../image, a folder of tars with images (KEY.jpg, KEY.png ...) and KEY.cls, or a CSV with a header and
    the columns file and label, whose files are relative to the CSV. Raises ValueError for anything else.
    """
    where = Path(where)
    if where.suffix.lower() == ".csv" and where.is_file():
        try:
            yield from _csv(where)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{where} is no CSV in UTF-8: {error}") from error
    elif not where.is_dir():
        raise ValueError(f"{where} is neither a folder of labelled images nor a .csv file")
    elif any(where.glob("*.tar")):
        yield from _tars(where)
    else:
        yield from _folders(where)


def _csv(path: Path) -> Iterator[Item]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"file", "label"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} needs the columns file and label, and has {rows.fieldnames}")
        for row in rows:
            image = path.parent / row["file"]
            if not row["label"]:
                raise ValueError(f"{path}, line {rows.line_num}: no label")
            if not image.is_file():
                raise ValueError(f"{path}, line {rows.line_num}: no file {image}")
            yield row["file"], row["label"], image.read_bytes()


def _tars(where: Path) -> Iterator[Item]:
    classes = {key: data.decode().strip() for key, data in read_tars(where, ".cls")}
    if not classes:
        raise ValueError(f"the tars of {where} hold no .cls members, so no classes")
    for key, data in read_tars(where, *IMAGE_SUFFIXES):
        if key in classes:
            yield key, classes[key], data


def _folders(where: Path) -> Iterator[Item]:
    paths = sorted(path for path in where.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.parent != where)
    if not paths:
        raise ValueError(f"no images in folders of classes in {where}: expected {where}/CLASS/image.jpg")
    for path in paths:
        name = path.relative_to(where)
        yield name.as_posix(), name.parts[0], path.read_bytes()
