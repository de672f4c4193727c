"""Expectations by brute force: Gauss–Legendre panels broken at every kink. The oracle of the closed forms.

It knows nothing of them: the integrand's expression tree is evaluated with NumPy, one variable after the other, each
given those before it (Cholesky). A variable's panels break where the integrand has a kink in it, given the others, and
shrink towards kinks of later variables, which an integral over those turns into bends of their conditional width.
The error is the change when every panel gets fewer nodes. Slow, for tests and plots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import (
    elu,
    gelu,
    hermite,
    leaky_relu,
    normal_cdf,
    normal_pdf,
    relu,
    sigmoid,
    silu,
    softplus,
    step,
)

Array = NDArray[np.float64]
Env = Mapping[sp.Basic, Any]
REACH = {1: 14.0, 2: 14.0}
"""By number of variables: panels cover so many standard deviations to both sides of the centre; else 9."""


def integrate(e: Expectation, values: Mapping[sp.Basic, float] | None = None) -> tuple[float, float]:
    """The value of ``e`` and an estimate of its error; ``values`` gives every symbol in it a number."""
    numbers = {k: sp.Float(repr(float(v))) for k, v in (values or {}).items() if k not in e.variables}
    cov = np.array([[float(sp.N(entry.xreplace(numbers))) for entry in row] for row in e.cov.tolist()], dtype=float)
    plain = {z: sp.Dummy(f"u{i}", real=True) for i, z in enumerate(e.variables)}
    integrand = e.integrand.xreplace(numbers).xreplace(plain)
    if integrand.has(sp.DiracDelta):
        raise ValueError("a Dirac delta has no quadrature")
    problem = _Problem.of(integrand, tuple(plain.values()), cov)
    count = {1: 40, 2: 20}.get(len(plain), 10)
    fine, coarse = (problem.integral(n) for n in (count, count - 3))
    return fine, abs(fine - coarse) + 4e-16 * abs(fine)


@dataclass(frozen=True)
class _Problem:
    """An integrand of ``variables`` with u_i = Σ_{j≤i} factor_ij x_j, x standard normal; ``kinks`` are ℓ·u + t = 0."""

    integrand: sp.Expr
    variables: tuple[sp.Expr, ...]
    factor: Array
    centre: Array
    kinks: tuple[tuple[Array, float], ...]

    @classmethod
    def of(cls, integrand: sp.Expr, variables: tuple[sp.Expr, ...], cov: Array) -> _Problem:
        factor = _cholesky(cov)
        return cls(integrand, variables, factor, _tilt(integrand, variables) @ factor, tuple(_kinks(integrand, variables)))

    def integral(self, nodes: int) -> float:
        """The integral with ``nodes`` nodes in each panel."""
        weights, points = np.ones(1), np.zeros((1, 0))
        for i in range(len(self.variables)):
            if self.factor[i, i] == 0:  # a copy of earlier variables
                points = np.column_stack([points, np.zeros(len(points))])
                continue
            x, w = self._axis(i, points, nodes)
            density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
            points = np.column_stack([np.repeat(points, x.shape[1], axis=0), x.ravel()])
            weights = np.repeat(weights, x.shape[1]) * (w * density).ravel()
            keep = weights != 0
            points, weights = points[keep], weights[keep]
        u = points @ self.factor.T
        total = weights * evaluate(self.integrand, dict(zip(self.variables, u.T, strict=True)))
        return float(np.sum(np.sort(total)))

    def _axis(self, i: int, points: Array, nodes: int) -> tuple[Array, Array]:
        """Nodes and weights for x_i, one row per row of ``points`` (the earlier x)."""
        reach, centre = REACH.get(len(self.variables), 9.0), self.centre[i]
        known = np.column_stack([points, np.zeros((len(points), len(self.variables) - i))])
        edges = [np.full(len(points), centre + s) for s in np.linspace(-reach, reach, round(reach) + 1)]
        bends = [(unit, 0.0, 0.5) for unit in np.eye(len(self.variables))]  # activations vary fastest about 0
        for slope, shift, softness in [*((s, t, 0.0) for s, t in self.kinks), *bends]:
            direction = slope @ self.factor
            if abs(direction[i]) > 2 * softness:
                at = -(known @ direction + shift) / direction[i]
                width = math.hypot(softness, *direction[i + 1 :]) / abs(direction[i])
                edges += [at + s * d for s, d in _grading(width)]
        ends = np.sort(np.clip(np.stack(edges, axis=1), centre - reach, centre + reach), axis=1)
        return _panels(ends, nodes)


def _grading(width: float) -> list[tuple[float, float]]:
    """Distances from a kink, on both sides, at which a panel ends: 0, then ``width`` and its doublings up to 2."""
    if width == 0:
        return [(1.0, 0.0)]
    steps = [width * 3.0**k for k in range(-1, 60) if 1e-12 < width * 3.0**k < 2.0]
    return [(1.0, 0.0)] + [(s, d) for d in steps for s in (-1.0, 1.0)]


def _panels(ends: Array, nodes: int) -> tuple[Array, Array]:
    """Gauss–Legendre nodes and weights on the intervals between the sorted ``ends`` of each row."""
    x, w = _legendre(nodes)
    low, size = ends[:, :-1], np.diff(ends, axis=1)
    used = np.any(size > 0, axis=0)
    low, size = low[:, used], size[:, used]
    points = low[:, :, None] + size[:, :, None] * (x + 1) / 2
    weights = size[:, :, None] * w / 2
    return points.reshape(len(ends), -1), weights.reshape(len(ends), -1)


@cache
def _legendre(nodes: int) -> tuple[Array, Array]:
    x, w = np.polynomial.legendre.leggauss(nodes)
    return x, w


def _cholesky(cov: Array) -> Array:
    """The lower triangular root of a covariance which may be singular."""
    n = len(cov)
    factor = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            rest = math.fsum([cov[i, j], *(-factor[i, k] * factor[j, k] for k in range(j))])
            if i == j:
                if rest < -1e-12 * max(1.0, cov[i, i]):
                    raise ValueError("the covariance is not positive semidefinite")
                factor[i, i] = math.sqrt(rest) if rest > 1e-15 * cov[i, i] else 0.0
            else:
                factor[i, j] = rest / factor[j, j] if factor[j, j] else 0.0
    if n == 2 and factor[1, 1]:  # √(q₁q₂ − c²)/√q₁ with the difference taken exactly
        q1, c, q2 = (sp.Rational(x) for x in (cov[0, 0], cov[0, 1], cov[1, 1]))
        factor[1, 1] = math.sqrt((q1 * q2 - c * c) / q1)
    return factor


def _tilt(e: sp.Expr, variables: Sequence[sp.Expr]) -> Array:
    """The slopes of the exponentials' exponents, where they agree in sign: the mass moves that way."""
    slopes = np.zeros(len(variables))
    for exponential in e.atoms(sp.exp, sp.sinh, sp.cosh):
        for i, v in enumerate(variables):
            slope = exponential.args[0].diff(v)
            if slope.is_number:
                slopes[i] += float(slope) / 2 if slope.is_number else 0.0
    return slopes


