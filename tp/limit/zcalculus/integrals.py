"""Expectations as numbers, for many cases at once: all pairs of samples share their nodes and one pass over an integrand.

Smooth integrands: a tensor trapezoidal rule in as many dimensions as the covariances have rank, without the corners that weigh
nothing. Kinks: panels broken at them (:mod:`tp.gaussian.quadrature`) for up to three variables. What is larger: Sobol points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import elu, leaky_relu, relu, step
from tp.gaussian.quadrature import integrate
from tp.gaussian.scrambled import POINTS
from tp.limit.equations import Entry, Value
from tp.limit.zcalculus.arrays import Known, compiled, fused
from tp.limit.zcalculus.atoms import Cov, Image, Slope
from tp.limit.zcalculus.mean import rough
from tp.limit.zcalculus.points import FINE, LARGEST, grid, sobol
from tp.readings.tables import FINENESS, Table

Array = NDArray[np.float64]
BRANCHES: dict[type, Callable[[sp.Expr], tuple[sp.Expr, sp.Expr]]] = {
    sp.sign: lambda u: (sp.S.One, -sp.S.One),
    step: lambda u: (sp.S.One, sp.S.Zero),
    sp.Abs: lambda u: (u, -u),
    relu: lambda u: (u, sp.S.Zero),
}
"""What a function with a kink at 0 is above and below it."""
KINKS = (*BRANCHES, sp.Max, sp.Min, sp.Heaviside, leaky_relu, elu, sp.Piecewise)
STEP = 2.0
"""Cases whose axes are alike up to this factor share their nodes."""
PANELS = 3
"""Variables of a kinked integrand up to which panels are broken at the kinks."""
TOGETHER = 2**17
"""Numbers in an array that is worked on."""
MUCH = 1 << 22
"""Nodes times cases of an expectation from which on the sum over them is compiled: NumPy takes a tenth of a second."""
MANY, PAIRS = 2048, 2**22
"""Cases above which an expectation has fewer nodes, and cases times nodes of a grid then."""


class PointsNeeded(Exception):
    """An expectation has no grid."""


@dataclass
class Integrals:
    """One way of taking all expectations. ``sampled`` becomes true when one of them needed Sobol points.

    ``panelled`` is the most variables for which panels are broken at kinks; ``probing`` stops where points are needed.
    """

    method: str = "auto"
    coarse: bool = False
    seed: tuple[int, ...] = (0, 0)
    points: int = POINTS
    sampled: bool = False
    largest: int = LARGEST
    panelled: int = PANELS
    probing: bool = False

    def value(self, expr: sp.Expr, known: Known, count: int) -> Array:
        """``expr`` in ``count`` cases; ``known`` has an array of them, or one number, for every name; images are functions."""
        found: dict[sp.Basic, Any] = {}
        for e in _expectations(expr):
            one = all(np.ndim(known[a]) == 0 for a in _names(e) if a in known)
            found[e] = self.expectation(e, known, 1)[0] if one else self.expectation(e, known, count)
        value = np.broadcast_to(np.asarray(compiled(expr)({**known, **found}), float), count)
        if not np.isfinite(value).all():
            raise LimitError(Message(NOWHERE, f"`{expr}` is not finite", "see net.moments() for the same by nodes", "not finite"))
        return value

    def expectation(self, e: Expectation, known: Known, count: int) -> Array:
        alike = all(np.ndim(known[a]) == 0 for a in _names(e.cov) if a in known)
        cov = np.empty((1 if alike else count, len(e.variables), len(e.variables)))
        for (i, j), entry in np.ndenumerate(np.array(e.cov.tolist(), dtype=object)):
            cov[:, i, j] = self.value(entry, known, len(cov))
        kinked = _kinked(e)
        if (
            kinked
            and not e.integrand.has(Image)
            and len(e.variables) <= self.panelled
            and count <= MANY // 64
            and self.method != "sobol"
        ):
            return self.panels(e, np.broadcast_to(cov, (count, *cov.shape[1:])), known)
        values, vectors = np.linalg.eigh(cov)
        values = np.where(values > 1e-13 * np.maximum(values[:, -1:], 1e-300), values, 0.0)
        root = vectors * np.sqrt(values)[:, None, :]
        sizes = np.abs(root).max(axis=1) * _steepness(e)
        if alike:
            x, w = self.nodes(sizes[0][sizes[0] > 0], kinked)
            return self.average(e, root[:, :, sizes[0] > 0], x, w, known, count)
        found = np.empty(count)
        for some, box in _alike(sizes):
            x, w = self.nodes(box[box > 0], kinked)
            part = {k: v[some] if np.shape(v) == (count,) else v for k, v in known.items()}
            sums = self.compiled_average if count * len(w) >= MUCH else self.average
            found[some] = sums(e, root[some][:, :, box > 0], x, w, part, len(some))
        return found

    def panels(self, e: Expectation, cov: Array, known: Known) -> Array:
        """One case after the other."""
        plain = {v: sp.Dummy(f"u{k}", real=True) for k, v in enumerate(e.variables)}
        found = []
        for k, c in enumerate(cov):
            swap = {a: sp.Float(float(np.broadcast_to(known[a], len(cov))[k]), 17) for a in _names(e.integrand) if a in known}
            integrand = by_cases(e.integrand.xreplace(swap).xreplace(plain))
            value, error = integrate(Expectation(integrand, tuple(plain.values()), c.tolist()))
            found.append(value + error if self.coarse else value)
        return np.array(found)

    def nodes(self, sizes: Array, kinked: bool) -> tuple[Array, Array]:
        """Points of independent standard normals, [dimensions, points], and weights."""
        if self.method != "sobol" and not kinked:
            found = grid(tuple(sizes.tolist()), self.coarse, self.largest)
            if found is not None:
                return found
        if self.method == "grid":
            reason = (
                f"an expectation over {len(sizes)} Gaussians{' with kinks' if kinked else ''} has no grid of {LARGEST:,} nodes"
            )
            raise LimitError(Message(NOWHERE, reason, 'use method="auto"', "grid too large"))
        if self.probing:
            raise PointsNeeded
        self.sampled = True
        return sobol(len(sizes), self.points, self.seed)

    def image(self, psi: Image, value: sp.Expr, known: Known) -> Callable[..., Array]:
        """Ψ as a function of arrays: of one number by a table, of several by a mean at each."""
        letters = psi.values
        found: dict[bytes, Array] = {}  # several expectations have the same nodes

        def at(*arrays: Array) -> Array:
            arrays = tuple(np.broadcast_arrays(*arrays))
            flat, key = [a.ravel() for a in arrays], b"".join(sha256(a.tobytes()).digest() for a in arrays)
            if key not in found:
                count = len(flat[0])
                few = self.points - (2 if count <= MANY else 5)
                inner = replace(self, points=few, seed=(*self.seed, 1), largest=max(1000, PAIRS // count))
                found[key] = inner.value(value, {**known, **dict(zip(letters, flat, strict=True))}, count)
                self.sampled |= inner.sampled
            return found[key].reshape(arrays[0].shape)

        fineness = FINENESS[-2 if psi.rough else 2 - self.coarse]
        tables: dict[int, Callable[[Array], Array]] = {}

        def tabulated(array: Array) -> Array:
            reach = math.ceil(math.log2(float(np.abs(array).max(initial=1e-3))))
            if reach not in tables:
                table = Table.fine(np.array([-(2.0**reach), 2.0**reach]), *fineness)
                tables[reach] = table.function(at(table.points))
            return tables[reach](array)

        return tabulated if len(letters) == 1 else at

    def compiled_average(self, e: Expectation, root: Array, x: Array, w: Array, known: Known, count: int) -> Array:
        """The same in one compiled loop over cases and nodes, where all functions are there; equal to rounding."""
        made = fused(e.integrand, tuple(e.variables), len(x))
        if made is None:
            return self.average(e, root, x, w, known, count)
        function, template, names = made
        given = (value if name is None else known[name] for value, name in zip(template, names, strict=True))
        numbers, total = np.empty((count, len(names))), np.empty(count)
        for k, value in enumerate(given):
            numbers[:, k] = value
        function(np.ascontiguousarray(np.broadcast_to(root, (count, *root.shape[1:]))), x, w, numbers, total)
        return total

    def average(self, e: Expectation, root: Array, x: Array, w: Array, known: Known, count: int) -> Array:
        """Σ w g(A x) for every A in ``root``, or in ``count`` cases of one."""
        code, names = compiled(e.integrand, tuple(e.variables)), _names(e.integrand)
        functions = {k: v for k, v in known.items() if isinstance(k, sp.Tuple)}
        total, one = np.zeros(count), len(root) == 1
        many = max(1, min(count, 256 if one else 16))
        for first in range(0, count, many):
            rows = slice(first, first + many)
            env = {a: np.broadcast_to(known[a], count)[rows, None] for a in names if a in known}
            for start in range(0, len(w), TOGETHER // many):
                part = slice(start, start + TOGETHER // many)
                u = root[:1] @ x[:, part] if one else root[rows] @ x[:, part]
                values = np.asarray(code({**functions, **env, **{v: u[:, k] for k, v in enumerate(e.variables)}}))
                total[rows] += np.broadcast_to(values, (len(values) if values.ndim else 1, u.shape[2])) @ w[part]
        return total


def _alike(sizes: Array) -> Iterator[tuple[NDArray[np.intp], Array]]:
    """Cases that can share their nodes, and the size of each axis for them."""
    classes = np.floor(np.log(np.maximum(sizes, 1e-300)) / math.log(STEP))
    unique, which = np.unique(classes, axis=0, return_inverse=True)
    for k in range(len(unique)):
        some = np.flatnonzero(which.ravel() == k)
        box = sizes[some].max(axis=0)
        yield some, np.where(box > 0, 2 ** (np.ceil(FINE * np.log2(np.maximum(box, 1e-300))) / FINE), 0.0)


@lru_cache(maxsize=2048)
def _expectations(expr: sp.Expr) -> tuple[Expectation, ...]:
    """In a fixed order."""
    return tuple(sorted(expr.atoms(Expectation), key=sp.default_sort_key))


@lru_cache(maxsize=2048)
def _kinked(e: Expectation) -> bool:
    if any(isinstance(f, KINKS) for f in e.integrand.atoms(sp.Function, sp.Piecewise)):
        return True
    return any(psi.rough for psi in e.integrand.atoms(Image)) or rough(e.integrand, e.variables)


@lru_cache(maxsize=2048)
def _steepness(e: Expectation) -> float:
    """The largest slope of an activation's argument."""
    slopes = [1.0]
    for f in e.integrand.atoms(sp.Function):
        terms = (t.as_coeff_Mul() for a in f.args for t in sp.Add.make_args(a))
        slopes += [abs(float(c)) for c, rest in terms if rest in e.variables]
    return max(slopes)


@lru_cache(maxsize=2048)
def _names(expr: sp.Expr) -> frozenset[sp.Basic]:
    return frozenset(expr.atoms(Entry, Value, Cov, Slope) | expr.free_symbols)


def by_cases(expr: sp.Expr) -> sp.Expr:
    """Kinks inside other functions taken apart, f(|u|) = 1[u > 0] f(u) + 1[u < 0] f(−u), so that all kinks are in plain sight."""
    for inner in sorted(expr.atoms(*BRANCHES), key=lambda e: (e.count_ops(), str(e))):
        outer = [f for f in expr.atoms(sp.Function) if f != inner and f.has(inner)]
        if outer:
            u = inner.args[0]
            above, below = BRANCHES[type(inner)](u)
            return step(u) * by_cases(expr.xreplace({inner: above})) + step(-u) * by_cases(expr.xreplace({inner: below}))
    return expr
