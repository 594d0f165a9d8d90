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


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, metadata={"meaning": meaning})


IMAGE_ID = _field("image_id", pa.string(), "first 128 bits of the SHA-256 of the encoded bytes, 32 hex characters")

VERDICT = [
    _field("drop_reason", pa.string(), "null if kept, else a short stable string"),
    _field("drop_score", pa.float32(), "what was measured, in the unit of drop_limit"),
    _field("drop_limit", pa.float32(), "the threshold it was held against"),
    _field("drop_model", pa.string(), "SHA-256 of the weights that gave the score"),
    _field("drop_cause", pa.string(), "image_id of the image that caused it"),
    _field("error_message", pa.string(), "the reason in words, where there is more to say"),
]

BYTES_REF = [
    _field("uri", pa.string(), "file that holds the encoded bytes: any fsspec path, or one below the run folder"),
    _field("member", pa.string(), "tar member name, or Parquet column; null for a plain file"),
    _field("offset", pa.int64(), "first byte in uri; row number for Parquet"),
    _field("length", pa.int64(), "encoded bytes"),
]

_IMAGE = [
    IMAGE_ID,
    _field("sha256", pa.string(), "SHA-256 of the encoded bytes, 64 hex characters"),
    _field("key", pa.string(), "WebDataset key, or path below the pool without its suffix"),
    _field("url", pa.string(), "address the image was fetched from, where a sidecar or column tells"),
    *BYTES_REF,
    _field("format", pa.string(), "JPEG, PNG, WEBP, ... as the bytes say, whatever the name says"),
    _field("pixel_mode", pa.string(), "Pillow mode of the stored pixels (RGB, L, CMYK, P, I;16, ...)"),
    _field("width", pa.int32(), "upright width, pixels"),
    _field("height", pa.int32(), "upright height, pixels"),
    _field("orientation", pa.int8(), "EXIF orientation 1..8; 1 if none is stored"),
    _field("frames", pa.int32(), "frames in the file; the first one is used"),
    _field("caption", pa.string(), "the .txt sidecar, or a caption column"),
    _field("sidecars", pa.string(), "all other sidecars or columns, one JSON object: suffix -> content"),
    _field("exif", pa.string(), "EXIF tags as one JSON object, without positions, serial numbers and thumbnails"),
]

SOURCES = pa.schema(
    [
        _field("set", pa.string(), "pool, seed:NAME or protect:NAME"),
        _field("kind", pa.string(), "file, tar or parquet"),
        _field("uri", pa.string(), "the input file"),
        _field("key", pa.string(), "path below the given source"),
        _field("start", pa.int64(), "first byte (tar) or first row (parquet)"),
        _field("stop", pa.int64(), "end byte (tar) or end row (parquet), exclusive"),
        _field("images", pa.int64(), "images expected in this unit"),
        _field("bytes", pa.int64(), "size of the whole input file"),
        _field("modified", pa.string(), "modification stamp of the input file, so that a changed file is read again"),
        _field("sidecars", pa.list_(pa.string()), "paths of files beside a plain file that share its stem"),
        _field("error_message", pa.string(), "why the input file as a whole cannot be read"),
    ]
)
"""One row is one input unit: a file, a byte range of a tar, a row range of a Parquet file."""

SCANNED = pa.schema([*_IMAGE, _field("set", pa.string(), "the set this file was found in"), *VERDICT])
"""Every file or member found, before exact duplicates are known."""

IMAGES = pa.schema([*_IMAGE, _field("sets", pa.list_(pa.string()), "every set that holds these bytes"), *VERDICT])
"""Every file or member found. `image_id` is unique among the kept rows."""

SCREENED = pa.schema(
    [
        IMAGE_ID,
        _field("entropy", pa.float32(), "of the grey histogram at 128 px, bits (0..8)"),
        _field("contrast", pa.float32(), "standard deviation of grey levels, 0..127"),
        _field("sharpness", pa.float32(), "standard deviation of the Laplacian at 128 px, grey levels"),
        _field("pca_hash", pa.string(), "binarised PCA projection of the 16 x 16 grey image, hex"),
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
        _field("nsfw", pa.float32(), "highest score / limit of an unsafe class, by the ensemble's rule; null: no detector"),
        _field("nsfw_class", pa.string(), "the class that gave it"),
        _field("nsfw_scores", pa.string(), "JSON: detector -> class -> score, those of 0.05 and more"),
        _field("nsfw_models", pa.list_(pa.string()), "SHA-256 of the detectors' weights"),
        _field("faces", pa.int32(), "faces found; null: no detector ran"),
        _field("face_boxes", pa.list_(FACE), "pixels of the upright image, best first"),
        _field("face_model", pa.string(), "SHA-256 of the face detector's weights"),
        _field("face_action", pa.string(), "blurred or kept; null: no face"),
        _field("bytes_sha256", pa.string(), "SHA-256 of the bytes at uri: those of the image, or of its blurred form"),
        _field("format", pa.string(), "of these bytes"),
        _field("orientation", pa.int8(), "EXIF orientation of these bytes"),
        *BYTES_REF,
        *VERDICT,
    ]
)
"""Safe images: where their bytes are, with faces blurred. Dropped as NSFW: quarantined, listed here and never exported."""

