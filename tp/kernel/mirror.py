"""The lower triangle of a symmetric matrix from its upper one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.kernel.module import load

MUCH = 1 << 17
"""Numbers of a block from which on its mirror image is written by compiled code."""

TEXT = """from numba import njit


@njit(cache=True, nogil=True)
def mirror(table, i0, i1, j0, j1):
    for a in range(i0, i1, 32):
        for b in range(j0, j1, 32):
            for i in range(a, min(a + 32, i1)):
                for j in range(max(b, i + 1), min(b + 32, j1)):
                    table[j, i] = table[i, j]
"""


def write(table: NDArray[Any], i0: int, i1: int, j0: int, j1: int, tile: int = 64) -> None:
    """Entries (i, j), i < j, of a block also at (j, i); small tiles, so that both stay in the cache.

    Compiled where there is much to copy; for little, compiling takes longer than NumPy.
    """
    if (i1 - i0) * (j1 - j0) >= MUCH:
        load(TEXT).mirror(table, i0, i1, j0, j1)
        return
    for a in range(i0, i1, tile):
        for b in range(j0, j1, tile):
            block = table[a : min(a + tile, i1), b : min(b + tile, j1)]
            if a == b:
                np.copyto(block, block.T.copy(), where=np.tri(len(block), k=-1, dtype=bool))
            elif a < b:
                table[b : min(b + tile, j1), a : min(a + tile, i1)] = block.T
