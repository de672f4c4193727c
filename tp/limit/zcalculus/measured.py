"""Integrals with their errors.

These come from doing everything twice, with coarser rules, or from eight scramblings where points are random; so they hold what
earlier errors do to later numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.gaussian.scrambled import FINEST, POINTS, RATE, SCRAMBLINGS, estimate, finer
from tp.limit.zcalculus.integrals import Integrals, PointsNeeded

Array = NDArray[np.float64]
METHODS = ("auto", "grid", "sobol")
ROUGH = 2e-3
"""An error of quadrature above which points are tried as well."""


@dataclass(frozen=True)
class Measured:
    """Numbers, their errors and how they were found."""

    values: Array
    errors: Array
    method: str


def measured(run: Callable[[Integrals], Array], method: str = "auto", tol: float | None = None, seed: int = 0) -> Measured:
    """What ``run`` computes, with errors; to ``tol`` where one is given. Raises ``LimitError`` where that is out of reach."""
    if method not in METHODS:
        raise DataError(Message(NOWHERE, f"unknown method {method!r}", f"choose one of {', '.join(METHODS)}", "unknown method"))
    values = _by_quadrature(run, method)
    if method != "sobol" and values is not None:
        errors = np.maximum(np.abs(run(Integrals(method, coarse=True)) - values), 1e-15 * np.maximum(1, np.abs(values)))
        found = Measured(values, errors, "quadrature")
        largest = float(errors.max(initial=0))
        if tol is None and largest > ROUGH and method == "auto":  # points may do better
            points = _sampled(run, "sobol", None, seed)
            return points if 2 * points.errors.max() < largest else found
        if tol is None or largest <= tol:
            return found
        method = "sobol"
        if 2 * errors.max() < tol * 2**4 or tol < 1e-6:  # points would not do better
            raise _out_of_reach(float(errors.max()), tol)
    return _sampled(run, method, tol, seed)


def _by_quadrature(run: Callable[[Integrals], Array], method: str) -> Array | None:
    """The values without points; None where some expectation needs them."""
    try:
        return run(Integrals(method, probing=True))
    except PointsNeeded:
        return None


def _sampled(run: Callable[[Integrals], Array], method: str, tol: float | None, seed: int) -> Measured:
    m = POINTS
    while True:
        ways = [Integrals(method, seed=(seed, k), points=m, panelled=1) for k in range(SCRAMBLINGS)]
        rows = np.array([run(way) for way in ways])
        values, errors = estimate(rows)
        errors = np.maximum(errors, 1e-15)
        if method != "sobol":  # expectations that have a grid are the same in all scramblings
            errors = np.maximum(errors, np.abs(run(replace(ways[0], coarse=True)) - rows[0]))
        largest = 2 * float(errors.max(initial=0))
        if tol is None or largest <= tol:
            return Measured(values, errors, "sobol")
        m = finer(m, largest, tol)
        if m > FINEST:
            raise _out_of_reach(largest * 2 ** (-RATE * (FINEST - POINTS)), tol)


def _out_of_reach(reachable: float, tol: float) -> LimitError:
    reason = f"about {reachable:.1e} is the error that can be reached, not {tol:.1e}"
    return LimitError(Message(NOWHERE, reason, "give a larger tol=…", "tolerance out of reach"))
