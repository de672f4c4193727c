"""The lower triangles of symmetric matrices from their upper ones, which are seen to be finite on the way."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.kernel.module import load

Array = NDArray[Any]

MUCH = 1 << 17
"""Numbers of a table from which on its mirror image is written by compiled code."""

TEXT = """from numba import njit


@njit(cache=True, nogil=True)
def mirror(table, i0, i1, j0, j1):
    bad = 0
    for a in range(i0, i1, 8):
        for b in range(j0, j1, 8):
            if a + 8 <= min(i1, b + 1) and b + 8 <= j1:
                for j in range(8):
                    row = table[b + j, a : a + 8]
                    for i in range(8):
                        row[i] = table[a + i, b + j]
            else:
                for j in range(b, min(b + 8, j1)):
                    for i in range(a, min(a + 8, i1, j)):
                        table[j, i] = table[i, j]
        for i in range(a, min(a + 8, i1)):
            row = table[i, max(j0, i + 1) : j1]
            for j in range(len(row)):
                bad += 0 if abs(row[j]) < 1e999 else 1
    return bad
"""

USUAL = {"mirror": (("float64", 2, "C", False, True), *["int64"] * 4)}
"""What it is called with, as :mod:`tp.kernel.aside` has it."""


def write(table: Array, i0: int, i1: int, j0: int, j1: int, tile: int = 64) -> bool:
    """Entries (i, j), i < j, of a block also at (j, i): lines of the cache at a time. Returns whether they are finite.

    Compiled where there is much to copy; for little, or where nothing else is compiled, that takes longer than NumPy.
    """
    if table.size >= MUCH and "numba" in sys.modules:
        return bool(load(TEXT).mirror(table, i0, i1, j0, j1) == 0)
    for a in range(i0, i1, tile):
        for b in range(j0, j1, tile):
            block = table[a : min(a + tile, i1), b : min(b + tile, j1)]
            if a == b:
                np.copyto(block, block.T.copy(), where=_above(len(block), len(block), 0).T)
            elif a < b:
                table[b : min(b + tile, j1), a : min(a + tile, i1)] = block.T
    return _finite_above(table[i0:i1, j0:j1], j0 - i0)


def _finite_above(block: Array, shift: int) -> bool:
    """Whether entries (i, j) of [..., i, j] with i < j + shift are finite."""
    seen = np.isfinite(block)
    return bool(seen.all()) or bool((seen | ~_above(block.shape[-2], block.shape[-1], shift)).all())


def _above(rows: int, columns: int, shift: int) -> NDArray[np.bool_]:
    """Whether i < j + shift."""
    return (_small if rows * columns <= MUCH else _small.__wrapped__)(rows, columns, shift)


@lru_cache(8)
def _small(rows: int, columns: int, shift: int) -> NDArray[np.bool_]:
    return np.arange(columns) + shift > np.arange(rows)[:, None]


def tables(results: Mapping[str, Array], task: tuple[int, int, int, int], crossed: bool) -> bool:
    """The lower triangles of all tables [out axes…, N, N] from a block of pairs. Returns whether those with i < j are finite."""
    seen = [table(a, task, crossed) for a in results.values()]  # all are mirrored
    return all(seen)


def table(a: Array, task: tuple[int, int, int, int], crossed: bool) -> bool:
    """Entry (t, i; t', j) is entry (t', j; t, i). Returns whether those with i < j are finite."""
    if a.ndim == 2:
        return write(a, *task)
    i0, i1, j0, j1 = task
    upper = a[..., i0:i1, j0:j1]
    flipped = np.moveaxis(transposed(np.moveaxis(upper, (-2, -1), (0, 1)), crossed), (0, 1), (-2, -1))
    if i0 == j0:
        np.copyto(upper, flipped.copy(), where=_above(i1 - i0, i1 - i0, 0).T)
    else:
        a[..., j0:j1, i0:i1] = flipped
    return _finite_above(upper, j0 - i0)


def transposed(block: Array, crossed: bool) -> Array:
    """Entries (j, i) of a symmetric kernel from entries (i, j), [N1, N2, out axes…].

    Where outputs at different indices are paired (``crossed``), (t', j; t, i) is (t, i; t', j).
    """
    axes = block.ndim - 2
    half = axes // 2
    swap = [*range(half, axes), *range(half)] if crossed else [*range(axes)]
    return block.transpose(1, 0, *(k + 2 for k in swap))
