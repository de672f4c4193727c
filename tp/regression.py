"""Kernel regression on small problems: classes as centred one-hot targets, the ridge by leaving one out.

f(x) = k(x, X) (K + λI)⁻¹ Y,  Y = onehot − column means.

The leave-one-out residuals of ridge regression are exact from one factorisation:
r_i = α_i / [(K + λI)⁻¹]_ii.  Source: Rasmussen & Williams 2006, *Gaussian Processes for Machine Learning*, §5.4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RIDGES = tuple(10.0**p for p in range(-6, 1))
"""Ridges tried, as multiples of the mean diagonal of K."""


@dataclass(frozen=True, slots=True)
class Regression:
    """A fit: dual coefficients [N, classes], the targets' means, the ridge that was chosen (relative to mean diag K)."""

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
    values, vectors = np.linalg.eigh(kernel)
    scale, rotated = float(np.mean(np.diag(kernel))), vectors.T @ (onehot - offset)
    best: tuple[float, float, Array] | None = None
    for ridge in ridges:
        inverse = 1.0 / (np.maximum(values, 0.0) + ridge * scale)
        alpha = vectors @ (inverse[:, None] * rotated)
        residual = alpha / ((vectors * vectors) @ inverse)[:, None]
        error = float(np.mean(residual**2))
        if best is None or error < best[0]:
            best = (error, ridge, alpha)
    assert best is not None, "no ridge to try"
    return Regression(alpha=best[2], offset=offset, ridge=best[1], classes=classes)


def accuracy(predicted: NDArray[Any], labels: NDArray[Any]) -> float:
    """The fraction that is right."""
    return float(np.mean(predicted == labels))
