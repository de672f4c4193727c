"""Samples that are one and the same, bit by bit: their pairs are those of a sample with itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tp.kernel import inputs
from tp.kernel.call import Side


def twins(one: Side, two: Side) -> tuple[NDArray[np.int64], ...]:
    """Pairs (row, column) of one and the same sample; the samples in them, and by pair which of these it is."""
    first = inputs.groups(one.data)
    if one is two:
        every = np.arange(one.count)
        if (first == every).all():
            return every, every, every, every
        rows, columns = _matches(first, first)
    else:
        both = inputs.groups({n: np.concatenate([one.data[n], two.data[n]]) for n in one.data})
        rows, columns = _matches(both[: one.count], both[one.count :])
    return rows, columns, *np.unique(rows, return_inverse=True)


def _matches(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All (i, j) with a[i] == b[j]."""
    order = np.argsort(b, kind="stable")
    lo, hi = np.searchsorted(b[order], a, "left"), np.searchsorted(b[order], a, "right")
    rows = np.repeat(np.arange(len(a)), hi - lo)
    starts = np.repeat(hi - np.cumsum(hi - lo), hi - lo)
    return rows, order[np.arange(len(rows)) + starts]
