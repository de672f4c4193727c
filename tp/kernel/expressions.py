"""Expressions as Python text: index arithmetic, conditions on indices, and arithmetic on numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from tp.errors import NOWHERE, LimitError, Message
from tp.kernel.cells import ordered

FUNCTIONS = {
    "exp": "math.exp",
    "log": "math.log",
    "sin": "math.sin",
    "cos": "math.cos",
    "tan": "math.tan",
    "tanh": "math.tanh",
    "sinh": "math.sinh",
    "cosh": "math.cosh",
    "asin": "math.asin",
    "acos": "math.acos",
    "atan": "math.atan",
    "atan2": "math.atan2",
    "erf": "math.erf",
    "erfc": "math.erfc",
    "Abs": "abs",
    "Max": "max",
    "Min": "min",
    "floor": "math.floor",
    "ceiling": "math.ceil",
}

COMPARE = {sp.Eq: "==", sp.Ne: "!=", sp.Lt: "<", sp.Le: "<=", sp.Gt: ">", sp.Ge: ">="}

Render = Callable[[Any], str]


def index_text(e: sp.Expr, name: Render, literal: Callable[[int], str]) -> str:
    """Integer arithmetic; ``name`` gives a symbol's variable, ``literal`` a number that stands alone."""
    if isinstance(e, sp.Integer):
        return literal(int(e))
    return _index(e, name)


def _index(e: sp.Expr, name: Render) -> str:
    match e:
        case sp.Integer():
            return f"({int(e)})" if e < 0 else str(int(e))
        case sp.Symbol():
            return name(e)
        case sp.Add():
            return "(" + " + ".join(_index(a, name) for a in ordered(e)) + ")"
        case sp.Mul():
            denominators = [a for a in e.args if isinstance(a, sp.Rational) and a.q != 1]
            if denominators:
                rest = sp.Mul(*(a for a in e.args if a not in denominators))
                return f"({int(denominators[0].p)} * {_index(rest, name)} // {int(denominators[0].q)})"
            return "(" + " * ".join(_index(a, name) for a in ordered(e)) + ")"
        case sp.floor():
            over, under = sp.fraction(sp.together(e.args[0]))
            return f"({_index(over, name)} // {_index(under, name)})"
        case sp.Mod():
            return f"({_index(e.args[0], name)} % {_index(e.args[1], name)})"
        case sp.Max() | sp.Min():
            return f"{type(e).__name__.lower()}({', '.join(_index(a, name) for a in ordered(e))})"
    raise LimitError(Message(NOWHERE, f"`{e}` cannot be an index", "use +, -, * and integers", "not an index"))


def condition_text(c: Any, index: Render) -> str:
    """A condition on indices."""
    if c in (sp.true, sp.false):
        return str(bool(c))
    if isinstance(c, (sp.And, sp.Or)):
        word = " and " if isinstance(c, sp.And) else " or "
        return "(" + word.join(sorted(condition_text(a, index) for a in c.args)) + ")"
    if isinstance(c, sp.Not):
        return f"(not {condition_text(c.args[0], index)})"
    if type(c) not in COMPARE:
        raise LimitError(Message(NOWHERE, f"`{c}` is no condition on indices", "", "unsupported condition"))
    return f"({index(c.args[0])} {COMPARE[type(c)]} {index(c.args[1])})"


def power_text(base: str, exponent: sp.Expr, real: Callable[[float], str]) -> str:
    """A power; 0 to a negative power is 0, so that a site without variance normalises to 0."""
    if exponent == sp.Rational(1, 2):
        return f"math.sqrt({base})"
    if exponent == sp.Rational(-1, 2):
        return f"(1.0 / math.sqrt({base}) if {base} > 0.0 else 0.0)"
    if exponent.is_Integer and 0 < exponent <= 8:
        return "(" + " * ".join([base] * int(exponent)) + ")"
    if exponent.is_Integer and -8 <= exponent < 0:
        return f"(1.0 / {power_text(base, -exponent, real)} if {base} != 0.0 else 0.0)"
    power = real(float(exponent))
    return f"({base} ** {power} if {base} > 0.0 else 0.0)" if exponent < 0 else f"{base} ** {power}"


def call_text(e: sp.Expr, args: list[str]) -> str:
    """A function of numbers."""
    name = type(e).__name__
    if isinstance(e, sp.sign):
        return f"((1.0 if {args[0]} > 0.0 else 0.0) - (1.0 if {args[0]} < 0.0 else 0.0))"
    if isinstance(e, sp.Heaviside):
        at_zero = args[1] if len(args) > 1 else "0.5"
        return f"(1.0 if {args[0]} > 0.0 else {at_zero} if {args[0]} == 0.0 else 0.0)"
    if name not in FUNCTIONS:
        raise LimitError(Message(NOWHERE, f"`{name}` of scalars has no numerical rule", "", "unknown function"))
    return f"{FUNCTIONS[name]}({', '.join(args)})"
