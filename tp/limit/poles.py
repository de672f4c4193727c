"""Expectations that do not exist: E[g] of a function that is infinite at some point, and not integrable there.

Quadrature passes a pole by, and gives a number that means nothing; so poles are looked for before. A Gaussian density is
positive everywhere: near a point x₀ where |g(x)| grows like |x − x₀|^p, the expectation is finite if and only if p > −1.
Of two samples the same one is taken twice, for a kernel has a diagonal: there 1/√u gives E[1/|u|], which is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import mpmath
import sympy as sp

from tp.errors import LimitError, Message, Span
from tp.gaussian.expectation import Expectation
from tp.program.parts import parts, within

DIGITS = 40
NEAR, NEARER = 2.0**-20, 2.0**-40
"""Distances from a point between which the growth of a function is measured."""
INTEGRABLE = -0.99
REACH, STEP = 32, sp.Rational(1, 8)
"""Where zeros of what is no polynomial are looked for: at multiples of a step, so many on both sides."""
GENERIC = (sp.Rational(37, 100), sp.Rational(-53, 100), sp.Rational(71, 100), sp.Rational(-29, 100))
"""Values of the other variables."""


def refuse_poles(expr: sp.Expr, span: Span) -> None:
    """``LimitError`` where an expectation of ``expr`` is infinite because its function is."""
    found = [e for e in within(expr, Expectation) if any(_suspect(f, e.variables) for f in parts(e.integrand))]
    for e in sorted(found, key=str):
        pole = _pole(e)
        if pole is not None:
            reason = f"the mean of `{str(pole).replace('**', '^')}` over Gaussians is infinite: they come too near to a pole"
            remedy = (
                "keep denominators away from 0, as in `h / (h^2 + 1)`; where only the tangent kernel asks for it, nngp() exists"
            )
            raise LimitError(Message(span, reason, remedy, "infinite expectation"))


def _pole(e: Expectation) -> sp.Expr | None:
    """The factor of the integrand that is not integrable."""
    g, variables = _at_one_sample(e)
    for z in variables:
        others = {v: GENERIC[k % len(GENERIC)] for k, v in enumerate(v for v in variables if v != z)}
        one = g.xreplace(others)
        for factor in (f for f in sp.preorder_traversal(g) if _suspect(f, [z])):
            if any(_order(one, z, x) <= INTEGRABLE for x in _zeros(_denominator(factor).xreplace(others), z)):
                return factor
    return None


def _suspect(f: sp.Basic, variables: list[sp.Expr] | tuple[sp.Expr, ...]) -> bool:
    if not f.has(*variables):
        return False
    if isinstance(f, sp.Pow):
        return bool(f.exp.is_number and f.exp.is_negative and not (f.base.is_positive or f.base.is_negative))
    return isinstance(f, (sp.tan, sp.cot, sp.sec, sp.csc))


def _denominator(f: sp.Basic) -> sp.Expr:
    if isinstance(f, sp.Pow):
        return f.base
    return sp.cos(f.args[0]) if isinstance(f, (sp.tan, sp.sec)) else sp.sin(f.args[0])


def _at_one_sample(e: Expectation) -> tuple[sp.Expr, list[sp.Expr]]:
    """The integrand with both samples the same; whatever else it contains gets a value."""
    from tp.limit.equations import Entry, I, Value

    same = {v: v.func(v.args[0], I, *v.args[2:]) for v in e.variables if hasattr(v, "s")}
    g = e.integrand.xreplace(same)
    variables = sorted({same.get(v, v) for v in e.variables}, key=str)
    symbols = {v: sp.Symbol(f"z{k or ''}", real=True) for k, v in enumerate(variables)}
    g = g.xreplace(symbols)
    rest = g.atoms(Value, Entry)
    g = g.xreplace(dict.fromkeys(rest, GENERIC[2]))
    return g.xreplace(dict.fromkeys(g.free_symbols - set(symbols.values()), GENERIC[2])), list(symbols.values())


def _zeros(base: sp.Expr, z: sp.Expr) -> Iterator[sp.Expr]:
    """Real points where ``base`` is 0."""
    if base.is_polynomial(z):
        poly = sp.Poly(base, z)
        yield from (sp.re(r) for r in poly.sqf_part().nroots(n=DIGITS) if abs(sp.im(r)) < 1e-20)
        return
    points = [STEP * k for k in range(-REACH, REACH + 1)]
    values = [_at(base, z, x) for x in points]
    yield from (x for x, v in zip(points, values, strict=True) if v == 0)
    for (a, va), (b, vb) in zip(zip(points, values, strict=True), zip(points[1:], values[1:], strict=True), strict=False):
        if va * vb < 0:
            with mpmath.workdps(DIGITS):
                found = mpmath.findroot(lambda x: _at(base, z, sp.Float(x, DIGITS)), (float(a), float(b)), solver="anderson")
                yield sp.Float(found, DIGITS)


def _at(g: sp.Expr, z: sp.Expr, x: sp.Expr) -> mpmath.mpf:
    """The value there; ``nan`` where there is none that is real."""
    value = g.xreplace({z: x}).evalf(DIGITS)
    if value.is_infinite or value is sp.zoo:
        return mpmath.inf
    return value._to_mpmath(4 * DIGITS) if value.is_Float or value.is_Rational else mpmath.nan


def _order(g: sp.Expr, z: sp.Expr, x: sp.Expr) -> float:
    """p of |g| ~ |z − x|^p, on the side where it is smaller."""
    orders = [0.0]
    for side in (-1, 1):
        near, nearer = (abs(_at(g, z, x + side * sp.Float(d, DIGITS))) for d in (NEAR, NEARER))
        if mpmath.inf in (near, nearer):
            return -math.inf
        if near > 0 and nearer > 0:
            orders.append(float(mpmath.log(near / nearer, 2)) / math.log2(NEAR / NEARER))
    return min(orders)
