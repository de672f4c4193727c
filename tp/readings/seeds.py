"""Which networks to train next, so that exponents that are still undecided become known for little: a sequential design.

The logarithm of a mean square is log a + 2 e x + κ/n, x the logarithm of the width. One more network at a width adds
u uᵀ / v to the information, u = (1, 2x, 1/n) and v the relative variance of one network's square; the next is the one that
lowers the variance of e most for its cost, over all undecided exponents (a greedy c-optimal design: Elfving 1952).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tp.readings.slopes import CORRECTION, SHARING, Slope, unknown

Array = NDArray[np.float64]
TAILS = 16 * CORRECTION  # how large κ may be: its prior has heavy tails, and widths between the ends are what rules them out
OVERHEAD = 256.0  # a network of this width takes twice the time of a very small one


def cost(width: float) -> float:
    """The time that training one network of a width takes, in units of its own."""
    return width**2 + OVERHEAD**2


@dataclass(frozen=True, slots=True)
class Open:
    """An undecided exponent: its slope, and whether more networks tell, or more ``sets`` of one with flipped signs."""

    slope: Slope
    sets: bool


def worth(item: Open, widths: Sequence[int], narrow: Sequence[int], counts: Array, more: Array) -> Array:
    """By how much of itself so many ``more`` networks (or sets) at one width lower the variance of an exponent: [widths]."""
    u = np.stack([np.ones(len(widths)), 2 * np.log(widths), 1 / np.asarray(narrow, float)], axis=1)
    now, then = (_known(item, narrow, n) for n in (counts, counts + more))
    inverse = np.linalg.inv((u.T * now) @ u + np.diag([1e-9, 1e-9, TAILS**-2.0]))
    along = u @ inverse
    lowered = along[:, 1] ** 2 * (then - now) / (1 + (then - now) * np.einsum("wi,wi->w", along, u))
    return np.asarray(lowered / inverse[1, 1])


def _known(item: Open, narrow: Sequence[int], counts: Array) -> Array:
    """One over the relative variance of the mean square at each width, 0 where there are too few to tell: [widths]."""
    noise = np.asarray(item.slope.noise) / np.maximum(counts, 1) + unknown(1 / np.asarray(narrow, float)) + 1e-9
    return np.where(counts >= (SHARING if item.sets else 1), 1 / noise, 0.0)


def next_batch(
    items: Sequence[Open], widths: Sequence[int], narrow: Sequence[int], networks: Sequence[int], sets: Sequence[int],
    rows: int, spend: float, left: float,
) -> tuple[list[int], list[int], float]:  # fmt: skip
    """How many networks and sets to have at each width when about ``spend`` more, at most ``left``, is spent; and what is."""
    counts = {False: np.array(networks), True: np.array(sets)}
    each = np.array([cost(n) for n in widths])
    spent = 0.0
    while spent < spend:
        best, gain = None, 0.0
        for kind in {item.sets for item in items}:
            more = np.maximum(SHARING - counts[kind], 1) if kind else np.ones(len(widths), int)
            price = each * more * (rows if kind else 1)
            total = sum((worth(i, widths, narrow, counts[kind], more) for i in items if i.sets == kind), np.zeros(len(widths)))
            found = np.where(price + spent <= left, total / price, 0)
            if found.max() > gain:
                w = int(found.argmax())
                best, gain = (kind, w, int(more[w]), float(price[w])), float(found[w])
        if best is None:
            break
        kind, w, count, paid = best
        counts[kind][w] += count
        spent += paid
    return counts[False].tolist(), counts[True].tolist(), spent
