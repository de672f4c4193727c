"""Vectors of Hermite coefficients at many variances: computed at a few and interpolated, with a bound, at the others.

a_k(q) = E[φ(√q z) h_k(z)] = ∫ φ(x) h_k(x/√q) e^{−x²/2q} dx/√(2πq) is analytic in q for Re(1/q) > 0, whatever φ is: in log q, in a
strip about the real line. So over panels in which q no more than doubles its Chebyshev series in log q
falls geometrically; we compute the vectors at 17, 33 or 65 nodes until the last third of the series is negligible, and
that third stands for what follows it (Trefethen 2013, *Approximation Theory and Approximation Practice*, ch. 8); and a vector
between the nodes has to agree. Sizes are those that matter for kernels: of what the coefficients make of E φ² and of E φ'².
The two are interpolated as well, so that the tails of interpolated vectors come from Parseval's identity as those of computed
ones do, with the bound added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

RATIO = 2.0
"""By how much q grows in a panel at most."""

NODES = (17, 33, 65)
"""Chebyshev points of a panel; each set holds the one before."""

CHECK = 0.3183
"""A place in a panel that is never a node, where interpolation is compared with the vector itself."""

ROWS = 256
"""Vectors that one task makes."""


@dataclass(frozen=True, slots=True)
class Site:
    """``fill(rows, out)`` computes vectors, [row, length], as ``hermite.site`` does; ``squares(rows, vectors, out)``, [row, 2].

    A row holds the variance and what else the function depends on. ``run(work, tasks)`` does tasks, which may be side by side.
    Without ``squares`` no vector is interpolated.
    """

    fill: Callable[[Array, Array], Any]
    squares: Callable[[Array, Array, Array], Any] | None
    run: Callable[[Callable[[Any], Any], Sequence[Any]], Any]

    def vectors(self, rows: Array, length: int) -> Array:
        """The vectors at these rows, computed."""
        out = np.zeros((len(rows), length))
        step = max(1, min(ROWS, -(-len(rows) // 16)))
        self.run(lambda k: self.fill(rows[k : k + step], out[k : k + step]), range(0, len(rows), step))
        return out

    def parts(self, rows: Array, vectors: Array) -> Array:
        """What the vectors make of E φ² and E φ'², [row, 2]."""
        found = np.zeros((len(rows), 2))
        assert self.squares is not None
        self.squares(rows, vectors, found)
        return found


