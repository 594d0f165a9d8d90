"""Retrieval by largest product: exactly, or by an inverted file whose recall is measured."""

from curation.index.exact import Floats, Ints, search
from curation.index.inverted import Limits, nearest

__all__ = ["Floats", "Ints", "Limits", "nearest", "search"]
