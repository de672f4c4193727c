"""E[g(u, v, …)] by plain quadrature in NumPy, for arrays of covariances at once: the oracle's integrator.

Two variables in polar coordinates, (u, v) = r·(√q1 cos t, √q2 cos(t − θ)): activations with a kink or jump at 0
are smooth between the four angles where u or v vanishes, so Gauss–Legendre panels between them converge fast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache, reduce
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import LimitError

Array = NDArray[np.float64]

RADIUS = 12.0
"""Where the Gaussian is cut: its tail there is 1e-32."""

_erf = np.frompyfunc(math.erf, 1, 1)

FUNCTIONS: dict[str, Any] = {
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "Abs": np.abs,
    "sign": np.sign,
    "erf": lambda x: np.asarray(_erf(x), dtype=np.float64),
    "Heaviside": lambda x, at_zero=0.5: np.heaviside(x, at_zero),
    "relu": lambda x: np.maximum(x, 0.0),
    "step": lambda x: np.heaviside(x, 0.0),
    "softplus": lambda x: np.logaddexp(0.0, x),
    "floor": np.floor,
    "Max": lambda *a: reduce(np.maximum, a),
    "Min": lambda *a: reduce(np.minimum, a),
}


def evaluate(expr: sp.Expr, values: Mapping[sp.Basic, Any]) -> Any:
    """``expr`` in NumPy, its atoms given in ``values``."""
    if expr in values:
        return values[expr]
    if expr.is_Number or expr.is_NumberSymbol:
        return float(expr)
    name = type(expr).__name__
    if isinstance(expr, sp.Piecewise):
        return _piecewise(expr, values)
    if hasattr(expr, "definition") and name not in FUNCTIONS:
        return evaluate(expr.definition(), values)
    args = [evaluate(a, values) for a in expr.args]
    match expr:
        case sp.Add():
            return sum(args[1:], args[0])
        case sp.Mul():
            return reduce(np.multiply, args)
        case sp.Pow():
            return np.power(args[0], int(args[1])) if float(args[1]).is_integer() and args[1] >= 0 else np.power(args[0], args[1])
    if name not in FUNCTIONS:
        raise LimitError(f"the reference has no value for `{expr}`")
    return FUNCTIONS[name](*args)


def _piecewise(expr: sp.Piecewise, values: Mapping[sp.Basic, Any]) -> Any:
    result: Any = np.nan
    for branch, condition in reversed(expr.args):
        result = np.where(_condition(condition, values), evaluate(branch, values), result)
    return result


def _condition(condition: Any, values: Mapping[sp.Basic, Any]) -> Any:
    if condition in (sp.true, sp.false):
        return bool(condition)
    if isinstance(condition, (sp.And, sp.Or)):
        combine = np.logical_and if isinstance(condition, sp.And) else np.logical_or
        return reduce(combine, (_condition(c, values) for c in condition.args))
    if isinstance(condition, sp.Not):
        return np.logical_not(_condition(condition.args[0], values))
    compare = {"Gt": np.greater, "Ge": np.greater_equal, "Lt": np.less, "Le": np.less_equal, "Eq": np.equal, "Ne": np.not_equal}
    names = {sp.Gt: "Gt", sp.Ge: "Ge", sp.Lt: "Lt", sp.Le: "Le", sp.Eq: "Eq", sp.Ne: "Ne"}
    return compare[names[type(condition)]](*(evaluate(a, values) for a in condition.args))


@cache
def _panel(count: int) -> tuple[Array, Array]:
    x, w = np.polynomial.legendre.leggauss(count)
    return (x + 1) / 2, w / 2


@cache
def _half_line(power: int, panels: int = 6, count: int = 20) -> tuple[Array, Array]:
    """Nodes and weights of ∫_0^∞ f(r) r^power exp(−r²/2) dr."""
    x, w = _panel(count)
    width = RADIUS / panels
    r = np.concatenate([(k + x) * width for k in range(panels)])
    return r, np.tile(w * width, panels) * r**power * np.exp(-r * r / 2)


def expect(
    integrand: sp.Expr, variables: Sequence[sp.Basic], cov: Sequence[Sequence[Any]], values: Mapping[sp.Basic, Any]
) -> Array:
    """E[integrand] over centred Gaussian ``variables``; entries of ``cov`` and ``values`` are arrays that broadcast."""
    flat, shape = _flatten([c for row in cov for c in row], values)
    n = len(variables)
    entries = [[flat[0][a * n + b] for b in range(n)] for a in range(n)]
    samples, weights = {0: _no, 1: _line, 2: _polar}.get(n, _grid)(entries, len(flat[0][0]) if n else 1)
    shaped: dict[sp.Basic, Any] = {k: v.reshape(v.shape + (1,) * (weights.ndim - 1)) for k, v in flat[1].items()}
    got = np.broadcast_to(evaluate(integrand, {**shaped, **dict(zip(variables, samples, strict=True))}), weights.shape)
    total = np.sum(got * weights, axis=tuple(range(1, weights.ndim)))
    return np.broadcast_to(total, (int(np.prod(shape)),)).reshape(shape)


def _flatten(cov: list[Any], values: Mapping[sp.Basic, Any]) -> tuple[tuple[list[Array], dict[sp.Basic, Array]], tuple[int, ...]]:
    arrays = np.broadcast_arrays(*(np.asarray(c, dtype=np.float64) for c in (*cov, *values.values(), 0.0)))
    flat = [a.reshape(-1) for a in arrays]
    return (flat[: len(cov)], dict(zip(values, flat[len(cov) : -1], strict=True))), arrays[0].shape


def _no(cov: list[list[Array]], count: int) -> tuple[list[Array], Array]:
    return [], np.ones((1,))


def _line(cov: list[list[Array]], count: int) -> tuple[list[Array], Array]:
    r, w = _half_line(0)
    x, w = np.concatenate([-r[::-1], r]), np.concatenate([w[::-1], w]) / math.sqrt(2 * math.pi)
    return [np.sqrt(np.maximum(cov[0][0], 0.0))[:, None] * x], np.broadcast_to(w, (count, len(x)))


def _polar(cov: list[list[Array]], count: int) -> tuple[list[Array], Array]:
    q1, q2, c = cov[0][0], cov[1][1], cov[0][1]
    theta = np.arctan2(np.sqrt(np.maximum(q1 * q2 - c * c, 0.0)), c)
    x, w = _panel(36)
    breaks = np.sort(np.stack([0 * theta, theta, 0 * theta + np.pi, theta + np.pi], axis=1) - np.pi / 2, axis=1)
    ends = np.concatenate([breaks, breaks[:, :1] + 2 * np.pi], axis=1)
    width = np.diff(ends, axis=1)
    angle = (ends[:, :-1, None] + width[:, :, None] * x).reshape(count, -1)
    angular = (width[:, :, None] * w).reshape(count, -1)
    r, radial = _half_line(1)
    u = np.sqrt(q1)[:, None, None] * np.cos(angle)[:, :, None] * r
    v = np.sqrt(q2)[:, None, None] * np.cos(angle - theta[:, None])[:, :, None] * r
    return [u, v], angular[:, :, None] * radial / (2 * np.pi)


def _grid(cov: list[list[Array]], count: int) -> tuple[list[Array], Array]:
    """Three or more variables: the trapezoid rule after a Cholesky factorisation; for smooth integrands."""
    n = len(cov)
    x = np.linspace(-8.5, 8.5, 35)
    w = np.exp(-x * x / 2) * (x[1] - x[0]) / math.sqrt(2 * math.pi)
    nodes = [a.reshape(-1) for a in np.meshgrid(*[x] * n, indexing="ij")]
    weights = reduce(np.multiply, (a.reshape(-1) for a in np.meshgrid(*[w] * n, indexing="ij")))
    matrix = np.stack([np.stack(row, axis=-1) for row in cov], axis=-2)
    values, vectors = np.linalg.eigh(matrix)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    samples = np.einsum("mab,bk->amk", root, np.stack(nodes))
    return list(samples), np.broadcast_to(weights, (count, len(weights)))
