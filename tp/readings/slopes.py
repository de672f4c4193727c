"""The exponent of a size that is measured at a few widths, with an error that owns up to noise and to finite widths.

A mean square over seeds is a n^(2e) (1 + κ/n + …): corrections are even in n^(-1/2), for what is odd has no mean; n is the
narrowest of several widths. For every κ the exponent is a weighted least-squares slope; the answer is its mean over
the posterior of κ, from a Cauchy prior of scale ``CORRECTION``, which lets κ be as large as the data want. The noise of each
mean comes from the spread over seeds, that of the widest networks, of which there are few, pooled with the next narrower; and
no mean counts as known better than to ``CORRECTION``/n², what the next correction may be.

Of a scalar the mean square is m² + σ²: what all networks share, and fluctuations, which central limits make n^(-1/2) of
what they are sums of. Where m is the larger in the end, it may be the smaller at all widths that can be trained. But the mean
over pairs of different seeds of products of their values is m² alone, without bias (a U-statistic: Hoeffding 1948).
Of few seeds the spread is known badly, and what they seem to share by chance has any slope: so errors are as much wider as
three of them are in Student's distribution, and a signal must be four of them large. Where an update is no smooth
function of gradients (Adam's, at 0), the corrections to m are odd in n^(-1/2) too: of gradients a + b n^(-1/2), b random, a part
like n^(-1/2) has the sign of b, and m may grow for several doublings of the width before it stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

Array = NDArray[np.float64]
TOLERANCE = 0.1
CORRECTION = 8.0
FREEDOM = 8  # degrees of freedom that a variance is to have
SHARING = 4  # seeds that tell what they share from what they do not
PRESENT = 16.0  # four standard errors
RANGE = 2.0  # exponents of what is shared lie within ±2
CONFIRMED, UNDECIDED, CONTRADICTED = "confirmed", "undecided", "contradicted"


@dataclass(frozen=True, slots=True)
class Slope:
    """size ≈ constant · n^exponent; ``error`` is the standard error of the exponent.

    ``noise``: per width, the relative variance of a square as one seed has it. ``signal``: how surely there is a size at all, as
    a χ²; below ``PRESENT`` the error is infinite.
    """

    exponent: float
    error: float
    noise: tuple[float, ...] = ()
    signal: float = float("inf")

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
    noise = relative_variances(squares)
    inverse = 1 / np.asarray(narrow if narrow is not None else widths, float)
    weight = 1 / (noise / [len(s) for s in squares] + unknown(inverse))
    x, y = np.log(np.asarray(widths, float)), np.log(means)
    kappa, prior = _corrections(inverse)
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
    return Slope(float(mean / 2), float(np.sqrt(variance) / 2), tuple(noise.tolist()))


def unknown(inverse: Array) -> Array:
    """The squared relative error of a mean square that is not noise: corrections of second order in the ``inverse`` widths."""
    return (CORRECTION * inverse**2) ** 2 + 1e-12


def _corrections(inverse: Array) -> tuple[Array, Array]:
    """Values of κ that leave all sizes positive, and their prior weights."""
    low = -0.9 / inverse.max()
    kappa = np.concatenate([np.linspace(low, 0, 200, endpoint=False), np.geomspace(0.01, 1e5, 400)])
    return kappa, np.gradient(kappa) / (1 + (kappa / CORRECTION) ** 2)


def shared(values: Array) -> tuple[float, float]:
    """m², the square of what all seeds share, and its standard error (jackknife), from [seeds, entries].

    Entries are numbers of one law up to their means, such as a logit of several inputs; m² is a mean over them.
    """
    count = len(values)
    others = (values.sum(axis=0) - values) / (count - 1)
    products = np.mean(values * others, axis=1)
    return float(products.mean()), float(2 * products.std(ddof=1) / np.sqrt(count))


def shared_slope(
    widths: Sequence[float], values: Sequence[Array], narrow: Sequence[float] | None = None, smooth: bool = True
) -> Slope | None:
    """The exponent of what all seeds share in a scalar; ``values`` are, per width, [seeds, entries].

    ``smooth``: corrections are powers of 1/n, not of n^(-1/2).

    Estimates of m² may be negative, so they are fitted as they are, not their logarithms: the posterior of e and κ, with the
    likeliest constant. The error is infinite where it is not sure that anything is shared. None where fewer than three widths
    (or two, of two) have ``SHARING`` seeds.
    """
    kept = [k for k, v in enumerate(values) if len(v) >= SHARING]
    if len(kept) < min(3, len(widths)):
        return None
    m2, error = np.array([shared(values[k]) for k in kept]).T
    whole = np.array([np.mean(values[k] ** 2) for k in kept])
    counts = np.array([len(values[k]) for k in kept])
    inverse = np.asarray(narrow if narrow is not None else widths, float)[kept] ** (-1.0 if smooth else -0.5)
    variances, freedom = _pooled((error / whole) ** 2 * counts, counts - 1)
    noise = variances * (whole * stdtrit(freedom, ndtr(3.0)) / 3.0) ** 2
    error = np.sqrt(noise / counts + m2**2 * unknown(inverse))
    x = np.log(np.asarray(widths, float)[kept])
    kappa, prior = _corrections(inverse)
    exponents = np.linspace(-RANGE, RANGE, 20 * int(10 * RANGE) + 1)
    model = np.exp(2 * exponents[:, None, None] * (x - x.mean())) * (1 + kappa[:, None] * inverse)
    size = np.maximum(model @ (m2 / error**2), 0) ** 2 / (model**2 @ (1 / error**2))
    posterior = (prior * np.exp((size - size.max()) / 2)).sum(axis=1)
    posterior /= posterior.sum()
    mean = float(posterior @ exponents)
    each = np.interp(np.arange(len(widths)), kept, noise / np.maximum(np.abs(m2), error) ** 2)
    signal = float(size.max())
    spread = float(np.sqrt(posterior @ (exponents - mean) ** 2)) if signal >= PRESENT else float("inf")
    return Slope(mean, spread, tuple(each.tolist()), signal)


def relative_variances(squares: Sequence[Array]) -> Array:
    """Var/mean² of one seed's mean square at each width, each pooled with narrower widths to ``FREEDOM`` degrees of freedom."""
    freedom = np.array([len(s) - 1 for s in squares])
    found = np.array([s.var(ddof=1) / s.mean() ** 2 if len(s) > 1 else 0.0 for s in squares])
    return _pooled(found, freedom)[0]


def _pooled(variances: Array, freedom: NDArray[np.int64]) -> tuple[Array, Array]:
    """Each variance pooled with those of narrower widths, then of wider ones, to ``FREEDOM`` degrees of freedom; and how many.

    Of no degrees of freedom it is 1.
    """
    pooled, found = [], []
    for k in range(len(variances)):
        total, degrees = 0.0, 0
        for other in [*range(k, -1, -1), *range(k + 1, len(variances))]:
            if degrees >= FREEDOM:
                break
            total += freedom[other] * variances[other]
            degrees += freedom[other]
        pooled.append(total / degrees if degrees else 1.0)
        found.append(float(degrees))
    return np.array(pooled), np.array(found)