BASIS = pa.schema(
    [
        _field("row", pa.int32(), "-1: the mean image; 0..: principal directions, largest variance first"),
        _field("vector", pa.list_(pa.float32()), "16 x 16 grey levels, row-major"),
    ]
)
"""One row is one direction of the PCA hash."""


def vectors(dim: int) -> pa.DataType:
    """Storage type of vectors: fixed-size lists of float16."""
    return pa.list_(pa.field("item", pa.float16(), nullable=False), dim)


def descriptors(dim: int) -> pa.Schema:
    """Copy-detection descriptors, unit length, (dim,) float16."""
    return pa.schema([IMAGE_ID, _field("descriptor", vectors(dim), "unit-length copy descriptor"), *VERDICT])


def embeddings(dim: int) -> pa.Schema:
    """Encoder features, unit length, (dim,) float16."""
    return pa.schema([IMAGE_ID, _field("embedding", vectors(dim), "unit-length feature"), *VERDICT])


EDGES = pa.schema(
    [
        _field("a", pa.string(), "image_id"),
        _field("b", pa.string(), "image_id, a neighbour of a"),
        _field("similarity", pa.float32(), "cosine of the two descriptors"),
        _field("agreement", pa.float32(), "correlation of the two thumbnails at their best; null: not looked at"),
    ]
)
"""One row is one pair of images that is believed to be a pair of copies."""

SURVIVORS = pa.schema(
    [
        IMAGE_ID,
        _field("sets", pa.list_(pa.string()), "every set that holds the image"),
        _field("group_id", pa.string(), "image_id of the group's representative; null if the image has no copies"),
        _field("group_size", pa.int64(), "images in the group"),
        _field("usable", pa.bool_(), "may enter the manifest: touches no protected set"),
        _field("touches", pa.string(), "image_id of the protected image that it or its group copies"),
        _field("touch_similarity", pa.float32(), "cosine of the two, or of the group's closest"),
        *VERDICT,
    ]
)

CENTROIDS = pa.schema(
    [
        _field("cluster", pa.int64(), "cluster number"),
        _field("images", pa.int64(), "images assigned in the last pass"),
        _field("centroid", pa.list_(pa.float32()), "unit length"),
    ]
)
"""One row is one cluster."""

CLUSTERS = pa.schema(
    [
        IMAGE_ID,
        _field("cluster", pa.int64(), "nearest centroid"),
        _field("similarity", pa.float32(), "cosine to that centroid"),
        *VERDICT,
    ]
)

NEIGHBORS = pa.schema(
    [
        _field("seed_set", pa.string(), "name of the seed set"),
        _field("seed_id", pa.string(), "image_id of the seed image"),
        _field("rank", pa.int32(), "1 is the nearest"),
        IMAGE_ID,
        _field("similarity", pa.float32(), "cosine of the two embeddings"),
    ]
)
"""One row is one (seed image, pool image) pair."""

_CHOICE = [
    _field("seed_set", pa.string(), "the seed set that chose the image first"),
    _field("mode", pa.string(), "as_is, sample or cluster"),
    _field("seed_id", pa.string(), "the seed image that retrieved it (sample); null otherwise"),
    _field("similarity", pa.float32(), "cosine to that seed image, or to the cluster's centroid"),
    _field("cluster", pa.int64(), "cluster of the image; null for seeds that are not in the pool"),
    _field("hits", pa.int64(), "how many (seed set, mode, seed image) chose it"),
    _field("weight", pa.float32(), "how often a trainer should see it, 1 = once an epoch"),
    _field("chosen_by", pa.string(), "every choice of it, a JSON list of {seed_set, mode, seed_id, rank, similarity}"),
]

SELECTION = pa.schema([IMAGE_ID, *_CHOICE, *VERDICT])

