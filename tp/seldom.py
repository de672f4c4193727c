"""Rare garbage collection while formulas and machine code are made: hundreds of thousands of objects that stay."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tp.forks import waited_for

RARE = (300_000, 10, 10)
"""Python looks for garbage after 700 new objects; walking through all those that stay takes a fifth of a first call."""

_lock = waited_for(threading.Lock())
_inside = 0
_before = gc.get_threshold()


@contextmanager
def seldom() -> Iterator[None]:
    """What Python collects by itself it collects more rarely until all threads have left; switched off, it stays off."""
    global _inside, _before
    with _lock:
        _inside += 1
        if _inside == 1:
            _before = gc.get_threshold()
            if 0 < _before[0] < RARE[0]:
                gc.set_threshold(*RARE)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and gc.get_threshold() == RARE:
                gc.set_threshold(*_before)
