"""The atoms of the Z-calculus: Ẑ, Ż, covariances of Gaussian parts and expected derivatives.

- ``Hat(a, s)``: the Gaussian part of Z^a at sample s; ``Dot(a, s)`` the other part, Z = Ẑ + Ż;
- ``Cov(u, v)``: the covariance of two Gaussian variables, each a ``Hat`` or a ``Z`` that is Gaussian;
- ``Slope(x, u)``: E[∂Z^x/∂u], u a Gaussian part that Z^x is a function of;
- ``Image(a, …, z₁, …)``: Ψ^a(z₁, …), what a matrix of entrywise updates makes of its argument, a function of vectors;
- ``Z(a, s)`` and ``Value("theta", a, s)`` are those of :mod:`tp.limit.equations`.

Source: Yang 2020, *Tensor Programs III*, Definition E.3; Yang & Littwin 2023, *Tensor Programs IVb*, section 2.6, of images.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from tp.limit.equations import Random, Z
from tp.program.ir import Ref, Sum


class Hat(Random):
    """Ẑ^a(s): Gaussian, jointly so with the other calls of the same matrix in the same direction."""


class Output(Random):
    """A scalar f(s) that stays random: Gaussian over the draws of its readout weights."""


class Dot(Random):
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

    def _eval_derivative(self, by: sp.Expr) -> sp.Expr:
        return sp.S.Zero  # the mean of a derivative by ``b`` is no function of b

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
        return Sum(c * Z(u, s), (j, lo, hi))

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


class Image(sp.Expr):
    """Ψ^a(z₁, …, z_k), or a partial derivative of it; ``args = (a, orders, parity, rough, z₁, …, z_k)``.

    ``parity`` is 1 or −1 where Ψ(−z) is ±Ψ(z), else 0. A ``rough`` function is not to be differentiated: it has kinks, or
    changes on the scale of an optimizer's ε.
    """

    is_real = True
    is_commutative = True
    is_number = False

    def __new__(cls, a: Ref, orders: sp.Tuple, parity: sp.Integer, rough: Any, *values: sp.Expr) -> Any:
        own = parity * (-1) ** sum(orders)
        if own != 0 and values[0].could_extract_minus_sign():
            return own * sp.Expr.__new__(cls, a, orders, parity, rough, *(-z for z in values))
        return sp.Expr.__new__(cls, a, orders, parity, rough, *values)

    a = property(lambda self: self.args[0])
    orders = property(lambda self: self.args[1])
    values = property(lambda self: self.args[4:])

    @property
    def rough(self) -> bool:
        return bool(self.args[3])

    @property
    def function(self) -> sp.Tuple:
        """The function alone, a name."""
        return sp.Tuple(self.a, self.orders)

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return set().union(*(z.free_symbols for z in self.values))

    def at(self, *values: sp.Expr) -> sp.Expr:
        """The same function of other values."""
        return self.func(*self.args[:4], *values)

    def _eval_derivative(self, by: sp.Expr) -> sp.Expr:
        total: sp.Expr = sp.S.Zero
        for k, z in enumerate(self.values):
            slope = sp.diff(z, by)
            if slope != 0:
                orders = sp.Tuple(*(o + (j == k) for j, o in enumerate(self.orders)))
                total += slope * (Jump() if self.rough else self.func(self.a, orders, *self.args[2:]))
        return total

    def _sympystr(self, printer: Any) -> str:
        order = "".join(f"_{o}" for o in self.orders) if any(self.orders) else ""
        return f"Image{order}[{printer._print(self.a)}]({', '.join(map(printer._print, self.values))})"


class Jump(sp.Expr):
    """The derivative of what has none that could be integrated."""

    is_commutative = True
    is_real = True


class Update(sp.Expr):
    """An OuterNonlin as an expression: ``args = (entry, x, transpose)``."""

    is_commutative = True
    is_real = True


RANDOM = (Hat, Z, Drive)
"""What stands in an expectation: all of them are jointly Gaussian and centred."""
