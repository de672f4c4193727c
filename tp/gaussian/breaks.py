"""Where a function has kinks and jumps, and on which scale it varies: what a quadrature must know about it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import sympy as sp

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian import functions as known

JUMPS: tuple[Any, ...] = (known.step, sp.sign, sp.Heaviside, sp.Piecewise)
KINKS: tuple[Any, ...] = (known.relu, known.leaky_relu, known.elu, sp.Abs)


def breaks(f: sp.Expr, x: sp.Expr) -> tuple[sp.Expr, ...]:
    """Points outside which ``f`` is smooth, as expressions of the parameters; there may be points too many."""
    found: dict[sp.Expr, None] = {}
    for part in sp.preorder_traversal(f):
        if not part.has(x):
            continue
        if isinstance(part, (sp.Max, sp.Min)):
            sides = list(dict.fromkeys(s for a in part.args for s in _pieces(a)))
            for a, b in itertools.combinations(sides, 2):
                found.update(dict.fromkeys(_roots(a - b, x)))
        elif isinstance(part, sp.Piecewise):
            for _, condition in part.args:
                for relation in condition.atoms(sp.core.relational.Relational):
                    found.update(dict.fromkeys(_roots(relation.lhs - relation.rhs, x)))
        elif isinstance(part, JUMPS + KINKS):
            for piece in _pieces(part.args[0]):
                found.update(dict.fromkeys(_roots(piece, x)))
    return tuple(found)


def has_jump(f: sp.Expr, x: sp.Expr) -> bool:
    """Whether ``f`` may jump: then its derivative holds a Dirac delta."""
    return any(isinstance(part, JUMPS) and part.has(x) for part in sp.preorder_traversal(f))


def has_pole(f: sp.Expr, x: sp.Expr) -> bool:
    """Whether ``f`` may be infinite somewhere: then its square may have no mean."""
    return any(p.base.has(x) and p.exp.is_negative and not (p.base.is_positive or p.base.is_negative) for p in f.atoms(sp.Pow))


def centres(f: sp.Expr, x: sp.Expr) -> tuple[sp.Expr, ...]:
    """Points about which ``f`` may vary fast though smoothly: where arguments of functions and bases of powers vanish or turn."""
    return tuple(dict.fromkeys(c for argument in _arguments(f, x) for c in _centres(argument, x)))


def sharpness(f: sp.Expr, x: sp.Expr) -> float:
    """How much narrower than 1 features of ``f`` are: from slopes and curvatures of arguments, and zeros of bases of powers."""
    most = 1.0
    for argument in _arguments(f, x):
        for c in _centres(argument, x):
            rates = [abs(sp.diff(argument, x).subs(x, c)), sp.sqrt(abs(sp.diff(argument, x, 2).subs(x, c)))]
            most = max([most, *(float(r) for r in rates if r.is_number and r.is_finite)])
    for part in f.atoms(sp.Pow):
        if part.base.has(x) and part.base.is_polynomial(x) and not (part.exp.is_Integer and part.exp.is_positive):
            most = max([most, *(1.0 / abs(y) for _, y in _roots_near(part.base, x) if abs(y) > 1e-9)])
    return most


def _arguments(f: sp.Expr, x: sp.Expr) -> list[sp.Expr]:
    """Arguments of functions and bases of powers that are polynomials in x."""
    found = [p.args[-1 if isinstance(p, known.hermite) else 0] for p in f.atoms(sp.Function) if p.args]
    found += [p.base for p in f.atoms(sp.Pow) if not (p.exp.is_Integer and p.exp.is_positive)]
    return [a for a in dict.fromkeys(found) if a.has(x) and a.is_polynomial(x)]


def _centres(argument: sp.Expr, x: sp.Expr) -> list[sp.Expr]:
    """Real parts of the zeros of a polynomial and of its derivative; of a linear one its zero, whatever its coefficients are."""
    poly = sp.Poly(argument, x)
    if poly.degree() == 1:
        b, a = poly.all_coeffs()
        return [-a / b]
    turns = _roots_near(argument, x) + _roots_near(sp.diff(argument, x), x)
    return [sp.Float(c) for c in sorted({round(re, 9) + 0.0 for re, _ in turns})]


def _roots_near(argument: sp.Expr, x: sp.Expr) -> list[tuple[float, float]]:
    """Zeros of a polynomial with numeric coefficients, as real and imaginary parts; none where it has symbols."""
    coefficients = sp.Poly(argument, x).all_coeffs()
    if not all(c.is_number for c in coefficients):
        return []
    return [(float(z.real), float(z.imag)) for z in np.roots([float(c) for c in coefficients])]


def _pieces(e: sp.Expr) -> list[sp.Expr]:
    """The smooth functions which ``e`` is made of piecewise; ``e`` itself when it has no kinks."""
    part: Any = next((p for p in sp.preorder_traversal(e) if isinstance(p, (sp.Max, sp.Min, *KINKS))), None)
    if part is None:
        return [e]
    match part:
        case sp.Max() | sp.Min():
            options = part.args
        case sp.Abs():
            options = (part.args[0], -part.args[0])
        case known.relu():
            options = (part.args[0], sp.S.Zero)
        case known.leaky_relu():
            options = (part.args[0], part.args[1] * part.args[0])
        case _:
            options = (part.args[0], part.args[1] * (sp.exp(part.args[0]) - 1))
    return [piece for option in options for piece in _pieces(e.xreplace({part: option}))][:64]


def _roots(e: sp.Expr, x: sp.Expr) -> list[sp.Expr]:
    """Real zeros of a linear or quadratic ``e``; a monotone transcendental one is refused unless it has none in x."""
    if not e.has(x):
        return []
    if not e.is_polynomial(x):
        raise _unknown(e.xreplace({x: sp.Symbol("z")}))
    poly = sp.Poly(e, x)
    if poly.degree() == 1:
        b, a = poly.all_coeffs()
        return [-a / b]
    if poly.degree() == 2:
        a2, a1, a0 = poly.all_coeffs()
        disc = a1**2 - 4 * a2 * a0
        if disc.is_number and disc < 0:
            return []
        root = sp.sqrt(sp.Max(disc, 0))
        return [(-a1 - root) / (2 * a2), (-a1 + root) / (2 * a2)]
    raise _unknown(e.xreplace({x: sp.Symbol("z")}))


def _unknown(e: sp.Expr) -> LimitError:
    reason = f"the kinks of an activation lie where `{e}` is 0, and those points are not known in closed form"
    return LimitError(Message(NOWHERE, reason, "write the activation with kinks of linear functions", "no numbers"))


def periodic(f: sp.Expr, x: sp.Expr) -> bool:
    """Whether ``f`` oscillates however far out, so that panels must not grow there."""
    return any(isinstance(part, (sp.sin, sp.cos, sp.tan)) and part.has(x) for part in sp.preorder_traversal(f))