MANIFEST = pa.schema(
    [
        *_IMAGE,
        _field("bytes_sha256", pa.string(), "SHA-256 of the bytes at uri: those of the image, or of its blurred form"),
        _field("face_action", pa.string(), "blurred or kept; null: no face was found, or none was looked for"),
        *_CHOICE,
        _field("shard", pa.string(), "curated shard that holds the bytes, NNNNN.tar"),
        _field("shard_key", pa.string(), "WebDataset key inside that shard"),
    ]
)
"""One row is one selected image; part N describes shard N."""

SHARDS = pa.schema(
    [
        IMAGE_ID,
        _field("sha256", pa.string(), "SHA-256 of the bytes that went into the shard"),
        _field("metadata", pa.string(), "stripped, or kept: by the recipe, or for want of a way to strip the format"),
        _field("shard", pa.string(), "NNNNN.tar"),
        _field("member", pa.string(), "name inside the shard"),
        _field("offset", pa.int64(), "first byte inside the shard"),
        _field("length", pa.int64(), "bytes"),
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
    "edges": "pairs of copies",
    "survivors": "one image of every group of copies",
    "embeddings": "features",
    "centroids": "cluster centres",
    "clusters": "cluster of every image",
    "neighbors": "pool images like each seed image",
    "selection": "what each seed set chose",
    "manifest": "the curated set",
    "shards": "bytes in the curated tars",
}
"""Every noun in the order of the flow: the folders of a run and the views of `curate query`."""


LINKS = pa.schema(
    [
        _field("url", pa.string(), "address as found, resolved; as fetched once it is normalised"),
        _field("page", pa.string(), "address of the page that links to it"),
        _field("source", pa.string(), "list or archive it was found in"),
        _field("row", pa.int64(), "line or row of a list, byte offset of a record in an archive"),
        _field("tag", pa.string(), "element or field that holds it"),
        _field("caption", pa.string(), "alternative text, or a caption column"),
        _field("extra", pa.string(), "other columns of a list, one JSON object"),
        _field("opt_out", pa.string(), "the page's directive against its use"),
        *VERDICT,
    ]
)
"""One row is one link of a page, or one row of a URL list."""

URLS = pa.schema(
    [
        _field("url_id", pa.string(), "first 128 bits of the SHA-256 of the URL, 32 hex characters"),
        _field("url", pa.string(), "the address that is fetched"),
        _field("host", pa.string(), "its host"),
        _field("mentions", pa.int64(), "links that lead to it"),
        _field("page", pa.string(), "the page of the first of them"),
        _field("caption", pa.string(), "the first caption among them"),
        _field("source", pa.string(), "list or archive of the first of them"),
    ]
)
"""One row is one address to fetch, in an order that spreads every host over the whole crawl."""

FETCHED = pa.schema(
    [
        _field("url_id", pa.string(), "as in urls"),
        _field("url", pa.string(), "the address that was asked for"),
        IMAGE_ID,
        _field("sha256", pa.string(), "SHA-256 of the body"),
        _field("status", pa.int32(), "HTTP status of the last answer; null: there was none"),
        _field("final_url", pa.string(), "the address that answered, after redirects"),
        _field("redirects", pa.int32(), "redirects followed"),
        _field("content_type", pa.string(), "as the server says"),
        _field("format", pa.string(), "JPEG, PNG, ... as the bytes say"),
        _field("robots", pa.string(), "robots.txt of the host: rules, none, unreachable, ignored; null: not asked"),
        _field("opt_out", pa.string(), "the directive that keeps it out"),
        _field("attempts", pa.int32(), "times it was asked for"),
        _field("began", pa.float64(), "start of the last attempt, seconds since the epoch"),
        _field("seconds", pa.float32(), "from its host's queue to its last byte"),
        _field("page", pa.string(), "as in urls"),
        _field("caption", pa.string(), "as in urls"),
        *BYTES_REF,
        _field("tar_end", pa.int64(), "where its members end in the tar"),
        *VERDICT,
    ]
)
"""One row is one address and what became of it; null `drop_reason`: an image, in images/NNNNN.tar of the crawl."""

CRAWL_NOUNS: dict[str, str] = {
    "sources": "lists and archives",
    "links": "links found",
    "urls": "addresses to fetch",
    "fetched": "answers",
}
"""Every noun of a crawl, in the order of its flow."""


def verdicts(rows: int, reason: dict[int, dict[str, object]] | None = None) -> list[pa.Array]:
    """Six verdict columns for `rows` rows; `reason` maps a row number to the verdict fields it sets."""
    columns: dict[str, list[object]] = {f.name: [None] * rows for f in VERDICT}
    for row, fields in (reason or {}).items():
        for name, value in fields.items():
            columns[name][row] = value
    return [pa.array(columns[f.name], f.type) for f in VERDICT]
