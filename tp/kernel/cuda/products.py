"""Inner products on the device: one primitive for all Gram tables, in both precisions.

The layouts of :mod:`tp.kernel.gram` are stacks of plain matrix products, [shared, rows, c] times [shared, columns, c]ᵀ. A
block of threads makes a square of one of them: it brings a slab of both factors to shared memory, and each thread adds the
slab's products to ``EACH`` × ``EACH`` sums that it keeps in registers. What it does with a slab is written out, so that all
addresses are a base and a number.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from tp.kernel.module import load

ACROSS = 16
"""Threads along an edge of the square."""

EACH = 4
"""Sums of a thread along an edge."""

SLAB = 8
"""Coordinates of a slab; the threads of a block are a multiple of it, and the numbers of a slab one of the threads."""

GRID = 1 << 20
"""Blocks of a launch at most; a block makes several squares where there are more."""

TEXT = """import numpy as np
from numba import cuda


@cuda.jit(cache=True)
def clear(table):
    for k in range(cuda.grid(1), table.shape[0], cuda.gridsize(1)):
        table[k] = 0


@cuda.jit(cache=True)
def multiply(one, two, out, mine, first, last, columns, upper):
    a = cuda.shared.array((SLAB, SIDE + 1), np.REAL)
    b = cuda.shared.array((SLAB, SIDE + 1), np.REAL)
    zero = np.REAL(0.0)
    thread = cuda.threadIdx.x
    x, y = thread % ACROSS, thread // ACROSS
    k, r = thread % SLAB, thread // SLAB
    start, high, wide, depth = first * mine, (last - first) * mine, two.shape[1], one.shape[2]
    down, along = (high + SIDE - 1) // SIDE, (wide + SIDE - 1) // SIDE
    for square in range(cuda.blockIdx.x, one.shape[0] * down * along, cuda.gridDim.x):
        s, r0, q0 = square // (down * along), square // along % down * SIDE, square % along * SIDE
        end = min(q0 + SIDE, wide) - 1
        if upper and q0 // columns == end // columns and end % columns <= first + r0 // mine:
            continue
        START
        for k0 in range(0, depth, SLAB):
            FILL
            cuda.syncthreads()
            ADD
            cuda.syncthreads()
        STORE
"""


@cache
def text(dtype: np.dtype[Any]) -> str:
    """``multiply(one, two, out, mine, first, last, columns, upper)``: out[s, r, q] = Σ_c one[s, first mine + r, c] two[s, q, c].

    A row is a sample i, first ≤ i < last, at one of ``mine`` slots, (i − first) mine + m; a column a slot of a sample j out of
    ``columns``, t columns + j. ``upper``: squares where no column's sample comes after the row's are left out.
    ``clear(table)`` fills with zeros.
    """
    side, threads = ACROSS * EACH, ACROSS * ACROSS
    every = [(u, v) for u in range(EACH) for v in range(EACH)]
    lines = {
        "START": [f"s{u}{v} = zero" for u, v in every],
        "FILL": [
            f"{to}[k, r + {w}] = {of}[s, {at} + r + {w}, k0 + k] if k0 + k < depth and {at0} + r + {w} < {end} else zero"
            for w in range(0, side, threads // SLAB)
            for to, of, at, at0, end in (("a", "one", "start + r0", "r0", "high"), ("b", "two", "q0", "q0", "wide"))
        ],
        "ADD": [
            line
            for k in range(SLAB)
            for line in (
                *(f"{n}{u} = {n}[{k}, {at} + {u * ACROSS}]" for n, at in (("a", "y"), ("b", "x")) for u in range(EACH)),
                *(f"s{u}{v} += a{u} * b{v}" for u, v in every),
            )
        ],
        "STORE": [
            line
            for u, v in every
            for line in (
                f"if r0 + y + {u * ACROSS} < high and q0 + x + {v * ACROSS} < wide:",
                f"    out[s, r0 + y + {u * ACROSS}, q0 + x + {v * ACROSS}] = s{u}{v}",
            )
        ],
    }
    found = []
    for line in TEXT.splitlines():
        word = line.lstrip()
        found += [line[: len(line) - len(word)] + x for x in lines.get(word, [word])]
    made = "\n".join(found) + "\n"
    for name, value in {"SIDE": side, "ACROSS": ACROSS, "SLAB": SLAB, "REAL": dtype.name}.items():
        made = made.replace(name, str(value))
    return made


def module(dtype: np.dtype[Any]) -> ModuleType:
    """The module, loaded."""
    return load(text(dtype))


def squares(shared: int, rows: int, columns: int) -> int:
    """Blocks of a launch."""
    side = ACROSS * EACH
    return max(1, min(GRID, shared * -(-rows // side) * -(-columns // side)))
