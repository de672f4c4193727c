"""Fitting the power of the width in an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Fit:
    """error ≈ constant · n^exponent, with the standard error of the exponent (0 where nothing is known of it)."""

    exponent: float
    uncertainty: float
    constant: float


def power_law(widths: Sequence[int], errors: Sequence[float]) -> Fit:
    """Least squares of log error on log width."""
    x, y = np.log(np.asarray(widths, float)), np.log(np.asarray(errors, float))
    if len(x) < 2:
        return Fit(float("nan"), float("nan"), float(np.exp(y[0])))
    slope, offset = np.polyfit(x, y, 1)
    return Fit(float(slope), 0.0, float(np.exp(offset)))
