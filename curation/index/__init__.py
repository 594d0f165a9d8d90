"""Retrieval by largest product: exactly, or by an inverted file whose recall is measured."""

from curation.index.exact import Floats, Hits, Ints, merge, nothing, search
from curation.index.inverted import Limits, Shape, build, read, shape, write
from curation.index.probing import ASKED, Setting, look, setting

__all__ = [
    "ASKED",
    "Floats",
    "Hits",
    "Ints",
    "Limits",
    "Setting",
    "Shape",
    "build",
    "look",
    "merge",
    "nothing",
    "read",
    "search",
    "setting",
    "shape",
    "write",
]
