"""Functions of one number by tables: quintic splines on points that lie dense towards 0.

An optimizer's update changes on the scale of its ε, or as fast as a sign: a table that is even in asinh(x/δ) is logarithmic
beyond ±δ, where functions of a product d·x vary at the same pace at all sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ORDER = 5
FINENESS = ((0.2, 65), (0.2, 129), (1e-3, 257), (1e-10, 513), (1e-10, 1025))
"""(δ in units of the largest number, points) of finer and finer tables."""


@dataclass(frozen=True)
class Table:
    """Points from ``lo`` to ``hi``, even in asinh(x/delta)."""

    lo: float
    hi: float
    delta: float
    count: int

    @classmethod
    def over(cls, values: Array) -> Iterator[Table]:
        """Finer and finer tables of the range of some numbers."""
        for delta, count in FINENESS:
            yield cls.fine(values, delta, count)

    @classmethod
    def fine(cls, values: Array, delta: float, count: int) -> Table:
        """A table of ``count`` points, ``delta`` in units of the largest number."""
        scale = float(np.abs(values).max(initial=0)) or 1.0
        lo, hi = float(values.min()), float(values.max())
        if hi - lo < 1e-9 * scale:
            lo, hi = lo - scale, hi + scale
        return cls(lo, hi, delta * scale, count)

    def place(self, values: Array) -> Array:
        return np.asarray(np.arcsinh(np.clip(values, self.lo, self.hi) / self.delta))

    @cached_property
    def places(self) -> Array:
        return np.linspace(self.place(np.array(self.lo)), self.place(np.array(self.hi)), self.count)

    @cached_property
    def points(self) -> Array:
        return self.delta * np.sinh(self.places)

    def interpolated(self, table: Array, values: Array) -> Array:
        """[points, x] to [*values, x]: a function known at the points, at other numbers."""
        return self.function(table)(values)

    def function(self, table: Array) -> Callable[[Array], Array]:
        """The function that is known at the points."""
        from scipy.interpolate import make_interp_spline

        spline = make_interp_spline(self.places, table, k=ORDER)
        return lambda values: np.asarray(spline(self.place(values)))

    def gathered(self, values: Array, weights: Array) -> Array:
        """[values, x] to [points, x]: Σ weight · F(value) is Σ gathered · F(point), for every function F on the table."""
        from scipy.sparse.linalg import splu

        return np.asarray(splu(self._splines(self.places).T.tocsc()).solve(self._splines(self.place(values)).T @ weights))

    def _splines(self, places: Array) -> Any:
        """The B-splines of the table at some places, as a sparse matrix."""
        from scipy.interpolate import BSpline, make_interp_spline

        knots = make_interp_spline(self.places, np.zeros(self.count), k=ORDER).t
        return BSpline.design_matrix(np.clip(places, knots[ORDER], knots[-ORDER - 1]), knots, ORDER)
