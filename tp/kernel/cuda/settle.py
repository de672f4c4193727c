"""What a panel of rows computed, made whole: the lower triangle from the upper one, and whether all numbers are finite."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from tp.kernel.module import load

SIDE = 32
"""Rows and columns of a square that a block of threads turns over in shared memory."""

HIGH = 8
"""Rows of threads of a block."""

GRID = 1 << 16
"""Blocks of a launch at most; a block takes several squares where there are more."""

TEXT = """import numpy as np
from numba import cuda


@cuda.jit(cache=True)
def settle(table, turned, first, last, symmetric, bad):
    square = cuda.shared.array((SIDE, SIDE + 1), np.REAL)
    x, y = cuda.threadIdx.x % SIDE, cuda.threadIdx.x // SIDE
    columns = table.shape[2]
    down, along = (last - first + SIDE - 1) // SIDE, (columns + SIDE - 1) // SIDE
    for turn in range(cuda.blockIdx.x, table.shape[0] * down * along, cuda.gridDim.x):
        t, i0, j0 = turn // (down * along), first + turn // along % down * SIDE, turn % along * SIDE
        if symmetric and j0 + SIDE - 1 <= i0:
            continue
        for k in range(y, SIDE, HIGH):
            i, j = i0 + k, j0 + x
            if i < last and j < columns and (j > i or not symmetric):
                value = table[t, i, j]
                square[k, x] = value
                if not value - value == 0:
                    bad[0] = 1
        cuda.syncthreads()
        if symmetric:
            for k in range(y, SIDE, HIGH):
                i, j = i0 + x, j0 + k
                if i < last and j < columns and j > i:
                    table[turned[t], j, i] = square[x, k]
        cuda.syncthreads()
"""


def module(dtype: np.dtype[Any]) -> ModuleType:
    """``settle(table, turned, first, last, symmetric, bad)`` for rows first…last of [out, rows, columns].

    ``bad[0]`` is set where a number is none. ``symmetric``: entries (t, i, j), i < j, are copied to (turned[t], j, i), and only
    they are looked at.
    """
    text = TEXT
    for name, value in {"SIDE": SIDE, "HIGH": HIGH, "REAL": dtype.name}.items():
        text = text.replace(name, str(value))
    return load(text)


def grid(out: int, rows: int, columns: int) -> tuple[int, int]:
    """Blocks of a launch, and threads of a block."""
    return max(1, min(GRID, out * -(-rows // SIDE) * -(-columns // SIDE))), SIDE * HIGH
