"""E[f(z)] at many variances by Chebyshev interpolation in log q, where f has to be integrated: templates for generated code.

Like the coefficients in ``tabulate``, and for the same reason: E[f(√q z)] is analytic in log q in a strip, whatever f is. So in
a panel, over which q no more than doubles, 17 or 33 integrals serve all variances; where the last third of the series is
above 1e-14 of the values, or a value between nodes differs, every variance gets an integral of its own. ``each`` and ``results``
are stand-ins, see ``panels``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def each(q: float, out: Any) -> None:
    """Stand-in: the expectations at a variance."""
    out[0] = q


def results() -> int:
    """Stand-in: how many there are."""
    return 1


def fit(low: float, high: float, series: Any) -> bool:
    """The Chebyshev series of the results, [result, term], in log q between two ends; whether they have converged."""
    nodes, good = series.shape[1], True
    values = np.empty((nodes, series.shape[0]))
    for j in range(nodes):
        each(math.exp(0.5 * (low + high + (high - low) * math.cos(math.pi * j / (nodes - 1)))), values[j])
    for r in range(series.shape[0]):
        most, last = 0.0, 0.0
        for k in range(nodes):
            total = 0.0
            for j in range(nodes):
                half = 0.5 if j == 0 or j == nodes - 1 else 1.0
                total += half * values[j, r] * math.cos(math.pi * (j * k % (2 * nodes - 2)) / (nodes - 1))
            series[r, k] = (1.0 if k == 0 or k == nodes - 1 else 2.0) / (nodes - 1) * total
            most = max(most, abs(values[k, r]))
            last += abs(series[r, k]) if 3 * k >= 2 * nodes else 0.0
        good = good and last <= 1e-14 * most
    return good and agrees(low, high, series)


def agrees(low: float, high: float, series: Any) -> bool:
    """Whether the series gives the results at a variance that is no node, to 1e-13."""
    one, good, x = np.empty(results()), True, 0.3183
    each(math.exp(0.5 * (low + high + (high - low) * x)), one)
    for r in range(series.shape[0]):
        now, before = 0.0, 0.0
        for k in range(series.shape[1] - 1, 0, -1):
            now, before = 2.0 * x * now - before + series[r, k], now
        good = good and abs(x * now - before + series[r, 0] - one[r]) <= 1e-13 * abs(one[r])
    return good


def panel(rows: Any, first: int, m: int, bottom: float, high: float, count: float) -> None:
    """The results at the ``count`` variances from ``bottom`` to ``high``."""
    q, nodes, found = rows[first], 17, False
    low, top = math.log(bottom) - 0.005, math.log(high) + 0.005  # nodes stay apart where all variances are about the same
    series = np.empty((results(), nodes))
    while bottom < high and 2 * nodes < count and nodes <= 33 and not found:
        series = np.empty((results(), nodes))
        found = fit(low, top, series)
        nodes = 2 * nodes - 1
    last, one = -1.0, np.empty(results())
    for z in range(m):
        if bottom <= q[z] <= high:
            if not found and q[z] != last:
                last = q[z]
                each(last, one)
            x = (2.0 * math.log(q[z]) - low - top) / (top - low)
            for r in range(results()):
                now, before = 0.0, 0.0
                for k in range(series.shape[1] - 1, 0, -1):
                    now, before = 2.0 * x * now - before + series[r, k], now
                rows[first + 1 + r, z] = x * now - before + series[r, 0] if found else one[r]


def spread(rows: Any, first: int, m: int) -> None:
    """rows[first + 1 + r, :m] = the results at the variances rows[first, :m]."""
    q, one, done = rows[first], np.empty(results()), 0.0
    for z in range(m):
        if not 0.0 < q[z] < math.inf:
            each(q[z], one)
            for r in range(results()):
                rows[first + 1 + r, z] = one[r]
    while done < math.inf:
        low, high, count = math.inf, 0.0, 0.0  # no integer: for a literal 0 numba compiles ``panel`` once more
        for z in range(m):
            low = q[z] if done < q[z] < low else low
        for z in range(m):
            if low <= q[z] <= 2.0 * low and q[z] < math.inf:
                high, count = max(high, q[z]), count + 1.0
        if count > 0.0:
            panel(rows, first, m, low, high, count)
        done = 2.0 * low
