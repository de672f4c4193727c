"""The exponent of a size that is measured at a few widths, with an error that owns up to noise and to finite widths.

A mean square over seeds is a n^(2e) (1 + κ/n + …): corrections are even in n^(-1/2), for what is odd has no mean; n is the
narrowest of several widths. For every κ the exponent is a weighted least-squares slope; the answer is its mean over
the posterior of κ, from a Cauchy prior of scale ``CORRECTION``, which lets κ be as large as the data want. The noise of each
mean comes from the spread over seeds, that of the widest networks, of which there are few, pooled with the next narrower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TOLERANCE = 0.1
CORRECTION = 8.0
FREEDOM = 8  # degrees of freedom that a variance is to have
CONFIRMED, UNDECIDED, CONTRADICTED = "confirmed", "undecided", "contradicted"


@dataclass(frozen=True, slots=True)
class Slope:
    """size ≈ constant · n^exponent; ``error`` is the standard error of the exponent."""

    exponent: float
    error: float

    def verdict(self, derived: Fraction | float) -> str:
        """``confirmed``: within ±0.1, and known (at two standard errors) to ±0.1. ``contradicted``: surely not within ±0.1."""
        off = abs(self.exponent - float(derived))
        if off <= TOLERANCE and 2 * self.error <= TOLERANCE:
            return CONFIRMED
        return UNDECIDED if off <= TOLERANCE + 2 * self.error else CONTRADICTED


def slope(widths: Sequence[float], squares: Sequence[Array], narrow: Sequence[float] | None = None) -> Slope:
    """The exponent of the root mean square: ``squares`` are, per width, mean squares over seeds (all positive).

    ``narrow`` is the narrowest of several widths, in which corrections are counted; ``widths`` themselves by default.
    """
    means = np.array([s.mean() for s in squares])
    weight = 1 / (relative_variances(squares) / [len(s) for s in squares] + 1e-12)
    x, y = np.log(np.asarray(widths, float)), np.log(means)
    inverse = 1 / np.asarray(narrow if narrow is not None else widths, float)
    low = -0.9 / inverse.max()
    kappa = np.concatenate([np.linspace(low, 0, 200, endpoint=False), np.geomspace(0.01, 1e5, 400)])
    prior = np.gradient(kappa) / (1 + (kappa / CORRECTION) ** 2)
    shifted = y - np.log1p(kappa[:, None] * inverse)
    x = x - weight @ x / weight.sum()
    spread = weight @ x**2
    slopes = shifted @ (weight * x) / spread
    left = shifted - (shifted @ weight / weight.sum())[:, None] - slopes[:, None] * x
    misfit = left**2 @ weight
    posterior = prior * np.exp(-(misfit - misfit.min()) / 2)
    posterior /= posterior.sum()
    mean = posterior @ slopes
    variance = 1 / spread + posterior @ (slopes - mean) ** 2
    return Slope(float(mean / 2), float(np.sqrt(variance) / 2))


def relative_variances(squares: Sequence[Array]) -> Array:
    """Var/mean² of one seed's mean square at each width, each pooled with narrower widths to ``FREEDOM`` degrees of freedom."""
    found = []
    for k in range(len(squares)):
        total, freedom = 0.0, 0
        for some in [*squares[k::-1], *squares[k + 1 :]]:
            if freedom >= FREEDOM:
                break
            if len(some) > 1:
                total += (len(some) - 1) * some.var(ddof=1) / some.mean() ** 2
                freedom += len(some) - 1
        found.append(total / freedom if freedom else 1.0)
    return np.array(found)
