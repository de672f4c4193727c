"""Fitting the power of the width in an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Fit:
    """error ≈ constant · n^exponent, with the standard error of the exponent."""

    exponent: float
    uncertainty: float
    constant: float


def power_law(widths: Sequence[int], errors: Sequence[float], spread: Sequence[float]) -> Fit:
    """Weighted least squares of log error on log width; ``spread`` are the relative standard errors of the errors."""
    x, y = np.log(np.asarray(widths, float)), np.log(np.asarray(errors, float))
    weight = 1 / np.maximum(np.asarray(spread, float), 1e-3) ** 2
    if len(x) < 2:
        return Fit(float("nan"), float("nan"), float(np.exp(y[0])))
    mean = np.average(x, weights=weight)
    variance = np.sum(weight * (x - mean) ** 2)
    slope = float(np.sum(weight * (x - mean) * y) / variance)
    offset = float(np.average(y, weights=weight) - slope * mean)
    return Fit(slope, float(1 / np.sqrt(variance)), float(np.exp(offset)))
