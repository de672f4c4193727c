"""Derivatives by variables of a program, in time that is linear in the parts of an expression that differ."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sympy as sp

from tp.program.replace import replaced

HERE = sp.Dummy("u", real=True)
"""The variable that stands for an argument: a real symbol, which all of SymPy's rules know how to treat."""


def derivative(expr: sp.Expr, by: sp.Expr) -> sp.Expr:
    """∂expr/∂by for an atom of our own."""
    return _Slopes(by).of(expr)


class _Slopes(dict[sp.Expr, sp.Expr]):
    """The derivatives of all parts by one variable."""

    def __init__(self, by: sp.Expr) -> None:
        super().__init__({by: sp.S.One})
        self.by = by

    def of(self, e: sp.Expr) -> sp.Expr:
        if e not in self:
            self[e] = self._of(e) if e.args else sp.S.Zero
        return self[e]

    def _of(self, e: sp.Expr) -> sp.Expr:
        if isinstance(e, sp.Add):
            return sp.Add(*map(self.of, e.args))
        if isinstance(e, sp.Mul):
            slopes = [(k, d) for k, a in enumerate(e.args) if (d := self.of(a)) != 0]
            return sp.Add(*(sp.Mul(*e.args[:k], d, *e.args[k + 1 :]) for k, d in slopes))
        if isinstance(e, sp.Pow) and e.exp.is_number:
            d = self.of(e.base)
            return e * (d * e.exp / e.base) if d != 0 else sp.S.Zero
        if isinstance(e, sp.Function) and len(e.args) == 1:
            d = self.of(e.args[0])
            return d * replaced(_outer(e.func), {HERE: e.args[0]}) if d != 0 else sp.S.Zero
        if not e.has(self.by):
            return sp.S.Zero
        return replaced(sp.diff(replaced(e, {self.by: HERE}), HERE), {HERE: self.by})


@lru_cache
def _outer(function: Any) -> sp.Expr:
    """f'(u) of a function of one argument."""
    return sp.diff(function(HERE), HERE)
