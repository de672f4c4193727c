"""Where a function has kinks and jumps, and on which scale it varies: what a quadrature must know about it."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian import functions as known
from tp.gaussian.quadrature import evaluate

JUMPS: tuple[Any, ...] = (known.step, sp.sign, sp.Heaviside, sp.Piecewise)
BOUNDED: tuple[Any, ...] = (
    sp.tanh,
    sp.erf,
    sp.atan,
    sp.sin,
    sp.cos,
    known.sigmoid,
    known.normal_cdf,
    known.normal_pdf,
    *JUMPS[:3],
)
COUNTED = 16
"""Zeros and turns of an argument that are counted one by one; where there are more it is said to oscillate."""
HIGHEST = 32
"""Degree of a polynomial at whose zeros there may be kinks."""
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
    found = [_centres(argument, x) for argument in _arguments(f, x)]
    return tuple(dict.fromkeys(c for some in found if len(some) <= COUNTED for c in some))


def sharpness(f: sp.Expr, x: sp.Expr) -> float:
    """How much narrower than 1 features of ``f`` are: from slopes and curvatures of arguments, and zeros of bases of powers."""
    bases = {p.base: None for p in f.atoms(sp.Pow) if not (p.exp.is_Integer and p.exp.is_positive)}
    most = 1.0
    for argument in _arguments(f, x):
        most = max([most, *(r for r in _rates(argument, x, argument in bases) if np.isfinite(r))])
    for base in bases:
        if base.has(x) and base.is_polynomial(x):
            most = max([most, *(1.0 / abs(y) for _, y in _roots_near(base, x) if abs(y) > 1e-9)])
    return most


def _rates(argument: sp.Expr, x: sp.Expr, base: bool) -> list[float]:
    """How fast an argument, or the logarithm of the base of a power that is no polynomial, varies at its centres."""
    slopes = [sp.diff(argument, x, k) for k in (1, 2)]
    if not argument.is_polynomial(x):
        at = np.array([float(c) for c in _centres(argument, x)])
        if not at.size:
            return []
        with np.errstate(all="ignore"):
            whole, slope, bend = (np.abs(np.broadcast_to(evaluate(e, {x: at}), at.shape)) for e in (argument, *slopes))
            return [*(np.sqrt(bend / whole) if base else np.maximum(slope, np.sqrt(bend)))]
    found = [r for c in _centres(argument, x) for r in (abs(slopes[0].subs(x, c)), sp.sqrt(abs(slopes[1].subs(x, c))))]
    return [float(r) for r in found if r.is_number]


def _arguments(f: sp.Expr, x: sp.Expr) -> list[sp.Expr]:
    """Arguments of functions and bases of powers that are smooth in x: polynomials, or without parameters."""
    found = [p.args[-1 if isinstance(p, known.hermite) else 0] for p in f.atoms(sp.Function) if p.args]
    found += [p.base for p in f.atoms(sp.Pow) if not (p.exp.is_Integer and p.exp.is_positive)]
    smooth = [a for a in dict.fromkeys(found) if not a.has(sp.Max, sp.Min, *JUMPS, *KINKS)]
    return [a for a in smooth if a.has(x) and (a.is_polynomial(x) or a.free_symbols == {x})]


def _centres(argument: sp.Expr, x: sp.Expr) -> list[sp.Expr]:
    """Where it vanishes or turns: of a polynomial the real parts of zeros, of a linear one its zero, whatever it is."""
    if not argument.is_polynomial(x):
        found = _changes(argument, x) + _changes(sp.diff(argument, x), x)
        return [sp.Float(c) for c in sorted({round(c, 9) + 0.0 for c in found})]
    poly = sp.Poly(argument, x)
    if poly.degree() == 1:
        b, a = poly.all_coeffs()
        return [-a / b]
    turns = _roots_near(argument, x) + _roots_near(sp.diff(argument, x), x)
    return [sp.Float(c) for c in sorted({round(re, 9) + 0.0 for re, _ in turns})]


@lru_cache(256)
def _changes(e: sp.Expr, x: sp.Expr) -> tuple[float, ...]:
    """Where ``e`` changes its sign between places that are 0.01 apart up to 20, and farther out 1 % of where they are."""
    far = np.geomspace(20.0, 1e4, 620)
    places = np.concatenate([-far[:0:-1], np.linspace(-20.0, 20.0, 4001) + 0.00314, far[1:]])

    def sign(at: Any) -> Any:
        return np.sign(np.broadcast_to(evaluate(e, {x: at}), at.shape))

    try:
        with np.errstate(all="ignore"):
            signs = sign(places)
            where = np.flatnonzero(signs[1:] * signs[:-1] < 0.0)
            low, high = places[where], places[where + 1]
            for _ in range(50):
                middle = 0.5 * (low + high)
                left = sign(middle) == signs[where]
                low, high = np.where(left, middle, low), np.where(left, high, middle)
    except (KeyError, ValueError, TypeError, AttributeError):
        return ()
    return tuple(map(float, low))


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
    """Real zeros of a polynomial or a quotient of two; from the third degree on they are numbers. What else has x is refused."""
    if not e.has(x):
        return []
    top, bottom = sp.fraction(sp.together(e))
    if not (top.is_polynomial(x) and bottom.is_polynomial(x)):
        raise _unknown(e.xreplace({x: sp.Symbol("z")}))
    if bottom.has(x):  # beyond a pole the function goes on at the other end
        return _roots(top, x) + _roots(bottom, x)
    poly = sp.Poly(top, x)
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
    if poly.degree() == 0:
        return []
    if poly.degree() > HIGHEST or not all(c.is_number for c in poly.all_coeffs()):
        raise _unknown(e.xreplace({x: sp.Symbol("z")}))
    exact = sp.Poly([sp.Rational(c) if c.is_Rational else sp.Rational(str(c.evalf(30))) for c in poly.all_coeffs()], x)
    return [r.evalf(17) for r in dict.fromkeys(sp.real_roots(exact))]


def _unknown(e: sp.Expr) -> LimitError:
    reason = f"the kinks of an activation lie where `{e}` is 0, and those points are not known in closed form"
    return LimitError(Message(NOWHERE, reason, "write the activation with kinks of linear functions", "no numbers"))


def periodic(f: sp.Expr, x: sp.Expr) -> bool:
    """Whether ``f`` oscillates however far out, so that panels must not grow there."""
    waves = [w for w in f.atoms(sp.sin, sp.cos, sp.tan) if _unbounded(w.args[0], x)]
    return bool(waves) or any(len(_centres(a, x)) > COUNTED for a in _arguments(f, x))


def _unbounded(e: sp.Expr, x: sp.Expr) -> bool:
    """Whether x is in ``e`` outside functions that stay between two numbers."""
    return bool(e.xreplace(dict.fromkeys(e.atoms(*BOUNDED), sp.S.One)).has(x))
