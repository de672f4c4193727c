"""The atoms of the Z-calculus: Ẑ, Ż, covariances of Gaussian parts and expected derivatives.

- ``Hat(a, s)``: the Gaussian part of Z^a at sample s; ``Dot(a, s)`` the other part, Z = Ẑ + Ż;
- ``Cov(u, v)``: the covariance of two Gaussian variables, each a ``Hat`` or a ``Z`` that is Gaussian;
- ``Slope(x, u)``: E[∂Z^x/∂u], u a Gaussian part that Z^x is a function of;
- ``Z(a, s)`` and ``Value("theta", a, s)`` are those of :mod:`tp.limit.equations`.

Source: Yang 2020, *Tensor Programs III*, Definition E.3.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from tp.limit.equations import I, Z
from tp.program.ir import Ref


class _Random(sp.Expr):
    """A real random variable of one program vector at one sample; one differentiates by it."""

    _diff_wrt = True
    is_real = True
    is_commutative = True
    is_number = False

    def __new__(cls, a: Ref, s: sp.Expr = I) -> Any:
        return sp.Expr.__new__(cls, a, s)

    a = property(lambda self: self.args[0])
    s = property(lambda self: self.args[1])

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return self.args[0].free_symbols | self.args[1].free_symbols

    def _eval_derivative(self, by: sp.Expr) -> sp.Expr:
        return sp.S.One if self == by else sp.S.Zero

    def _sympystr(self, printer: Any) -> str:
        a, s = self.args
        return f"{type(self).__name__}[{printer._print(a)}]({s})"


class Hat(_Random):
    """Ẑ^a(s): Gaussian, jointly so with the other calls of the same matrix in the same direction."""


class Output(_Random):
    """A scalar f(s) that stays random: Gaussian over the draws of its readout weights."""


class Dot(_Random):
    """Ż^a(s): a combination of the arguments of the transposed calls."""


class _Number(sp.Expr):
    """A number made of two atoms."""

    is_real = True
    is_commutative = True
    is_number = False

    def __new__(cls, a: sp.Expr, b: sp.Expr) -> Any:
        return sp.Expr.__new__(cls, a, b)

    a = property(lambda self: self.args[0])
    b = property(lambda self: self.args[1])

    def _sympystr(self, printer: Any) -> str:
        return f"{type(self).__name__}({printer._print(self.args[0])}, {printer._print(self.args[1])})"


class Cov(_Number):
    """Cov(u, v) of two Gaussian variables, E[u v]."""


class Slope(_Number):
    """E[∂Z^x/∂u]: ``a`` is Z(x), ``b`` the Gaussian part u."""


class Drive(sp.Expr):
    """Σ_j c_j Z^{U[j]} over a whole weight family that nothing else reads: one Gaussian; ``args = (c, U[j], j, lo, hi, s)``."""

    _diff_wrt = True
    is_real = True
    is_commutative = True
    is_number = False

    a = property(lambda self: self.args[1])
    s = property(lambda self: self.args[5])

    @property
    def total(self) -> sp.Sum:
        """The sum, in the vectors of the program."""
        c, u, j, lo, hi, s = self.args
        return sp.Sum(c * Z(u, s), (j, lo, hi))

    @property
    def free_symbols(self) -> set[sp.Basic]:
        c, u, j, lo, hi, s = self.args
        return (c.free_symbols | u.free_symbols | lo.free_symbols | hi.free_symbols | s.free_symbols) - {j}

    def _eval_derivative(self, by: sp.Expr) -> sp.Expr:
        return sp.S.One if self == by else sp.S.Zero

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr | None:
        return self if old == self.args[2] else None

    def _sympystr(self, printer: Any) -> str:
        return f"({printer._print(self.total)})"


RANDOM = (Hat, Z, Drive)
"""What stands in an expectation: all of them are jointly Gaussian and centred."""
