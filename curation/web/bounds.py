"""How far a page is read, so that no page costs a parser more than seconds and some hundred megabytes.

Parsing as the HTML standard wants it takes quadratic time in open elements and in attributes of one tag, and quadratic
memory in formatting elements that are left open: each paragraph gets copies of all of them.
"""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np

MAX_PAGE_BYTES = 1 << 20
MAX_TAGS = 50_000
MAX_ATTRIBUTES = 20_000  # of one tag, told by what may separate them
MAX_COPIES = 2_000_000  # open formatting elements x tags: copies that a parser may have to make
MAX_UNSURE = 10 * MAX_COPIES  # the same with every formatting element taken for open: not every end tag is obeyed
_FEW_TAGS = 2_800  # with so few, all of them together cannot make MAX_COPIES
_BLOCK = MAX_ATTRIBUTES // 2  # bytes: a tag of MAX_ATTRIBUTES bytes covers a whole block, which then holds no "<"
_LONG_TAG = re.compile(rb"<[a-zA-Z/][^<>]{%d,}" % MAX_ATTRIBUTES)
_BETWEEN = re.compile(rb"[\s/\"']")
_FORMATTING = re.compile(rb"<(/?)(b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])(>?)", re.IGNORECASE)
_FIRST = np.isin(np.arange(256), np.frombuffer(b"bcefinstuBCEFINSTU", np.uint8))


def bounded(html: bytes) -> int:
    """The byte up to which a page is read: its length, for any page that is not too large or made to do harm."""
    end = min(len(html), MAX_PAGE_BYTES)
    opens = np.frombuffer(html, np.uint8, end) == ord("<")
    if np.count_nonzero(opens) > _FEW_TAGS:
        marks = np.flatnonzero(opens)
        end = int(marks[MAX_TAGS]) if len(marks) > MAX_TAGS else end
        end = _before_copies(html, end, marks[:MAX_TAGS])
    if any(html.find(b"<", at, at + _BLOCK) < 0 for at in range(0, end - _BLOCK, _BLOCK)):
        for tag in _LONG_TAG.finditer(html, 0, end):
            if len(_BETWEEN.findall(tag[0])) > MAX_ATTRIBUTES:
                return tag.start()
    return end


def _before_copies(html: bytes, end: int, marks: np.ndarray) -> int:
    """The byte before there are too many open formatting elements. Those without attributes are at most three of a kind."""
    after = np.frombuffer(html, np.uint8, end)[np.minimum(marks + 1, end - 1)]
    if int(_FIRST[after].sum()) * len(marks) <= MAX_COPIES:
        return end
    opened: dict[bytes, int] = defaultdict(int)
    total = every = 0
    for tag in _FORMATTING.finditer(html, 0, end):
        name = tag[2].lower()
        if not tag[1] and not tag[3]:
            opened[name] += 1
            total, every = total + 1, every + 1
        elif tag[1] and opened[name]:
            opened[name] -= 1
            total -= 1
        if total * len(marks) > MAX_COPIES or every * len(marks) > MAX_UNSURE:
            return tag.start()
    return end