@dataclass(slots=True)
class _Panel:
    """Rows with all but the variance in common, and the table of their vectors: [node, length]."""

    which: Indices
    ends: Array  # of log q
    others: Array
    distinct: int
    values: Array = field(default_factory=lambda: np.empty((0, 0)))
    totals: Array = field(default_factory=lambda: np.empty((0, 2)))  # E φ², E φ'² at the nodes
    error: float = np.inf

    def rows(self, x: Array) -> Array:
        """Rows at places of [-1, 1]."""
        q = np.exp(0.5 * (self.ends[0] + self.ends[1] + x * (self.ends[1] - self.ends[0])))
        return np.column_stack([q, np.broadcast_to(self.others, (len(x), len(self.others)))])

    def at(self, q: Array) -> Array:
        """Where a variance is in [-1, 1]."""
        low, high = self.ends
        return (2.0 * np.log(q) - low - high) / (high - low)

    def refine(self, nodes: int, new: Array) -> None:
        """``new`` are the vectors at the nodes that were not there."""
        if not len(self.values):
            self.values = new
            return
        both = np.empty((nodes, new.shape[1]))
        both[0::2], both[1::2] = self.values, new
        self.values = both

    def judge(self, site: Site, checked: Array) -> None:
        """``error``: how far interpolated vectors may be off, relative to √E φ² and √E φ'²; ``checked`` is one of them."""
        nodes = len(self.values)
        parts = site.parts(self.rows(_points(nodes)), self.values)
        self.totals = parts / (1.0 - self.values[:, -2:] ** 2)
        last = np.ascontiguousarray(_series(nodes)[-(nodes // 3) :] @ self.values)
        sizes = np.sqrt(site.parts(self.rows(np.ones(len(last))), last)).sum(0)
        basis = chebyshev.chebvander(np.array([CHECK]), nodes - 1) @ _series(nodes)
        off = np.ascontiguousarray(basis @ self.values - checked)
        sizes = np.maximum(sizes, np.sqrt(site.parts(self.rows(np.ones(1)), off)[0]))
        least = np.sqrt(self.totals.min(0))
        ratios = np.where(sizes > 0.0, sizes / np.where(least > 0.0, least, 0.0), 0.0)
        self.error = float(ratios.max()) if np.isfinite(self.values).all() else np.inf


def coefficients(site: Site, rows: Array, length: int, tolerance: float) -> Array:
    """Vectors [row, length] at rows [row, (q, …)]: interpolated where that is as good as ``tolerance`` and less to compute."""
    out = np.empty((len(rows), length))
    panels, alone = _panels(rows)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for nodes in NODES:
            alone += [p.which for p in panels if p.distinct <= nodes]
            panels = [p for p in panels if p.distinct > nodes]
            _compute(site, panels, nodes, length)
            done = [p for p in panels if p.error <= tolerance]
            tasks = [(p, p.which[k : k + ROWS]) for p in done for k in range(0, len(p.which), ROWS)]
            site.run(lambda task: _interpolate(site, rows, out, *task), tasks)
            panels = [p for p in panels if not p.error <= tolerance]
    which = np.concatenate([np.empty(0, np.intp), *alone, *(p.which for p in panels)])
    distinct, where = np.unique(rows[which], axis=0, return_inverse=True)
    out[which] = site.vectors(distinct, length)[where.reshape(-1)]
    return out


def _panels(rows: Array) -> tuple[list[_Panel], list[Indices]]:
    """The rows by panels, and those that are in none: variances that are 0 or no number, and functions asked for few."""
    q = rows[:, 0]
    fine = np.isfinite(rows).all(1) & (q > 0.0)
    groups = list(_alike(rows, np.flatnonzero(fine)))
    panels = [p for group in groups if len(group) > NODES[0] for p in _cut(rows, group)]
    return panels, [np.flatnonzero(~fine), *(group for group in groups if len(group) <= NODES[0])]


def _alike(rows: Array, which: Indices) -> Iterator[Indices]:
    """The indices by what their rows have beyond the variance."""
    others = rows[which, 1:]
    if not others.size or (others == others[0]).all():
        yield which
        return
    _, group = np.unique(others, axis=0, return_inverse=True)
    order = np.argsort(group.reshape(-1), kind="stable")
    yield from np.split(which[order], np.flatnonzero(np.diff(group.reshape(-1)[order])) + 1)


def _cut(rows: Array, which: Indices) -> Iterator[_Panel]:
    """Panels from the smallest variance on, no wider than their rows are, but for a little that keeps nodes apart."""
    which = which[np.argsort(rows[which, 0], kind="stable")]
    q, start = rows[which, 0], 0
    while start < len(q):
        stop = int(np.searchsorted(q, RATIO * q[start], "right"))
        ends = np.log(q[[start, stop - 1]]) + np.array([-0.005, 0.005])
        distinct = 1 + int(np.count_nonzero(np.diff(q[start:stop])))
        yield _Panel(which[start:stop], ends, rows[which[start], 1:], distinct)
        start = stop


def _compute(site: Site, panels: list[_Panel], nodes: int, length: int) -> None:
    """More nodes for all panels, and what they are worth."""
    x = np.append(_points(nodes)[1::2] if nodes > NODES[0] else _points(nodes), CHECK)
    found = site.vectors(np.concatenate([p.rows(x) for p in panels]), length) if panels else np.empty((0, length))
    for k, panel in enumerate(panels):
        mine = found[k * len(x) : (k + 1) * len(x)]
        panel.refine(nodes, mine[:-1])
        panel.judge(site, mine[-1])


def _interpolate(site: Site, rows: Array, out: Array, panel: _Panel, which: Indices) -> None:
    """Vectors of some rows of a panel, and their tails."""
    nodes = len(panel.values)
    basis = chebyshev.chebvander(panel.at(rows[which, 0]), nodes - 1) @ _series(nodes)
    found, totals = basis @ panel.values, basis @ panel.totals
    left = 1.0 - site.parts(rows[which], found) / totals
    found[:, -2:] = np.sqrt(np.where(totals > 0.0, np.maximum(left + 2.0 * panel.error, 2e-16), 0.0))
    out[which] = found


@cache
def _points(nodes: int) -> Array:
    """Chebyshev points cos(πj/(n−1)): every other one of twice as many intervals."""
    return np.cos(np.pi * np.arange(nodes) / (nodes - 1))


@cache
def _series(nodes: int) -> Array:
    """The matrix that makes Chebyshev coefficients of values at the points."""
    half = np.ones(nodes)
    half[[0, -1]] = 0.5
    j = np.arange(nodes)
    return 2.0 / (nodes - 1) * half[:, None] * half * np.cos(np.pi * np.outer(j, j) / (nodes - 1))
