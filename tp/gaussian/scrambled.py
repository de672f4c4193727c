"""Standard normals at scrambled Sobol points, and the error that independent scramblings tell of a mean over them.

Errors fall about like 2^(−0.8 m) on 2^m points where functions are smooth. What uses points shares the numbers on
this page: how many scramblings there are, of how many points as a rule and at most, and how many more a tolerance asks for.

Sources: Owen 1997, *Scrambled net variance for integrals of smooth functions*; Joe & Kuo 2008.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SCRAMBLINGS = 8
POINTS, FINEST = 14, 20
"""log2 of the points of one scrambling: as a rule, and at most."""
RATE = 0.75
"""Errors are taken to fall like 2^(−RATE m)."""
COORDINATES = 21201
"""Coordinates of Sobol points at most (Joe & Kuo 2008); others are random."""
PIECE = 1 << 17
"""Numbers that are made together, about: they stay in a cache."""


def normals(count: int, log2: int, rng: np.random.Generator) -> Array:
    """[count, 2^log2]: independent standard normals, the first coordinates the best; in one array, by :func:`pieces`."""
    found = np.empty((count, 2**log2))
    for nodes, values in pieces(count, log2, rng):
        found[:, nodes] = values
    return found


def pieces(count: int, log2: int, rng: np.random.Generator) -> Iterator[tuple[slice, Array]]:
    """[count, nodes] for some nodes after others, for where they are to stand in a larger table.

    Sobol points are multiples of 2^-30, and each stands for its 2^-30 of the probability: 0 would be an outlier.
    """
    from scipy.special import ndtri
    from scipy.stats import qmc

    few = min(count, COORDINATES)
    engine = qmc.Sobol(few, scramble=True, rng=rng) if few else None
    length = 2 ** min(log2, max(5, int(math.log2(PIECE / max(count, 1)))))
    for start in range(0, 2**log2, length):
        nodes = slice(start, start + length)
        if engine is None:
            yield nodes, np.empty((0, length))
            continue
        values = engine.random(length)
        ndtri(np.add(values, 2.0**-31, out=values), out=values)
        yield nodes, values.T if few == count else np.concatenate([values.T, rng.standard_normal((count - few, length))])


def estimate(rows: Array) -> tuple[Array, Array]:
    """The mean over scramblings, [scramblings, …], and its standard error."""
    return rows.mean(axis=0), rows.std(axis=0, ddof=1) / math.sqrt(len(rows))


def finer(log2: int, error: float, tol: float) -> int:
    """log2 of the points that an error of 2^log2 points larger than a tolerance asks for: twice as many at least."""
    return log2 + max(1, math.ceil(math.log2(error / tol) / RATE))
