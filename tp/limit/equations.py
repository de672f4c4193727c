"""Limit equations: what the infinite-width network satisfies, as SymPy objects.

Every equation defines one *family* of numbers over finite indices and a pair of samples (i, j). Its atoms:

- ``Entry(kind, a, b, s, t)``: a number for two program variables a, b (``Ref``, each at an index) at the samples s, t.
  kinds: ``K``   E[Z^a(s) Z^b(t)] of two Gaussian vectors; for two output scalars, their covariance;
         ``Theta``  Σ_params rate ⟨∂a_α(s), ∂b_α(t)⟩ of two such vectors or scalars (the tangent kernel);
         ``S``   E[Z^a(s) Z^b(t)] of vectors that are not Gaussian;
         ``Gram``  Σ_c a[…,c](s) b[…,c](t), over the finite axis of an input (a, b without that last index);
- ``Value(kind, a, s)``: a number for one variable at one sample: ``theta`` the limit of a deterministic scalar,
  ``m`` the mean E[Z^a] of a vector that is not Gaussian, ``data`` an input's coordinate;
- ``Z(a, s)``: inside an ``Expectation`` only, the random variable Z^a at sample s.

An equation's left side holds index symbols; where the same symbol stands on both refs, only those diagonal
entries exist (``K[h[l], h[l]]``: no cross-layer covariance is needed), where two symbols stand (p and p'), all pairs.
Equations are written for two samples (i, j) that may be the same sample: put j := i for a sample with itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from tp.errors import NOWHERE, Span
from tp.program.ir import Domain, Program, Ref
from tp.seldom import seldom

I, J = sp.Symbol("i", integer=True, nonnegative=True), sp.Symbol("j", integer=True, nonnegative=True)
"""The two samples. Not below 0, which sets them apart from indices of a spec that are called i and j."""


class _Atom(sp.Expr):
    is_real = True
    is_commutative = True
    is_number = False

    @property
    def kind_name(self) -> str:
        return str(self.args[0])


class Entry(_Atom):
    """A kernel entry; ``args = (kind, a, b, s, t)``."""

    def __new__(cls, kind: str | sp.Symbol, a: Ref, b: Ref, s: sp.Expr = I, t: sp.Expr = J) -> Entry:
        symbol = kind if isinstance(kind, sp.Symbol) else sp.Symbol(kind)
        return sp.Expr.__new__(cls, symbol, a, b, s, t)

    a = property(lambda self: self.args[1])
    b = property(lambda self: self.args[2])
    s = property(lambda self: self.args[3])
    t = property(lambda self: self.args[4])

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return set().union(*(e.free_symbols for e in self.args[1:]))

    def _sympystr(self, printer: Any) -> str:
        kind, a, b, s, t = self.args
        return f"{kind}[{printer._print(a)}, {printer._print(b)}]({s},{t})"


class Value(_Atom):
    """A number of one variable at one sample; ``args = (kind, a, s)``."""

    def __new__(cls, kind: str | sp.Symbol, a: Ref, s: sp.Expr = I) -> Value:
        symbol = kind if isinstance(kind, sp.Symbol) else sp.Symbol(kind)
        return sp.Expr.__new__(cls, symbol, a, s)

    a = property(lambda self: self.args[1])
    s = property(lambda self: self.args[2])

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return self.args[1].free_symbols | self.args[2].free_symbols

    def _sympystr(self, printer: Any) -> str:
        kind, a, s = self.args
        return f"{kind}[{printer._print(a)}]({s})"


class Random(sp.Expr):
    """A real random variable of one program vector at one sample; ``args = (a, s)``. One differentiates by it."""

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


class Z(Random):
    """Z^a(s), the limit of the coordinates of the vector a."""


@dataclass(frozen=True, slots=True)
class Equation:
    """``lhs = rhs`` for all indices in ``domain``, by ``rule``; ``source`` says where the rule is published."""

    lhs: Entry | Value
    rhs: sp.Expr
    domain: Domain = ()
    rule: str = ""
    source: str = ""
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Limit:
    """The infinite-width limit of a program: its equations, in an order in which each uses earlier ones.

    ``kinds`` are the kernels asked for, ``("K",)`` for the NNGP, ``("K", "Theta")`` with the tangent kernel.
    ``outputs`` are the program's outputs; the answer is ``Entry(kind, f, f, I, J)``. ``named`` holds Gaussian
    vectors introduced by the derivation (the argument of a nonlinearity), as ``name -> defining expression``.
    ``words`` say what other names that the derivation introduced stand for.
    ``power`` per kind: the kernel is n^power times what the equations give (0 in a kernel parametrization).
    """

    program: Program
    kinds: tuple[str, ...]
    outputs: tuple[Ref, ...]
    equations: tuple[Equation, ...]
    named: tuple[tuple[Ref, sp.Expr, Domain], ...] = ()
    power: dict[str, sp.Expr] = field(default_factory=dict)
    words: tuple[tuple[str, str], ...] = ()

    @seldom()
    def closed(self) -> Limit:
        """The same limit with every expectation that has a closed form replaced by it."""
        from tp.limit.closing import close

        return close(self)

    @property
    def steps(self) -> tuple[str, ...]:
        """One line per equation: what it is about, the rule that gave it, its source and the spec line."""
        return tuple(
            f"{e.lhs}: {e.rule} [{e.source}]" + (f" (line {e.span.line})" if e.span.line else "") for e in self.equations
        )

    # The faces are drawn elsewhere; a limit only knows where.

    def text(self, width: int = 100) -> str:
        """The derivation for a terminal."""
        from tp.faces.text import text

        return text(self, width)

    def latex(self, document: bool = False) -> str:
        """The derivation in LaTeX: aligned equations, or a whole ``document``."""
        from tp.faces import latex

        return latex.document(self) if document else latex.latex(self)

    def to_json(self) -> str:
        """The equations as data: left side, right side, LaTeX, ranges, rule, source and spec line."""
        from tp.faces.data import to_json

        return to_json(self)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<tp.Limit {self.program.name}: {' and '.join(self.kinds)}, {len(self.equations)} equations>"

    def _repr_latex_(self) -> str:
        from tp.faces.notebook import limit_latex

        return limit_latex(self)

    def _repr_markdown_(self) -> str:
        from tp.faces.notebook import limit_markdown

        return limit_markdown(self)
