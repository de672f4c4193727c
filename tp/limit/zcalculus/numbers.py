"""Numbers for a Z-limit: its lines in order, every expectation integrated.

Up to two variables by the quadrature of :mod:`tp.gaussian.quadrature`; more by a tensor trapezoidal rule in as many
dimensions as the covariance has rank, and by Sobol points where that would be too large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import elu, leaky_relu, relu, step
from tp.gaussian.quadrature import evaluate, integrate
from tp.limit.equations import Entry, Value
from tp.limit.zcalculus.atoms import Cov, Slope
from tp.limit.zcalculus.limit import ZLimit
from tp.program.ir import Ref
from tp.readings.nodes import rule

Array = NDArray[np.float64]
BRANCHES: dict[type, Callable[[sp.Expr], tuple[sp.Expr, sp.Expr]]] = {
    sp.sign: lambda u: (sp.S.One, -sp.S.One),
    step: lambda u: (sp.S.One, sp.S.Zero),
    sp.Abs: lambda u: (u, -u),
    relu: lambda u: (u, sp.S.Zero),
}
"""What a function with a kink at 0 is above and below it."""
KINKS = (*BRANCHES, sp.Max, sp.Min, sp.Heaviside, leaky_relu, elu)
STRIP = 0.8
"""Half-width of the strip in which activations are analytic, in units of their argument."""
LARGEST = 1_200_000
"""Nodes of a grid at most."""
POINTS = 17
"""log2 of the Sobol points."""


def numbers(limit: ZLimit, X: Any, constants: Mapping[str, Any]) -> dict[sp.Expr, float]:
    """A number for every named value of ``limit`` at one sample."""
    if any(line.domain for line in limit.lines):
        reason = "this limit's families are not written out"
        raise LimitError(Message(NOWHERE, reason, "net.kernel() has the numbers of networks without transposes", "families"))
    known = _data(limit, X)
    known |= {c: float(constants[c.name]) for c in _symbols(limit) if c.name in constants}
    out: dict[sp.Expr, float] = {}
    for line in limit.lines:
        if isinstance(line.lhs, (Cov, Slope, Value)):
            out[line.lhs] = known[line.lhs] = number(line.rhs, known)
    return out


def number(expr: sp.Expr, known: Mapping[sp.Basic, float]) -> float:
    """``expr`` with its atoms and expectations as numbers."""
    swap: dict[sp.Basic, sp.Basic] = {
        e: sp.Float(expectation(e, known), 17) for e in sorted(expr.atoms(Expectation), key=sp.default_sort_key)
    }
    swap |= {a: sp.Float(known[a], 17) for a in expr.atoms(Entry, Value, Cov, Slope) | expr.free_symbols if a in known}
    value = sp.N(expr.xreplace({k: v for k, v in swap.items() if isinstance(k, Expectation)}).xreplace(swap))
    if not value.is_number:
        names = ", ".join(f"`{s}`" for s in sorted(value.free_symbols, key=str)) or f"`{value}`"
        raise DataError(Message(NOWHERE, f"{names} has no number", "pass inputs as X, constants by name", "missing number"))
    if not value.is_finite:
        raise LimitError(Message(NOWHERE, f"`{expr}` is not finite", "see net.moments() for the same by nodes", "not finite"))
    return float(value)


def expectation(e: Expectation, known: Mapping[sp.Basic, float]) -> float:
    """One expectation as a number."""
    cov = np.array([[number(c, known) for c in row] for row in e.cov.tolist()], float)
    plain = {v: sp.Dummy(f"u{k}", real=True) for k, v in enumerate(e.variables)}
    named = e.integrand.atoms(Entry, Value, Cov, Slope) | e.integrand.free_symbols
    values = {a: sp.Float(known[a], 17) for a in named if a in known}
    integrand = e.integrand.xreplace(values).xreplace(plain)
    variables = tuple(plain.values())
    kinked = any(isinstance(f, KINKS) for f in integrand.atoms(sp.Function))
    if len(variables) <= (3 if kinked else 2):
        return float(integrate(Expectation(by_cases(integrand), variables, cov.tolist()))[0])
    root, sizes = _root(cov)
    x, w = _nodes(sizes, kinked)
    u = root @ x
    return float(np.sum(w * np.asarray(evaluate(integrand, dict(zip(variables, u, strict=True))))))


def by_cases(expr: sp.Expr) -> sp.Expr:
    """Kinks inside other functions taken apart, f(|u|) = 1[u > 0] f(u) + 1[u < 0] f(−u), so that all kinks are in plain sight."""
    for inner in sorted(expr.atoms(*BRANCHES), key=lambda e: (e.count_ops(), str(e))):
        outer = [f for f in expr.atoms(sp.Function) if f != inner and f.has(inner)]
        if outer:
            u = inner.args[0]
            above, below = BRANCHES[type(inner)](u)
            return step(u) * by_cases(expr.xreplace({inner: above})) + step(-u) * by_cases(expr.xreplace({inner: below}))
    return expr


def _root(cov: Array) -> tuple[Array, list[float]]:
    """A with A Aᵀ = cov and as many columns as the rank; the size of each column."""
    values, vectors = np.linalg.eigh(cov)
    keep = values > 1e-13 * max(values[-1], 1e-300)
    sizes = np.sqrt(values[keep])
    return np.asarray(vectors[:, keep] * sizes), sizes.tolist()


def _nodes(sizes: list[float], kinked: bool) -> tuple[Array, Array]:
    """Points of N(0, 1) in several dimensions, [dimensions, points], and their weights: the finest grid that is not too large."""
    for eps in () if kinked else (1e-12, 1e-10, 1e-8, 1e-6, 1e-5):
        rules = [rule(size, eps, STRIP) for size in sizes]
        if math.prod(len(x) for x, _ in rules) <= LARGEST:
            grid = np.stack([g.ravel() for g in np.meshgrid(*(x for x, _ in rules), indexing="ij")])
            weight = math.prod(np.meshgrid(*(w for _, w in rules), indexing="ij"), start=np.ones(())).ravel()
            keep = weight > 1e-20 * weight.max()
            return grid[:, keep], weight[keep]
    if len(sizes) > 20:
        raise LimitError(Message(NOWHERE, f"an expectation over {len(sizes)} Gaussians", "use net.moments()", "too large"))
    from scipy.special import ndtri
    from scipy.stats import qmc

    points = qmc.Sobol(len(sizes), scramble=True, rng=np.random.default_rng(0)).random_base2(POINTS).T
    return np.asarray(ndtri(points)), np.full(points.shape[1], 1.0 / points.shape[1])


def _symbols(limit: ZLimit) -> set[sp.Symbol]:
    return {s for line in limit.lines for s in line.rhs.free_symbols if isinstance(s, sp.Symbol)}


def _data(limit: ZLimit, X: Any) -> dict[sp.Basic, float]:
    """Coordinates and inner products of one sample: an array of the input's shape, or one by name."""
    inputs = limit.program.data
    if X is None:
        return {}
    given = X if isinstance(X, Mapping) else {inputs[0].ref.name: X}
    arrays = {k: np.asarray(v, float) for k, v in given.items()}
    for d in inputs:
        if d.ref.name not in arrays or arrays[d.ref.name].ndim != len(d.domain):
            reason = f"one sample of the input `{d.ref.name}` has {len(d.domain)} axes"
            raise DataError(Message(d.span, reason, "pass an array of its indices and features", "wrong shape"))
    known: dict[sp.Basic, float] = {}
    firsts = {d.ref.name: [int(r.lo) for r in d.domain] for d in inputs if d.ref.name in arrays}
    for atom in sorted({a for line in limit.lines for a in line.rhs.atoms(Value, Entry)}, key=str):
        if isinstance(atom, Value) and atom.kind_name == "data" and all(e.is_Integer for e in atom.a.index):
            known[atom] = float(arrays[atom.a.name][_place(atom.a, firsts)])
        elif isinstance(atom, Entry) and atom.kind_name == "Gram":
            known[atom] = float(arrays[atom.a.name][_place(atom.a, firsts)] @ arrays[atom.b.name][_place(atom.b, firsts)])
    return known


def _place(ref: Ref, firsts: dict[str, list[int]]) -> tuple[int, ...]:
    return tuple(int(e) - lo for e, lo in zip(ref.index, firsts[ref.name], strict=False))
