"""Replacing atoms by atoms or formulas, as ``xreplace`` does, in time that is linear in what is written.

SymPy evaluates every function that it builds anew, and for that asks whether its argument is finite, zero, an imaginary number…
Of ``tanh(u/sqrt(v))``, v a variable whose sign is unknown to it, the answers cost seconds where functions are nested. What stands
in a program is real and has been evaluated once: with other variables there is nothing to be gained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy as sp


def replaced(expr: sp.Basic, swap: Mapping[sp.Basic, sp.Basic]) -> sp.Basic:
    """``expr`` with the keys of ``swap`` replaced by its values, all at once; parts that occur twice are replaced once."""
    return _replaced(expr, swap, {}) if swap else expr


def _replaced(expr: sp.Basic, swap: Mapping[sp.Basic, sp.Basic], known: dict[sp.Basic, sp.Basic]) -> sp.Basic:
    if expr in swap:
        return swap[expr]
    if not expr.args:
        return expr
    if expr not in known:
        args = [_replaced(a, swap, known) for a in expr.args]
        known[expr] = rebuilt(expr, args)
    return known[expr]


def rebuilt(expr: sp.Basic, args: Sequence[sp.Basic]) -> sp.Basic:
    """``expr`` with other arguments; ``expr`` itself where they are its own."""
    if all(a is b for a, b in zip(args, expr.args, strict=True)):
        return expr
    if isinstance(expr, sp.Function) and not any(a.is_Number or a.could_extract_minus_sign() for a in args):
        return expr.func(*args, evaluate=False)
    return expr.func(*args)
