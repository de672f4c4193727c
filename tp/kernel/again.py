"""Arrays in the memory of earlier ones that nobody reads any more.

Memory that a process touches for the first time is made by the system page by page. For the results of a fast kernel that takes a
twentieth to a tenth of the call, and several times that where the system takes memory back eagerly. So results of some size stand
in mappings of their own. Once the last array that shows one is gone, it is offered back to the system, which takes it whenever
it needs memory, and keeps its content until then: the next result goes there, if it has about that size.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from contextlib import suppress
from math import prod
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from tp.kernel.room import keep_freed

LEAST = 1 << 20
"""Bytes of an array from which on it has a mapping of its own."""

MOST = 1 << 30
"""Bytes that are on offer at most; what is freed beyond them is gone at once."""

HUGE = 1 << 21
"""Bytes of a large page, at whose beginning arrays begin."""

_offered: list[mmap.mmap] = []  # oldest first; changed in single steps, for finalizers run at any time


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """``np.empty``, where memory was used before if there is some."""
    size = prod(shape) * dtype.itemsize
    if size < LEAST or sys.platform != "linux":
        return np.empty(shape, dtype)
    try:
        piece = _taken(size + HUGE) or _made(size + HUGE)
    except (OSError, OverflowError):  # no such memory, or no such mapping
        return np.empty(shape, dtype)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(piece)) % HUGE
    held = (ctypes.c_char * size).from_buffer(piece, start)  # every view of the array holds this
    finalize(held, _offer, piece).atexit = False
    return np.frombuffer(memoryview(held), dtype).reshape(shape)


def _taken(size: int) -> mmap.mmap | None:
    """One of the pieces on offer, if it is not much longer than ``size``; nobody else gets it."""
    for piece in tuple(_offered):
        if size <= len(piece) <= 2 * size:
            try:
                _offered.remove(piece)
            except ValueError:  # another thread has it
                continue
            return piece
    return None


def _made(size: int) -> mmap.mmap:
    """A piece that was not there before. What the C library learns from arrays of such size it is shown: to keep smaller ones."""
    keep_freed(size)
    piece = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a system without large pages
        piece.madvise(mmap.MADV_HUGEPAGE)
    return piece


def _offer(piece: mmap.mmap) -> None:
    """The system may have it, and may leave it to us."""
    try:
        piece.madvise(mmap.MADV_FREE)
    except OSError:  # a system that knows no such offer: the mapping ends with its last reference
        return
    _offered.append(piece)
    while sum(map(len, tuple(_offered))) > MOST:
        try:
            del _offered[0]
        except IndexError:  # another thread has taken them
            return