def _kinks(e: sp.Expr, variables: Sequence[sp.Expr]) -> list[tuple[Array, float]]:
    """The planes ℓ·u + t = 0 at which ``e`` may bend or jump: arguments of such functions that are linear."""
    arguments: set[sp.Expr] = set()
    for f in e.atoms(relu, step, leaky_relu, elu, sp.Abs, sp.sign, sp.Heaviside):
        arguments |= _branches(f.args[0])
    for f in e.atoms(sp.Max, sp.Min):
        arguments |= {d for i, a in enumerate(f.args) for b in f.args[:i] for d in _branches(a - b)}
    for relation in e.atoms(sp.core.relational.Relational):
        arguments |= _branches(relation.lhs - relation.rhs)
    out: list[tuple[Array, float]] = []
    for argument in arguments:
        slopes = [argument.diff(v) for v in variables]
        if all(s.is_number for s in slopes) and any(s != 0 for s in slopes):
            shift = argument.xreplace(dict.fromkeys(variables, sp.S.Zero))
            plane = np.array([float(s) for s in slopes]), float(shift)
            if not any(_same(plane, other) for other in out):
                out.append(plane)
    return out


def _same(a: tuple[Array, float], b: tuple[Array, float]) -> bool:
    u, v = np.append(*a), np.append(*b)
    return bool(np.allclose(np.outer(u, v), np.outer(v, u), rtol=1e-14, atol=0))


