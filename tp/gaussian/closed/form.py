"""What a closed form is, and the table of laws for pairs of known functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

Params = tuple[sp.Expr, ...]
Formula = Callable[[sp.Expr, sp.Expr, sp.Expr, Params, Params], sp.Expr | None]


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """``expr`` is the expectation; ``rule`` names the identity that gave it, ``source`` says where it is published.

    ``short`` is ``expr`` in terms of the symbols which ``where`` defines (θ = acos(c/√(q₁q₂))), for printing. An
    infinite ``expr`` (``oo``) means that the expectation diverges, as E[step'(u)²] does.
    """

    expr: sp.Expr
    rule: str
    source: str
    short: sp.Expr
    where: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()


@dataclass(frozen=True, slots=True)
class Law:
    """E[φ(u) ψ(v)] = formula(q1, c, q2, params of φ, params of ψ); the formula returns None where it does not apply."""

    formula: Formula
    rule: str
    source: str


Side = tuple[str, int]
LAWS: dict[tuple[Side, Side], Law] = {}
"""(name, derivative order) of φ and of ψ -> law."""


def law(first: str, second: str, rule: str, source: str, order: int = 0) -> Callable[[Formula], Formula]:
    """Enter a formula for the pair (first, second), both at the same derivative order, into :data:`LAWS`."""

    def enter(formula: Formula) -> Formula:
        LAWS[(first, order), (second, order)] = Law(formula, rule, source)
        return formula

    return enter


def find(a: Side, b: Side) -> tuple[Law, bool] | None:
    """The law for the pair and whether its two sides must be swapped."""
    if (a, b) in LAWS:
        return LAWS[a, b], False
    if (b, a) in LAWS:
        return LAWS[b, a], True
    return None
