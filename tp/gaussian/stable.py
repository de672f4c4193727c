"""Functions that are small differences of large numbers near 0, such as eˣ − 1 or tanh x − x.

In floating point they lose what the numbers have in common, and so do sums of closed forms at small variance. Both are seen
here: by comparing double precision with 30 digits, and by the sizes of summands.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from tp.gaussian.functions import elu, hermite, normal_cdf, relu, step
from tp.gaussian.laws import Kind, kinds
from tp.gaussian.quadrature import evaluate

X = sp.Symbol("x", real=True)
PLACES = (sp.Rational(1, 10**3), sp.Rational(-1, 10**3), sp.Rational(1, 10**6), sp.Rational(-1, 10**6))
RADII = (0.5, 0.25, 0.125, 0.0625)
TERMS = 16

Series = tuple[float, tuple[float, ...]]


def taylor(f: sp.Expr, x: sp.Expr) -> Series | None:
    """(r, coefficients) of the Taylor polynomial of ``f`` that is right to rounding for |x| < r, where ``f`` is not as it stands.

    Else None, and also where ``f`` has parameters or is not smooth at 0.
    """
    return _taylor(f.xreplace({x: X}))


@cache
def _taylor(f: sp.Expr) -> Series | None:
    if f.free_symbols != {X} or not (_loses(f) or _loses(sp.diff(f, X))):
        return None
    try:
        found = [float(c) for c in mpmath.taylor(lambda t: _exact(f, t), 0, TERMS)]
    except (ValueError, TypeError, ArithmeticError):
        return None
    coefficients = tuple(0.0 if abs(c) < 1e-40 else c for c in found)
    for radius in RADII:
        if all(_agree(f, coefficients, share * radius) for share in (1.0, -1.0, 0.6, -0.6, 0.1, -0.1)):
            return radius, coefficients
    return None


def _agree(f: sp.Expr, coefficients: tuple[float, ...], at: float) -> bool:
    """Whether the polynomial and its derivative are those of ``f``."""
    slopes = [k * c for k, c in enumerate(coefficients)][1:]
    pairs = ((f, coefficients), (sp.diff(f, X), slopes))
    return all(abs(mpmath.polyval(list(c)[::-1], at) - (w := _exact(g, at))) <= 1e-15 * abs(w) for g, c in pairs)


def _exact(f: sp.Expr, at: Any) -> Any:
    """``f`` at a number, to the precision at hand and at least 30 digits."""
    digits = max(30, mpmath.mp.dps)
    return f.evalf(digits, subs={X: sp.Float(at, digits)})._to_mpmath(mpmath.mp.prec + 10)


def _loses(f: sp.Expr) -> bool:
    """Whether double precision has less than 12 digits of ``f`` near 0."""
    try:
        with np.errstate(all="ignore"):
            plain = [float(evaluate(f, {X: np.asarray(float(p))})) for p in PLACES]
        exact = [float(_exact(f, p)) for p in PLACES]
    except (KeyError, ValueError, TypeError, ArithmeticError, AttributeError):
        return False
    return any(abs(a - b) > 1e-12 * abs(b) for a, b in zip(plain, exact, strict=True))


def cancels(f: sp.Expr, x: sp.Expr) -> bool:
    """Whether ``f`` or its derivative is, near 0, much smaller than the known functions of which it is a sum."""
    return _cancels(f.xreplace({x: X}))


@cache
def _cancels(f: sp.Expr) -> bool:
    found = kinds(f, X)
    if found is None or len(found) < 2:
        return False
    parts = [kind.coef * _written(kind) for kind in found]
    for pieces in (parts, [sp.diff(p, X) for p in parts]):
        if any(p.has(sp.DiracDelta) for p in pieces):
            continue
        if f.free_symbols != {X}:
            level = [p.subs(X, 0) for p in pieces]
            if any(p != 0 for p in level) and sp.expand(sp.Add(*level)) == 0:
                return True
            continue
        for near in (PLACES[:2], PLACES[2:]):
            values = [[float(p.subs(X, place).evalf(30)) for p in pieces] for place in near]
            whole = [abs(float(sp.Add(*pieces).subs(X, place).evalf(30))) for place in near]
            if max(sum(map(abs, v)) for v in values) > 30.0 * max(whole):
                return True
    return False


def _written(kind: Kind) -> sp.Expr:
    """The function of X that a kind names, but for its coefficient."""
    a: sp.Expr = kind.args[0]
    b: sp.Expr = kind.args[-1]
    match kind.name:
        case "power":
            return X**a
        case "hermite":
            return hermite(a, X)
        case "level":
            return a * step(-X) + b * step(X)
        case "slope":
            return b * relu(X) - a * relu(-X)
        case "rect":
            return relu(X) ** a
        case "erf":
            return sp.erf(X / sp.sqrt(2 * a))
        case "cdf":
            return normal_cdf(X / sp.sqrt(a))
        case "gelu" | "dgelu":
            return sp.diff(X * normal_cdf(X / sp.sqrt(a)), X, int(kind.name == "dgelu"))
        case "sin":
            return sp.sin(a * X + b)
        case "exp":
            return sp.exp(a * X)
        case "bell" | "dbell":
            return sp.diff(sp.exp(-a * X**2), X, int(kind.name == "dbell"))
        case "elu" | "delu":
            return sp.diff(elu(X, a), X, int(kind.name == "delu"))
        case "ramp":
            return relu(a * X + b)
        case _:
            return step(a * X + b)
