"""E[g(u, v, …)] by plain quadrature in NumPy, for arrays of covariances at once: the oracle's integrator.

Two variables in polar coordinates, (u, v) = r·(√q1 cos t, √q2 cos(t − θ)): activations with a kink or jump at 0
are smooth between the four angles where u or v vanishes, so Gauss–Legendre panels between them converge fast. A kink elsewhere,
``relu(u - 1)``, is a line in the plane: along every ray panels end where it crosses, and angles where two lines meet, or one is
parallel to the ray. What is no kink of a linear function, ``relu(tanh(u) - 1/2)``, is not looked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, reduce
from itertools import combinations
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import LimitError

Array = NDArray[np.float64]

RADIUS = 12.0
"""Where the Gaussian is cut: its tail there is 1e-32."""

NODES = 4_000_000
"""About how many nodes are evaluated at a time, where there are kinks away from 0."""

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


def _branches(expr: sp.Expr) -> Iterator[sp.Expr]:
    """The smooth pieces of an expression with extremes and moduli in it."""
    inner = next((e for e in sp.postorder_traversal(expr) if type(e).__name__ in ("relu", "Abs", "Max", "Min")), None)
    if inner is None:
        yield expr
        return
    (first, *_), name = inner.args, type(inner).__name__
    pieces = {"relu": (sp.S.Zero, first), "Abs": (first, -first)}.get(name, inner.args)
    for piece in pieces:
        yield from _branches(expr.xreplace({inner: piece}))


def _leaves(expr: sp.Expr) -> list[sp.Expr]:
    """What is compared by extremes of extremes."""
    return [leaf for a in expr.args for leaf in _leaves(a)] if isinstance(expr, sp.Max | sp.Min) else [expr]


@cache
def _panel(count: int) -> tuple[Array, Array]:
    x, w = np.polynomial.legendre.leggauss(count)
    return (x + 1) / 2, w / 2


def expect(
    integrand: sp.Expr, variables: Sequence[sp.Basic], cov: Sequence[Sequence[Any]], values: Mapping[sp.Basic, Any]
) -> Array:
    """E[integrand] over centred Gaussian ``variables``; entries of ``cov`` and ``values`` are arrays that broadcast."""
    (covariances, known), shape = _flatten([c for row in cov for c in row], values)
    n, count = len(variables), math.prod(shape)
    lines = [] if n not in (1, 2) else _lines(integrand, variables, known, count)
    step = max(1, count if not lines else NODES // (1 if n == 1 else 10**4 * (2 + len(lines)) ** 2))
    parts = []
    for few in (slice(a, a + step) for a in range(0, count if n else 1, step)):
        entries = [[covariances[a * n + b][few] for b in range(n)] for a in range(n)]
        cut = [tuple(c[few] for c in line) for line in lines]
        samples, weights = _nodes(entries, cut, len(entries[0][0]) if n else 1)
        shaped: dict[sp.Basic, Any] = {k: v[few].reshape(-1, *(1,) * (weights.ndim - 1)) for k, v in known.items()}
        got = np.broadcast_to(evaluate(integrand, {**shaped, **dict(zip(variables, samples, strict=True))}), weights.shape)
        parts.append(np.sum(got * weights, axis=tuple(range(1, weights.ndim))))
    return np.broadcast_to(np.concatenate(parts), (count,)).reshape(shape)


def _nodes(cov: list[list[Array]], lines: list[tuple[Array, ...]], count: int) -> tuple[list[Array], Array]:
    """Values of the variables, each an array [pairs, nodes…], and weights."""
    match len(cov):
        case 0:
            return [], np.ones((1,))
        case 1:
            return _line(cov, lines, count)
        case 2:
            return _polar(cov, lines, count)
    return _grid(cov, count)


def _lines(
    integrand: sp.Expr, variables: Sequence[sp.Basic], values: Mapping[sp.Basic, Any], count: int
) -> list[tuple[Array, ...]]:
    """Kinks away from 0: coefficients of the variables, and a constant that is not 0, of which the sum is 0 there."""
    found: dict[sp.Expr, None] = {}
    for argument in (branch for kink in _kinks(integrand) for branch in _branches(kink)):
        slopes = [sp.diff(argument, v) for v in variables]
        rest = argument.xreplace(dict.fromkeys(variables, sp.S.Zero))
        if rest != 0 and any(slopes) and not any(s.has(*variables) for s in slopes):
            found[sp.Tuple(*slopes, rest)] = None
    return [tuple(np.broadcast_to(evaluate(e, values), (count,)).astype(np.float64) for e in line.args) for line in found]


def _kinks(expr: sp.Basic) -> Iterator[sp.Expr]:
    """What is 0 where a function has a kink or jumps."""
    name = type(expr).__name__
    if hasattr(expr, "definition") and name not in FUNCTIONS:
        yield from _kinks(expr.definition())
        return
    if name in ("relu", "step", "Abs", "sign", "Heaviside"):
        yield expr.args[0]
    elif name in ("Max", "Min"):
        yield from (a - b for a, b in combinations(_leaves(expr), 2))
        for leaf in _leaves(expr):
            yield from _kinks(leaf)
        return
    elif isinstance(expr, sp.core.relational.Relational):
        yield expr.lhs - expr.rhs
    for a in expr.args:
        yield from _kinks(a)


def _flatten(cov: list[Any], values: Mapping[sp.Basic, Any]) -> tuple[tuple[list[Array], dict[sp.Basic, Array]], tuple[int, ...]]:
    arrays = np.broadcast_arrays(*(np.asarray(c, dtype=np.float64) for c in (*cov, *values.values(), 0.0)))
    flat = [a.reshape(-1) for a in arrays]
    return (flat[: len(cov)], dict(zip(values, flat[len(cov) : -1], strict=True))), arrays[0].shape


def _line(cov: list[list[Array]], lines: list[tuple[Array, ...]], count: int) -> tuple[list[Array], Array]:
    s = np.sqrt(np.maximum(cov[0][0], 0.0))[:, None]
    sides = []
    for side in (-1.0, 1.0):
        r, w = _rays([(side * slope[:, None] * s, rest) for slope, rest in lines], (count, 1))
        sides.append((side * r, w * np.exp(-r * r / 2) / math.sqrt(2 * math.pi)))
    x, w = (np.concatenate([one.reshape(count, -1) for one in both], axis=1) for both in zip(*sides, strict=True))
    return [s * x], w


def _rays(lines: list[tuple[Array, Array]], shape: tuple[int, int], panels: int = 6, nodes: int = 20) -> tuple[Array, Array]:
    """Nodes on 0 … RADIUS along rays [pairs, rays], on panels that end where ``slope · r + rest`` is 0 as well."""
    ends = [np.full(shape, k * RADIUS / panels) for k in range(panels + 1)]
    with np.errstate(all="ignore"):
        crossings = (-rest[:, None] / slope for slope, rest in lines)
        ends += [np.broadcast_to(np.where((r > 0) & (r < RADIUS), r, RADIUS), shape) for r in crossings]
    edges = np.sort(np.stack(ends, axis=-1), axis=-1)
    x, w = _panel(nodes)
    width = np.diff(edges, axis=-1)[..., None]
    return (edges[..., :-1, None] + width * x).reshape(*shape, -1), (width * w).reshape(*shape, -1)


def _polar(cov: list[list[Array]], lines: list[tuple[Array, ...]], count: int) -> tuple[list[Array], Array]:
    q1, q2, c = cov[0][0], cov[1][1], cov[0][1]
    theta = np.arctan2(np.sqrt(np.maximum(q1 * q2 - c * c, 0.0)), c)
    s1, s2 = np.sqrt(q1), np.sqrt(q2)
    forms = [(a * s1 + b * s2 * np.cos(theta), b * s2 * np.sin(theta), rest) for a, b, rest in lines]  # of r cos t, r sin t
    places = [0 * theta + np.pi / 2, theta + np.pi / 2, *(np.arctan2(-a, b) for a, b, _ in forms)]
    places += [p + np.pi for p in places]
    for (a, b, e), (a2, b2, e2) in combinations(forms, 2):
        side = np.where(a * b2 - a2 * b < 0, -1.0, 1.0)
        places.append(np.arctan2(side * (a2 * e - a * e2), side * (b * e2 - b2 * e)))
    x, w = _panel(36 if not lines else 48)
    breaks = np.sort(np.mod(np.stack(places, axis=1), 2 * np.pi), axis=1)
    ends = np.concatenate([breaks, breaks[:, :1] + 2 * np.pi], axis=1)
    width = np.diff(ends, axis=1)
    angle = (ends[:, :-1, None] + width[:, :, None] * x).reshape(count, -1)
    angular = (width[:, :, None] * w).reshape(count, -1)
    r, radial = _rays([(a[:, None] * np.cos(angle) + b[:, None] * np.sin(angle), e) for a, b, e in forms], angle.shape)
    u = s1[:, None, None] * np.cos(angle)[:, :, None] * r
    v = s2[:, None, None] * np.cos(angle - theta[:, None])[:, :, None] * r
    return [u, v], angular[:, :, None] * radial * r * np.exp(-r * r / 2) / (2 * np.pi)


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
