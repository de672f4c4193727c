"""A limit on tensor grids: finer and finer ones, until they agree.

The error of the finest is taken from how the last three differ: for analytic integrands the trapezoidal rule converges
geometrically, so that the last difference is mostly the error of the grid before. Where differences do not shrink, what
remains is extrapolated from their ratio. An error is never less than what the rules aim at. A grid that
would not fit into the memory is not begun (:mod:`tp.readings.forecast`).

Source: Trefethen & Weideman 2014, *The exponentially convergent trapezoidal rule*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tp.readings.evaluate import Evaluation, executed
from tp.readings.forecast import forecast
from tp.readings.indexing import Key
from tp.readings.nodes import WORKING, Grid, GridTooLarge, grid_too_large, needing

Array = NDArray[np.float64]
Tick = Callable[[int], object]
QUICK = 250_000
"""Grid nodes beyond which nothing is refined that no tolerance asks for."""
USUAL = 1e-6
"""Error aimed at when none is given."""
FINER, NARROWER = 0.2, 0.8
"""From one grid to the next: the aim of its rules, and the strip in which activations are taken to be analytic."""
LEVELS = 12
ROUNDING = 1e-15


@dataclass(frozen=True)
class Gridded:
    """Numbers on the finest grid, their errors, its nodes and dimensions; whether the errors are within the tolerance."""

    values: Array
    errors: Array
    nodes: int
    dimensions: int
    converged: bool


def gridded(plan: Evaluation, wanted: list[Key], tol: float | None, memory: int, strip: float, tick: Tick) -> Gridded:
    """The limits of ``wanted``. Raises ``GridTooLarge`` where not even two grids fit.

    ``strip`` is the half-width of the strip around the real line in which activations are analytic, as a first guess.
    """
    most, ahead = memory // (8 * WORKING), forecast(plan)
    patience, aim = (QUICK, USUAL) if tol is None else (most, tol)
    runs: list[Array] = []
    nodes, dimensions, reached = 0, 0, 1.0
    for level in range(LEVELS):
        eps = min(0.5, 5 * aim * FINER**level)
        grid = Grid(eps, most, strip * NARROWER**level, memory)
        try:
            if ahead is not None and (needed := ahead.bytes(eps, grid.strip)) > memory:
                raise grid_too_large(needing(needed, memory))
            run = executed(plan, grid, tick)
        except GridTooLarge:
            if len(runs) < 2:
                raise
            break
        runs.append(np.array([run[key] for key in wanted]))
        reached = eps
        nodes = grid.largest
        dimensions = max(map(len, grid.axes.values()), default=0)
        if len(runs) > 1 and (nodes > patience or (len(runs) > 2 and errors_of(runs, eps).max(initial=0) <= aim)):
            break
    errors = errors_of(runs, reached)
    return Gridded(runs[-1], errors, nodes, dimensions, bool(errors.max(initial=0) <= aim))


def errors_of(runs: list[Array], eps: float) -> Array:
    """Errors of the last of several runs, each finer than the one before; ``eps`` is what its rules aim at."""
    last = np.abs(runs[-1] - runs[-2])
    if len(runs) > 2:
        before, total = np.abs(runs[-2] - runs[-3]), np.abs(runs[-1] - runs[-3])
        ratio = min(0.9, last.max(initial=0) / max(before.max(initial=0), 1e-300))
        last = np.maximum(last * max(1.0, ratio / (1 - ratio)), total / 10)  # some differences are small by chance
    return np.asarray(np.maximum(last, np.maximum(ROUNDING, eps / 2 * np.abs(runs[-1]))))