def _branches(e: sp.Expr) -> set[sp.Expr]:
    """``e`` with each piecewise linear function in it replaced by either of its branches."""
    inner = next(iter(sorted(e.atoms(sp.Max, sp.Min, sp.Abs, relu), key=lambda f: f.count_ops())), None)
    if inner is None:
        return {sp.expand(e)}
    if isinstance(inner, (sp.Max, sp.Min)):
        choices = list(inner.args)
    else:
        choices = [inner.args[0], -inner.args[0] if isinstance(inner, sp.Abs) else sp.S.Zero]
    return {d for choice in choices for d in _branches(e.xreplace({inner: choice}))}


def _cdf(x: Array) -> Array:
    return np.asarray(_erfc(-x / math.sqrt(2)) / 2)


def _erf(x: Array) -> Array:
    from scipy.special import erf

    return np.asarray(erf(x))


def _erfc(x: Array) -> Array:
    from scipy.special import erfc

    return np.asarray(erfc(x))


def _sigmoid(x: Array) -> Array:
    return np.asarray((1 + np.tanh(x / 2)) / 2)


def _hermite(k: float, x: Array) -> Array:
    before, now = np.zeros_like(x), np.ones_like(x)
    for j in range(int(k)):
        before, now = now, (x * now - math.sqrt(j) * before) / math.sqrt(j + 1)
    return now


_FUNCTIONS: dict[type, Any] = {
    relu: lambda x: np.maximum(x, 0.0),
    step: lambda x: np.where(x > 0, 1.0, 0.0),
    sp.Heaviside: lambda x, at0=0.0: np.where(x > 0, 1.0, 0.0),
    leaky_relu: lambda x, alpha: np.where(x > 0, x, alpha * x),
    elu: lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))),
    gelu: lambda x: x * _cdf(x),
    normal_cdf: _cdf,
    normal_pdf: lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    sigmoid: _sigmoid,
    softplus: lambda x: np.logaddexp(x, 0.0),
    silu: lambda x: x * _sigmoid(x),
    hermite: _hermite,
    sp.exp: np.exp,
    sp.log: np.log,
    sp.sin: np.sin,
    sp.cos: np.cos,
    sp.tan: np.tan,
    sp.sinh: np.sinh,
    sp.cosh: np.cosh,
    sp.tanh: np.tanh,
    sp.asin: np.arcsin,
    sp.acos: np.arccos,
    sp.atan: np.arctan,
    sp.asinh: np.arcsinh,
    sp.erf: _erf,
    sp.erfc: _erfc,
    sp.Abs: np.abs,
    sp.sign: np.sign,
    sp.Pow: np.power,
    sp.Add: lambda *xs: reduce(np.add, xs),
    sp.Mul: lambda *xs: reduce(np.multiply, xs),
    sp.Max: lambda *xs: reduce(np.maximum, xs),
    sp.Min: lambda *xs: reduce(np.minimum, xs),
}


def evaluate(e: sp.Basic, env: Env) -> Any:
    """The value of ``e`` with NumPy arrays for its atoms, by walking the tree."""
    if e in env:
        return env[e]
    if isinstance(e, sp.Expr) and e.is_number:
        return float(e)
    if isinstance(e, sp.Piecewise):
        conditions = [_condition(c, env) for _, c in e.args]
        return np.select(conditions, [evaluate(v, env) for v, _ in e.args])
    if type(e) not in _FUNCTIONS:
        raise ValueError(f"no numerical value for {type(e).__name__}")
    if isinstance(e, sp.Pow) and e.exp.is_Integer:
        return np.asarray(evaluate(e.base, env)) ** float(e.exp)
    return _FUNCTIONS[type(e)](*(np.asarray(evaluate(a, env)) for a in e.args))


def _condition(c: sp.Basic, env: Env) -> Any:
    shape = np.shape(next(iter(env.values())))
    if c == sp.true or c == sp.false:
        return np.full(shape, c == sp.true)
    if not isinstance(c, (sp.Gt, sp.Ge, sp.Lt, sp.Le)):
        raise ValueError("no numerical value for this condition")
    return np.broadcast_to(evaluate(c.gts, env) > evaluate(c.lts, env), shape)
