"""Page-locked memory for results, to which a device copies at full speed.

To lock pages takes longer than to fill them, so that memory is lent: when the last view of a result is gone, its memory is
kept for the next result.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.kernel.memory import default_memory

Array = NDArray[Any]

KEPT = 0.25
"""Of the memory that calls may take by default: how much of it may wait here for results; larger ones are not locked."""

ROOM = 2
"""Memory that waits is lent to results of at least a ROOM-th of its size."""


@dataclass(eq=False)
class Pool:
    """What waits; the last returned is the first to be lent. One for all kernels of a process."""

    free: list[Array] = field(default_factory=list)  # bytes
    limit: int = field(default_factory=lambda: int(KEPT * default_memory()))

    def lend(self, cuda: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array of these numbers, not yet filled: page-locked unless it is larger than what may be kept."""
        size = int(prod(shape)) * dtype.itemsize
        if size > self.limit:
            return np.empty(shape, dtype)
        fits = [k for k, b in enumerate(self.free) if size <= b.size <= ROOM * size]
        memory = self.free.pop(fits[-1]) if fits else cuda.pinned_array(max(1, size), np.uint8)
        loan = _Loan(memory, shape, dtype)
        weakref.finalize(loan, self._back, memory).atexit = False
        return np.asarray(loan)

    def _back(self, memory: Array) -> None:
        self.free.append(memory)
        while sum(b.size for b in self.free) > self.limit:
            self.free.pop(0)


class _Loan:
    """What keeps an array's memory lent: NumPy holds on to it while there is a view."""

    def __init__(self, memory: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        at: int = memory.ctypes.data
        self.__array_interface__ = {"data": (at, False), "shape": shape, "typestr": dtype.str, "version": 3}


POOL = Pool()
