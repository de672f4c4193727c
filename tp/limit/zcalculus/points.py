"""Nodes and weights of standard Gaussians: tensor grids without what weighs nothing, or Sobol points."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tp.gaussian.scrambled import normals
from tp.readings.nodes import rule

Array = NDArray[np.float64]
STRIP = 0.8
"""Half-width of the strip in which activations are analytic, in units of their argument."""
AIMS = (1e-15, 1e-13, 1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4)
LARGEST = 400_000
"""Nodes of a grid at most."""
FINE = 8
"""Sizes of axes are rounded up to powers of 2^(1/FINE), so that grids are met again."""


@lru_cache(maxsize=64)
def grid(sizes: tuple[float, ...], coarse: bool, largest: int = LARGEST) -> tuple[Array, Array] | None:
    """The finest tensor grid that is not too large, or the one after it; None where none fits."""
    fits = [eps for eps in AIMS if _count(sizes, eps, STRIP) <= 3 * largest]
    for k, eps in enumerate(fits[: -1 if len(fits) > 1 else 0]):
        found = _pruned(sizes, eps, STRIP)
        if len(found[1]) <= largest:
            return _pruned(sizes, fits[k + 1], 1.25 * STRIP) if coarse else found
    return None


def _count(sizes: tuple[float, ...], eps: float, strip: float) -> int:
    return math.prod(len(rule(s, eps, strip)[0]) for s in sizes)


def _pruned(sizes: tuple[float, ...], eps: float, strip: float) -> tuple[Array, Array]:
    """A tensor grid without the nodes that together weigh a hundredth of ``eps``; axis by axis, so that few are ever made."""
    x, w = np.zeros((0, 1)), np.ones(1)
    for size in sizes:
        points, weights = rule(size, eps, strip)
        every = np.multiply.outer(w, weights)
        keep = np.nonzero(every > _negligible(every, 0.01 * eps / len(sizes)))
        x, w = np.concatenate([x[:, keep[0]], points[None, keep[1]]]), every[keep]
    return np.ascontiguousarray(x), w


def _negligible(w: Array, weight: float) -> float:
    """A number such that weights up to it together are no more than ``weight``; about the largest."""
    steps = np.floor(-FINE * np.log2(np.maximum(w.ravel(), 1e-300))).astype(np.intp)
    first = max(int(steps.min()), 0)
    beyond = np.cumsum(np.bincount(np.maximum(steps - first, 0), w.ravel())[::-1])[::-1]  # of a step and all smaller weights
    step = first + int(np.searchsorted(-beyond, -weight, side="left"))
    return float(2.0 ** (-step / FINE))


@lru_cache(maxsize=16)
def sobol(dimensions: int, log2: int, seed: tuple[int, ...]) -> tuple[Array, Array]:
    return normals(dimensions, log2, np.random.default_rng(seed)), np.full(2**log2, 2.0**-log2)
