"""Combinations and inner products of rows of a table, compiled: a few vectors beside many, which are read once.

A library's matrix product copies both factors into another order first, which for eight rows is most of the work; and rows that
do not lie side by side it has to be given copied. Here rows are given by their numbers, ``TILE`` outputs and as many sources are
in registers at a time, and a piece of ``BLOCK`` nodes of them is in the cache. Sums are in another order than a library's:
equal to rounding.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from tp.kernel.module import load
from tp.kernel.text import Lines

Array = NDArray[np.float64]
Places = NDArray[np.intp]
BLOCK = 1024
"""Nodes of a row that are worked on together: eight sources and eight outputs fill half of a second-level cache's ways."""
TILE, ACROSS = 8, 4
"""Sources and outputs of a combination, and rows of either side of inner products, that are in registers together."""
HEAD = '''"""Written by tensor-programs: do not edit; another text has another name."""

from numba import njit


'''
ENTRY = '@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})\n'
SUMMED = '@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})\n'


def combine(table: Array, weights: Array, rows: Places, out: Places, count: int, fresh: bool) -> None:
    """``table[out] += weights @ table[rows]`` on the first ``count`` nodes, = where ``fresh``. No row is in both."""
    missing = -len(rows) % TILE
    if missing:  # no source more than once, and times 0
        rows = np.concatenate([rows, np.repeat(rows[:1], missing)])
        weights = np.concatenate([weights, np.zeros((len(weights), missing))], axis=1)
    _compiled().combine(table, np.ascontiguousarray(weights), rows, out, count, fresh)


def inner(table: Array, left: Places, right: Places, count: int) -> Array:
    """``table[left] @ table[right].T`` over the first ``count`` nodes."""
    padded = [np.concatenate([side, np.repeat(side[:1], -len(side) % ACROSS)]) for side in (left, right)]
    found = np.zeros((len(padded[0]), len(padded[1])))
    _compiled().inner(table, *padded, count, found)
    return found[: len(left), : len(right)]


@cache
def _compiled() -> ModuleType:
    return load(HEAD + ENTRY + _combine() + "\n\n\n" + SUMMED + _inner() + "\n")


def _combine() -> str:
    text = Lines(0)
    text.add("def combine(table, weights, rows, out, count, fresh):")
    text.depth = 1
    with text.block(f"for start in range(0, count, {BLOCK}):"):
        text.add(f"stop = min(start + {BLOCK}, count)")
        with text.block("for k in range(len(out) if fresh else 0):"):
            text.add("table[out[k], start:stop] = 0.0")
        with text.block(f"for r in range(0, len(rows), {TILE}):"):
            for i in range(TILE):
                text.add(f"a{i} = table[rows[r + {i}], start:stop]")
            text.add("k = 0")
            for outputs in (TILE, TILE // 2, 1):
                _tile(text, outputs)
    return str(text)


def _tile(text: Lines, outputs: int) -> None:
    """Some outputs at a time, as long as there are so many."""
    with text.block(f"while k + {outputs} <= len(out):"):
        for k in range(outputs):
            text.add(f"o{k} = table[out[k + {k}], start:stop]")
            for i in range(TILE):
                text.add(f"w{k}_{i} = weights[k + {k}, r + {i}]")
        with text.block("for j in range(stop - start):"):
            for i in range(TILE):
                text.add(f"x{i} = a{i}[j]")
            for k in range(outputs):
                text.add(f"o{k}[j] = {'(' * TILE}o{k}[j]" + "".join(f" + w{k}_{i} * x{i})" for i in range(TILE)))
        text.add(f"k += {outputs}")


def _inner() -> str:
    text = Lines(0)
    both = [(i, j) for i in range(ACROSS) for j in range(ACROSS)]
    with text.block("def inner(table, left, right, count, found):"), text.block(f"for start in range(0, count, {BLOCK}):"):
        text.add(f"stop = min(start + {BLOCK}, count)")
        with text.block(f"for j in range(0, len(right), {ACROSS}):"):
            for k in range(ACROSS):
                text.add(f"b{k} = table[right[j + {k}], start:stop]")
            with text.block(f"for i in range(0, len(left), {ACROSS}):"):
                for k in range(ACROSS):
                    text.add(f"a{k} = table[left[i + {k}], start:stop]")
                text.add(" = ".join(f"s{a}{b}" for a, b in both) + " = 0.0")
                with text.block("for z in range(stop - start):"):
                    for a, b in both:
                        text.add(f"s{a}{b} += a{a}[z] * b{b}[z]")
                for a, b in both:
                    text.add(f"found[i + {a}, j + {b}] += s{a}{b}")
    return str(text)
