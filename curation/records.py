"""The Arrow schema of every noun that flows, each column with its meaning and unit.

One row is one image unless a schema says otherwise. Tables meet by `image_id`, never by position. A row whose
`drop_reason` is null was kept and is what the next noun receives; kept + dropped = received, at every noun.
"""

from __future__ import annotations

import pyarrow as pa

POOL = "pool"  # the set name of the pool; seed and protected sets are "seed:NAME" and "protect:NAME"
SEED_PREFIX = "seed:"
PROTECT_PREFIX = "protect:"


def short_id(sha256: str) -> str:
    """The first 128 bits of a SHA-256 in hex, as 32 hex characters: the id of an image, of an address."""
    return sha256[:32]


def column(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    """A column that says what it means."""
    return pa.field(name, kind, metadata={"meaning": meaning})


IMAGE_ID = column("image_id", pa.string(), "first 128 bits of the SHA-256 of the encoded bytes, 32 hex characters")

VERDICT = [
    column("drop_reason", pa.string(), "null if kept, else a short stable string"),
    column("drop_score", pa.float32(), "what was measured, in the unit of drop_limit"),
    column("drop_limit", pa.float32(), "the threshold it was held against"),
    column("drop_model", pa.string(), "SHA-256 of the weights that gave the score"),
    column("drop_cause", pa.string(), "image_id of the image that caused it"),
    column("error_message", pa.string(), "the reason in words, where there is more to say"),
]

BYTES_REF = [
    column("uri", pa.string(), "file that holds the encoded bytes: any fsspec path, or one below the run folder"),
    column("member", pa.string(), "tar member name, or Parquet column; null for a plain file"),
    column("offset", pa.int64(), "first byte in uri; row number for Parquet"),
    column("length", pa.int64(), "encoded bytes"),
]

_IMAGE = [
    IMAGE_ID,
    column("sha256", pa.string(), "SHA-256 of the encoded bytes, 64 hex characters"),
    column("key", pa.string(), "WebDataset key, or path below the pool without its suffix"),
    column("url", pa.string(), "address the image was fetched from, where a sidecar or column tells"),
    *BYTES_REF,
    column("format", pa.string(), "JPEG, PNG, WEBP, ... as the bytes say, whatever the name says"),
    column("pixel_mode", pa.string(), "Pillow mode of the stored pixels (RGB, L, CMYK, P, I;16, ...)"),
    column("width", pa.int32(), "upright width, pixels"),
    column("height", pa.int32(), "upright height, pixels"),
    column("orientation", pa.int8(), "EXIF orientation 1..8; 1 if none is stored"),
    column("frames", pa.int32(), "frames in the file; the first one is used"),
    column("caption", pa.string(), "the .txt sidecar, or a caption column"),
    column("sidecars", pa.string(), "all other sidecars or columns, one JSON object: suffix -> content"),
    column("exif", pa.string(), "EXIF tags as one JSON object, without positions, serial numbers and thumbnails"),
]

SOURCES = pa.schema(
    [
        column("set", pa.string(), "pool, seed:NAME or protect:NAME"),
        column("kind", pa.string(), "file, tar or parquet"),
        column("uri", pa.string(), "the input file"),
        column("key", pa.string(), "path below the given source"),
        column("start", pa.int64(), "first byte (tar) or first row (parquet)"),
        column("stop", pa.int64(), "end byte (tar) or end row (parquet), exclusive"),
        column("images", pa.int64(), "images expected in this unit"),
        column("bytes", pa.int64(), "size of the whole input file"),
        column("modified", pa.string(), "modification stamp of the input file, so that a changed file is read again"),
        column("sidecars", pa.list_(pa.string()), "paths of files beside a plain file that share its stem"),
        column("error_message", pa.string(), "why the input file as a whole cannot be read"),
    ]
)
"""One row is one input unit: a file, a byte range of a tar, a row range of a Parquet file."""

SCANNED = pa.schema([*_IMAGE, column("set", pa.string(), "the set this file was found in"), *VERDICT])
"""Every file or member found, before exact duplicates are known."""

IMAGES = pa.schema([*_IMAGE, column("sets", pa.list_(pa.string()), "every set that holds these bytes"), *VERDICT])
"""Every file or member found. `image_id` is unique among the kept rows."""

SCREENED = pa.schema(
    [
        IMAGE_ID,
        column("entropy", pa.float32(), "of the grey histogram at 128 px, bits (0..8)"),
        column("contrast", pa.float32(), "standard deviation of grey levels, 0..127"),
        column("sharpness", pa.float32(), "standard deviation of the Laplacian at 128 px, grey levels"),
        column("pca_hash", pa.string(), "binarised PCA projection of the 16 x 16 grey image, hex"),
        *VERDICT,
    ]
)
"""Measured images, before near-exact duplicates are known."""

CLEANED = SCREENED
"""The same rows with near-exact duplicates dropped."""

FACE = pa.struct([(name, pa.float32()) for name in ("x0", "y0", "x1", "y1", "score")])

SANITIZED = pa.schema(
    [
        IMAGE_ID,
        column("nsfw", pa.float32(), "highest score / limit of an unsafe class, by the ensemble's rule; null: no detector"),
        column("nsfw_class", pa.string(), "the class that gave it"),
        column("nsfw_scores", pa.string(), "JSON: detector -> class -> score, those of 0.05 and more"),
        column("nsfw_models", pa.list_(pa.string()), "SHA-256 of the detectors' weights"),
        column("faces", pa.int32(), "faces found; null: no detector ran"),
        column("face_boxes", pa.list_(FACE), "pixels of the upright image, best first"),
        column("face_model", pa.string(), "SHA-256 of the face detector's weights"),
        column("face_action", pa.string(), "blurred or kept; null: no face"),
        column("bytes_sha256", pa.string(), "SHA-256 of the bytes at uri: those of the image, or of its blurred form"),
        column("format", pa.string(), "of these bytes"),
        column("orientation", pa.int8(), "EXIF orientation of these bytes"),
        *BYTES_REF,
        *VERDICT,
    ]
)
"""Safe images: where their bytes are, with faces blurred. Dropped as NSFW: quarantined, listed here and never exported."""

BASIS = pa.schema(
    [
        column("row", pa.int32(), "-1: the mean image; 0..: principal directions, largest variance first"),
        column("vector", pa.list_(pa.float32()), "16 x 16 grey levels, row-major"),
    ]
)
"""One row is one direction of the PCA hash."""


def vectors(dim: int) -> pa.DataType:
    """Storage type of vectors: fixed-size lists of float16."""
    return pa.list_(pa.field("item", pa.float16(), nullable=False), dim)


def descriptors(dim: int) -> pa.Schema:
    """Copy-detection descriptors, unit length, (dim,) float16."""
    return pa.schema([IMAGE_ID, column("descriptor", vectors(dim), "unit-length copy descriptor"), *VERDICT])


def embeddings(dim: int) -> pa.Schema:
    """Encoder features, unit length, (dim,) float16."""
    return pa.schema([IMAGE_ID, column("embedding", vectors(dim), "unit-length feature"), *VERDICT])


WHITENING = pa.schema(
    [
        column("row", pa.int32(), "-1: the mean descriptor; 0..: rows of the whitening matrix, none where it only centres"),
        column("vector", pa.list_(pa.float32()), "as wide as the descriptors"),
    ]
)
"""One row is one row of the whitening."""

CENTROIDS = pa.schema(
    [
        column("cluster", pa.int64(), "cluster number, from 0 at every level"),
        column("images", pa.int64(), "images of the sample assigned in the last pass, or in the clusters below"),
        column("centroid", pa.list_(pa.float32()), "unit length at level 1"),
        column("level", pa.int32(), "1: clusters of images; 2: clusters of those; ..."),
        column("parent", pa.int64(), "the cluster of the next level that it is in; null at the last"),
    ]
)
"""One row is one cluster of one level."""

PASSES = pa.schema(
    [
        column("pass", pa.int32(), "1 is the first after the seeding"),
        column("objective", pa.float64(), "mean cosine of the sample's images to their nearest centroid"),
        column("moved", pa.int64(), "images that changed their cluster"),
        column("empties", pa.int64(), "clusters without images, put elsewhere for the next pass"),
        column("images", pa.int64(), "images of the sample"),
    ]
)
"""One row is one pass of k-means."""

CLUSTERS = pa.schema(
    [
        IMAGE_ID,
        column("cluster", pa.int64(), "nearest centroid"),
        column("similarity", pa.float32(), "cosine to that centroid"),
        *VERDICT,
    ]
)

INDEXES = pa.schema(
    [
        column("shard", pa.int32(), "parts of the pool that are searched together"),
        column("seed_set", pa.string(), "the seed set that asks"),
        column("kind", pa.string(), "flat: each row is looked at; ivf_flat: lists of vectors are; ivf_pq: lists of codes"),
        column("parts", pa.list_(pa.int64()), "its parts of embeddings"),
        column("rows", pa.int64(), "pool images that can be found"),
        column("lists", pa.int64(), "inverted lists; null: flat"),
        column("code_bytes", pa.int32(), "of a row's code; null: whole vectors"),
        column("bytes", pa.int64(), "length of .part-SHARD.faiss beside the part; null: flat, no file"),
        column("sha256", pa.string(), "of that file"),
        column("probes", pa.int64(), "lists looked into for a seed image; null: flat"),
        column("candidates", pa.int32(), "rows put in order by their vectors, for each that is kept; null: flat"),
        column("recall", pa.float32(), "of a sample of the set, what 95% of such samples let one count on; null: flat"),
    ]
)
"""One row is one seed set's way to search one shard of the pool."""

NEIGHBORS = pa.schema(
    [
        column("seed_set", pa.string(), "name of the seed set"),
        column("seed_id", pa.string(), "image_id of the seed image"),
        column("rank", pa.int32(), "1 is the nearest"),
        IMAGE_ID,
        column("similarity", pa.float32(), "cosine of the two embeddings"),
    ]
)
"""One row is one (seed image, pool image) pair."""

_CHOICE = [
    column("seed_set", pa.string(), "the seed set that chose the image first; balanced: the draw over clusters"),
    column("mode", pa.string(), "as_is, sample, cluster or balanced"),
    column("seed_id", pa.string(), "the seed image that retrieved it (sample); null otherwise"),
    column("similarity", pa.float32(), "cosine to that seed image, or to the cluster's centroid"),
    column("cluster", pa.int64(), "cluster of the image; null for seeds that are not in the pool"),
    column("hits", pa.int64(), "how many (seed set, mode, seed image) chose it, and times it was drawn over clusters"),
    column("weight", pa.float32(), "how often a trainer should see it, 1 = once an epoch"),
    column("chosen_by", pa.string(), "every choice of it, a JSON list of {seed_set, mode, seed_id, rank, similarity}"),
]

SELECTION = pa.schema([IMAGE_ID, *_CHOICE, *VERDICT])

MANIFEST = pa.schema(
    [
        *_IMAGE,
        column("bytes_sha256", pa.string(), "SHA-256 of the bytes at uri: those of the image, or of its blurred form"),
        column("face_action", pa.string(), "blurred or kept; null: no face was found, or none was looked for"),
        *_CHOICE,
        column("shard", pa.string(), "curated shard that holds the bytes, NNNNN.tar"),
        column("shard_key", pa.string(), "WebDataset key inside that shard"),
    ]
)
"""One row is one selected image; part N describes shard N."""

SHARDS = pa.schema(
    [
        IMAGE_ID,
        column("sha256", pa.string(), "SHA-256 of the bytes that went into the shard"),
        column("metadata", pa.string(), "stripped, or kept: by the recipe, or for want of a way to strip the format"),
        column("shard", pa.string(), "NNNNN.tar"),
        column("member", pa.string(), "name inside the shard"),
        column("offset", pa.int64(), "first byte inside the shard"),
        column("length", pa.int64(), "bytes"),
        *VERDICT,
    ]
)
"""One row is one image written to (or refused from) a curated shard."""

NOUNS: dict[str, str] = {
    "sources": "input units",
    "scanned": "files and members found",
    "images": "identified images, exact duplicates dropped",
    "basis": "directions of the PCA hash",
    "screened": "measured images",
    "cleaned": "near-exact duplicates dropped",
    "sanitized": "safe images, faces blurred",
    "descriptors": "copy descriptors",
    "grid": "cells of the descriptors' space",
    "cells": "descriptors by cell",
    "edges": "pairs of copies",
    "survivors": "one image of every group of copies",
    "embeddings": "features",
    "centroids": "cluster centres",
    "passes": "how k-means went",
    "clusters": "cluster of every image",
    "indexes": "how the pool is searched",
    "neighbors": "pool images like each seed image",
    "selection": "what each seed set chose",
    "manifest": "the curated set",
    "shards": "bytes in the curated tars",
}
"""Every noun in the order of the flow: the folders of a run and the views of `curate query`."""

OPTIONAL: dict[str, str] = {
    "described": "copy descriptors before whitening",
    "whitening": "mean and matrix of the whitening",
}
"""Nouns that only some recipes make; views too."""


def verdicts(rows: int, reason: dict[int, dict[str, object]] | None = None) -> list[pa.Array]:
    """Six verdict columns for `rows` rows; `reason` maps a row number to the verdict fields it sets."""
    columns: dict[str, list[object]] = {f.name: [None] * rows for f in VERDICT}
    for row, fields in (reason or {}).items():
        for name, value in fields.items():
            columns[name][row] = value
    return [pa.array(columns[f.name], f.type) for f in VERDICT]
