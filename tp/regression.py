"""Regression with a kernel matrix: factors of K + λI, gradient flow, and classes with the ridge by leaving one out.

Everything here is arrays in memory; ``tp.kernel.posterior`` puts a network's kernels to it, ``tp.kernel.disk.cholesky`` does
the same from disk.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message

Array = NDArray[np.float64]

RIDGES = tuple(10.0**p for p in range(-6, 1))
"""Ridges tried, as multiples of the mean diagonal of K."""

FINE = tuple(10.0 ** (p / 4) for p in range(-32, 5))
"""More of them, where targets may be without noise: 1e-8 … 10."""

JITTERS = (0.0, 1e-10, 1e-8, 1e-6)
"""What is added to the diagonal where K + λI is singular in rounded arithmetic, in the same unit. Samples that say different
things of one point are amplified by the inverse, and so is rounding: below 1e-10 predictions would lose their first digits."""


# ---------------------------------------------------------------- inverses


class Inverse(Protocol):
    """Some A ≈ (K + λI)⁻¹, as a linear map."""

    @property
    def jitter(self) -> float:
        """What was added to the diagonal on top of the ridge."""
        ...

    def solve(self, right: Array) -> Array:
        """A @ right, [N, k]."""
        ...


class Factor(Inverse, Protocol):
    """L with L Lᵀ = K + (λ + jitter) I."""

    @property
    def log_determinant(self) -> float: ...

    def half(self, right: Array) -> Array:
        """L⁻¹ @ right, [N, k]."""
        ...


@dataclass(frozen=True, slots=True)
class Cholesky:
    """A factor in memory."""

    lower: Array
    jitter: float

    def half(self, right: Array) -> Array:
        from scipy.linalg import solve_triangular

        return solve_triangular(self.lower, right, lower=True, check_finite=False)

    def solve(self, right: Array) -> Array:
        from scipy.linalg import cho_solve

        return cho_solve((self.lower, True), right, check_finite=False)

    @property
    def log_determinant(self) -> float:
        return 2.0 * float(np.log(np.diag(self.lower)).sum())


@dataclass(frozen=True, slots=True)
class Flow:
    """(1 − e^{−(K + λI) t}) (K + λI)⁻¹: how far gradient flow has come by a time; the inverse itself as t → ∞.

    Source: Lee et al. 2019, *Wide Neural Networks of Any Depth Evolve as Linear Models*, Corollary 1.
    """

    vectors: Array
    weights: Array
    jitter: float = 0.0

    def solve(self, right: Array) -> Array:
        return self.vectors @ (self.weights[:, None] * (self.vectors.T @ right))


def cholesky(kernel: Array, ridge: float) -> Cholesky:
    """The factor of K + λI, with as little jitter as it takes; a warning says how much."""

    def attempt(shift: float) -> Array:
        from scipy.linalg import cholesky as factorize

        shifted = np.array(kernel, dtype=np.float64)
        shifted[np.diag_indices_from(shifted)] += shift
        factor = factorize(shifted, lower=True, overwrite_a=True, check_finite=False)
        pivots = np.diag(factor) ** 2
        regular(float(pivots.min()), float(pivots.max()), len(pivots))
        return factor

    return Cholesky(*jittered(attempt, ridge, float(np.mean(np.diag(kernel)))))


def regular(least: float, largest: float, count: int) -> None:
    """``LinAlgError`` where the least of ``count`` pivots is no more than rounding beside the largest."""
    if least <= count * np.finfo(np.float64).eps * largest:
        raise np.linalg.LinAlgError


Found = TypeVar("Found")


def jittered(attempt: Callable[[float], Found], ridge: float, scale: float) -> tuple[Found, float]:
    """``attempt(ridge + jitter)`` with the first jitter at which it finds a factor, and that jitter, which is also warned of."""
    for relative in JITTERS:
        jitter = relative * scale
        try:
            found = attempt(ridge + jitter)
        except np.linalg.LinAlgError:
            continue
        if jitter:
            text = f"the kernel matrix is singular in rounded arithmetic: {jitter:.1e} was added to its diagonal"
            warnings.warn(f"{text}; give a ridge to choose it yourself", stacklevel=6)
        return found, jitter
    reason = f"the kernel matrix is not positive definite, even with {JITTERS[-1]:.0e} of its diagonal added"
    raise DataError(Message(NOWHERE, reason, "raise ridge=, or use float64", "singular kernel"))


def flow(kernel: Array, ridge: float, time: float) -> Flow:
    """Gradient flow until ``time``, of exponent K + λI."""
    from scipy.linalg import eigh

    values, vectors = eigh(kernel, check_finite=False)
    rates = np.maximum(values, 0.0) + ridge
    weights = np.full_like(rates, time)  # where the rate is 0, (1 − e^{−rt})/r → t
    np.divide(-np.expm1(-rates * time), rates, out=weights, where=rates > 0)
    return Flow(vectors, weights)


def log_marginal_likelihood(factor: Factor, targets: Array, alpha: Array) -> float:
    """log N(Y; 0, K + λI), summed over the columns of Y: −½ tr(Yᵀ α) − k (½ log det + N/2 log 2π).

    Source: Rasmussen & Williams 2006, *Gaussian Processes for Machine Learning*, eq. (2.30).
    """
    count, outputs = targets.shape
    per_output = 0.5 * factor.log_determinant + 0.5 * count * np.log(2 * np.pi)
    return float(-0.5 * np.sum(targets * alpha) - outputs * per_output)


def left_out(kernel: Array, targets: Array, ridges: Sequence[float]) -> tuple[float, Array]:
    """The ridge of least leave-one-out squared error, a multiple of the mean diagonal, and (K + λI)⁻¹ Y for it, [N, k].

    Leave-one-out residuals are exact from one factorization: r_i = α_i / [(K + λI)⁻¹]_ii.
    Source: Rasmussen & Williams 2006, *Gaussian Processes for Machine Learning*, §5.4.2.
    """
    values, vectors = np.linalg.eigh(kernel)
    scale, rotated, squares = float(np.mean(np.diag(kernel))), vectors.T @ targets, vectors * vectors
    best: tuple[float, float, Array] | None = None
    for ridge in ridges:
        inverse = 1.0 / (np.maximum(values, 0.0) + ridge * scale)
        alpha = vectors @ (inverse[:, None] * rotated)
        error = float(np.mean((alpha / (squares @ inverse)[:, None]) ** 2))
        if best is None or error < best[0]:
            best = (error, ridge, alpha)
    assert best is not None, "no ridge to try"
    return best[1:]


def chunks(count: int, step: int) -> Iterator[slice]:
    """0..count in pieces of at least one."""
    step = max(1, step)
    return (slice(a, min(a + step, count)) for a in range(0, count, step))


# ---------------------------------------------------------------- classes


def told_of_classes(targets: NDArray[Any]) -> None:
    """A warning where one column of whole numbers looks like the numbers of classes: regression would take them as sizes.

    Those of three classes and more, from 0 or 1 on, most of them there and some twice.
    """
    if targets.dtype.kind not in "iu" or targets.size != len(targets):
        return
    classes = np.unique(targets)
    least, largest = int(classes[0]), int(classes[-1])
    if least not in (0, 1) or not 3 <= len(classes) < len(targets) or largest - least >= 2 * len(classes):
        return
    columns = f"np.eye({largest + 1 - least})[{'labels - 1' if least else 'labels'}]"
    text = f"the targets are whole numbers {least}…{largest}, which are predicted as numbers"
    warnings.warn(f"{text}; for classes give one column each, {columns}; for numbers give floats", stacklevel=6)


@dataclass(frozen=True, slots=True)
class Regression:
    """f(x) = k(x, X) (K + λI)⁻¹ Y,  Y = onehot − column means.

    Dual coefficients [N, classes], the targets' means, the ridge that was chosen (relative to mean diag K).
    """

    alpha: Array
    offset: Array
    ridge: float
    classes: NDArray[Any]

    def predict(self, cross: Array) -> NDArray[Any]:
        """The class of every row of ``cross`` = k(X_test, X_train)."""
        return self.classes[np.argmax(cross @ self.alpha + self.offset, axis=1)]


def fit(kernel: Array, labels: NDArray[Any], ridges: Sequence[float] = RIDGES) -> Regression:
    """Ridge regression on ``kernel`` [N, N], with the ridge of least leave-one-out squared error."""
    classes, codes = np.unique(labels, return_inverse=True)
    onehot = np.eye(len(classes))[codes]
    offset = onehot.mean(axis=0)
    ridge, alpha = left_out(kernel, onehot - offset, ridges)
    return Regression(alpha, offset, ridge, classes)


def accuracy(predicted: NDArray[Any], labels: NDArray[Any]) -> float:
    """The fraction that is right."""
    return float(np.mean(predicted == labels))
