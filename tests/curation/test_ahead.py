"""Reading ahead: the same pieces in the same order, the next one read while one is worked on, and errors in their turn."""

from __future__ import annotations

import threading

import pytest

from curation.ahead import ahead


def test_the_same_pieces_in_order():
    assert list(ahead(lambda n: n * n, range(5))) == [(n, n * n) for n in range(5)]
    assert list(ahead(str, [])) == []


def test_the_next_is_read_while_one_is_worked_on_and_no_more():
    begun = [threading.Event() for _ in range(3)]
    pieces = ahead(lambda n: begun[n].set(), range(3))
    next(pieces)
    assert begun[1].wait(5)  # though nobody has asked for it
    assert not begun[2].wait(0.05)


def test_an_error_comes_in_its_turn():
    pieces = ahead(lambda n: 1 // (2 - n), range(4))
    assert [next(pieces), next(pieces)] == [(0, 0), (1, 1)]
    with pytest.raises(ZeroDivisionError):
        next(pieces)
