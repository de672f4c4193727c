"""Numbers that print as decimals: fractions that decimal constants of a spec, or data, made long."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

DIGITS = 6
"""Digits of a decimal that are printed."""

LONG = 16
"""Digits of a fraction, above and below its line, that are printed at most."""


class Written(sp.Symbol):
    """A number that prints as its name: a decimal."""


def rounded(expr: sp.Expr) -> sp.Expr:
    """``expr`` with its long fractions as decimals of some digits; for print alone."""
    return swapped(expr, lambda value: shorter(value) if is_long(value) else value)


def is_long(value: sp.Rational) -> bool:
    """Whether a fraction has more digits than one would read."""
    return bool(value.q != 1 and len(str(abs(value.p))) + len(str(value.q)) > LONG)


def swapped(expr: sp.Expr, decimal: Callable[[sp.Rational], sp.Expr]) -> sp.Expr:
    """``expr`` with other forms of its fractions, which leaves its own form as it is."""
    swap = {r: new for r in expr.atoms(sp.Rational) if (new := decimal(r)) != r}
    return expr.xreplace(swap) if swap else expr


def shorter(value: sp.Rational, digits: int = DIGITS) -> sp.Expr:
    """The number to so many digits."""
    return written(value, f"{float(abs(value)):.{digits}g}")


def written(value: sp.Rational, text: str) -> sp.Expr:
    """``text`` as the size of a number."""
    return (-1 if value < 0 else 1) * Written(text, positive=True)


def in_tex(number: Written) -> str:
    """A decimal in LaTeX."""
    digits, _, power = str(number.name).partition("e")
    ten = rf"10^{{{int(power)}}}" if power else ""
    return ten if digits == "1" and power else rf"{digits} \cdot {ten}" if power else digits
