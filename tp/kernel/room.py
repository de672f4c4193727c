"""Tables of a call in one block of memory, each from the beginning of a line of the cache.

The system takes back many small blocks that are freed together, and the next call has to touch them for the first time again,
which takes longer than to fill them. One block stays with the process up to some size.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINE = 64
"""Bytes of a line of the cache."""

MOST = 1 << 24
"""Bytes of a piece at most that a process keeps."""


def room(shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, NDArray[Any]]:
    """Tables of these shapes, not yet filled; float64 where no type is given."""
    kinds = {name: dtypes.get(name, np.dtype(np.float64)) for name in shapes}
    sizes = {name: prod(shape) * kinds[name].itemsize for name, shape in shapes.items()}
    block = np.empty(sum(_lines(size) for size in sizes.values()) + LINE, np.uint8)
    start = -block.ctypes.data % LINE
    found = {}
    for name, shape in shapes.items():
        found[name] = block[start : start + sizes[name]].view(kinds[name]).reshape(shape)
        start += _lines(sizes[name])
    return found


def keep_freed(size: int, most: int = MOST) -> None:
    """What is freed in pieces of so many bytes together, of ``most`` at most, stays with the process.

    The C library gives memory back once twice the largest piece that it saw freed is at hand: so it is shown one, never touched.
    """
    np.empty(min(size, most), np.uint8)


def _lines(size: int) -> int:
    return -(-size // LINE) * LINE


__all__ = ["keep_freed", "room"]
