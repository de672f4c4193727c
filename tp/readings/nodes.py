"""Node sets: random variables as arrays over quadrature points, one set per width space.

Every independent Gaussian ("innovation") is one dimension. Two backends: scrambled Sobol points, any number of
dimensions; and a grid that grows by one axis per innovation, for few dimensions and high accuracy.

Source: theory of quasi-Monte Carlo, Owen 1997; of the trapezoidal rule, Trefethen & Weideman 2014.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message

Array = NDArray[np.float64]


class Nodes(Protocol):
    """A backend: fresh innovations and averages."""

    def fresh(self, space: str, size: float) -> Array:
        """A standard normal variable independent of all others of ``space``; it will be multiplied by ``size``."""

    def mean(self, space: str, values: Array) -> float:
        """E[values]."""


@dataclass
class Sobol:
    """Scrambled Sobol points: ``2^log2`` nodes, ``dimensions[space]`` of them at most."""

    log2: int
    dimensions: dict[str, int]
    rng: np.random.Generator
    used: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    points: dict[str, Array] = field(default_factory=dict)

    def fresh(self, space: str, size: float) -> Array:
        from scipy.special import ndtri
        from scipy.stats import qmc

        if space not in self.points:
            engine = qmc.Sobol(max(1, self.dimensions[space]), scramble=True, seed=self.rng)
            self.points[space] = np.ascontiguousarray(engine.random_base2(self.log2).T)
        column = self.points[space][self.used[space]]
        self.used[space] += 1
        return np.asarray(ndtri(np.clip(column, 1e-300, 1 - 1e-16)))[None, :]

    def mean(self, space: str, values: Array) -> float:
        return float(np.mean(values))


@dataclass
class Grid:
    """A tensor grid of trapezoidal rules, one axis per innovation, with error about ``eps`` each; at most ``limit`` nodes."""

    eps: float
    limit: int = 20_000_000
    strip: float = 0.8  # half-width of the strip in which activations are analytic, in units of their argument
    axes: dict[str, list[Array]] = field(default_factory=lambda: defaultdict(list))

    def fresh(self, space: str, size: float) -> Array:
        x, w = rule(size, self.eps, self.strip)
        axes = self.axes[space]
        axes.append(w)
        total = int(np.prod([len(a) for a in axes]))
        if total > self.limit:
            raise LimitError(
                Message(
                    NOWHERE,
                    f"{len(axes)} Gaussian dimensions need {total:,} grid nodes, more than {self.limit:,}",
                    'use method="sobol", or a larger tol',
                    "grid too large",
                )
            )
        # the newest axis comes first, so that earlier arrays broadcast against later ones
        return x.reshape(len(x), *[1] * (len(axes) - 1), 1)[..., 0] if len(axes) > 1 else x

    def mean(self, space: str, values: Array) -> float:
        axes = self.axes[space]
        values = np.asarray(values)
        for k in range(values.ndim, 0, -1):  # leading axis of an array of k dimensions is innovation k
            weights = axes[k - 1]
            values = np.tensordot(weights, values, axes=(0, 0)) if values.shape[0] == len(weights) else values[0]
        return float(values)


def rule(size: float, eps: float, strip: float) -> tuple[Array, Array]:
    """Nodes and weights of E over N(0, 1) of a function analytic in a strip of half-width ``strip/size``.

    The trapezoidal rule with step min(π√(2/ln ε⁻¹), 2πa/(s ln ε⁻¹)) on |x| ≤ √(2 ln ε⁻¹), or Gauss–Hermite when s is
    small enough for it to need fewer nodes.
    """
    log = np.log(1 / eps)
    count = _hermite_count(size / strip, eps)
    reach = np.sqrt(2 * log)
    step = min(np.pi * np.sqrt(2 / log), 2 * np.pi * strip / (max(size, 1e-12) * log))
    half = int(np.ceil(reach / step))
    if count is not None and count < 2 * half + 1:
        x, w = np.polynomial.hermite_e.hermegauss(count)
        return x, w / w.sum()
    x = step * np.arange(-half, half + 1)
    w = np.exp(-(x**2) / 2)
    return x, w / w.sum()


def _hermite_count(ratio: float, eps: float) -> int | None:
    """The smallest q with q! (s/a)^(2q) < ε; None when there is none below 20."""
    term = 1.0
    for q in range(1, 20):
        term *= q * ratio**2
        if term < eps:
            return q
    return None
