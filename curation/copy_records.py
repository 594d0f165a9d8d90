"""The columns of what finds copies: grid, cells, edges, survivors. As in curation/records.py, which has the shared ones."""

from __future__ import annotations

import pyarrow as pa

from curation.records import BYTES_REF, IMAGE_ID, VERDICT, column

GRID = pa.schema(
    [
        column("cell", pa.int64(), "number of the cell, like cells close together; null: an axis of the sketch"),
        column("bunch", pa.int64(), "part of edges that starts from this cell's images"),
        column("images", pa.int64(), "images expected in it"),
        column("vector", pa.list_(pa.float32()), "its centre along the first axes, or the axis; unit length"),
        column(
            "floor", pa.float32(), "expected cosine, by the axes up to this one, from which a pair goes on; null: not asked"
        ),
        column("threshold", pa.float32(), "cosine of a pair, for which the grid is set"),
        column("margin", pa.float32(), "an image looks into cells whose cosine falls short of its own cell's by at most this"),
        column("recall", pa.float32(), "share found of the true pairs of a sample of images; null: it had none"),
    ]
)
"""One row is one cell of the descriptors' space, or one axis of the sketch. No rows: all pairs are compared."""

CELLS = pa.schema(
    [
        IMAGE_ID,
        column("cell", pa.int64(), "nearest cell; -1: a protected image, which is compared with all"),
        column("near", pa.float32(), "cosine to the centre of the cell, along the first axes; 0: a protected image"),
        column("vector", pa.binary(), "the descriptor, float16"),
        column("head", pa.binary(), "the descriptor along the axes of the grid, which tells most pairs apart, float16"),
        column("rival", pa.bool_(), "competes for survival: in the pool, or in a seed set taken as it is"),
        column("judged", pa.bool_(), "may not copy a protected image: in the pool or a seed set"),
        *BYTES_REF,
    ]
)
"""One row is one image that is compared, in the order of the cells."""

EDGES = pa.schema(
    [
        column("a", pa.string(), "image_id"),
        column("b", pa.string(), "image_id, a neighbour of a"),
        column("similarity", pa.float32(), "cosine of the two descriptors"),
        column("agreement", pa.float32(), "correlation of the two thumbnails at their best; null: not looked at"),
        column("shared", pa.int32(), "keypoints that agree on one way to lay the two over each other; null: not looked at"),
    ]
)
"""One row is one pair of images that may be copies; `survivors` says from which values on they are."""

SURVIVORS = pa.schema(
    [
        IMAGE_ID,
        column("sets", pa.list_(pa.string()), "every set that holds the image"),
        column("group_id", pa.string(), "image_id of the group's representative; null if the image has no copies"),
        column("group_size", pa.int64(), "images in the group"),
        column("usable", pa.bool_(), "may enter the manifest: touches no protected set"),
        column("touches", pa.string(), "image_id of the protected image that it or its group copies"),
        column("touch_similarity", pa.float32(), "cosine of the two, or of the group's closest"),
        column("via", pa.string(), "dropped without an edge to drop_cause: the image of its strongest edge, which tied it"),
        column("via_similarity", pa.float32(), "cosine of the two"),
        *VERDICT,
    ]
)
