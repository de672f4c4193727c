"""The tensor program: Netsor⊤⁺ over index families.

A program is a straight-line list of three instructions, ``MatMul``, ``Nonlin`` and ``Moment``, with
``Loop`` ranging a body over an index; loops stay loops. The program of a training run by an entrywise optimizer has
a fourth, ``OuterNonlin``. Every variable is a *family* over finite indices
(position, time, layer, tap, coordinate of a finite axis). A sample of the input is an index too, but an
implicit one: data, and what is computed from it, exist once per sample.

Inside instructions stand SymPy expressions. Their atoms are :class:`Ref`: a variable at an index.

Source: Yang 2020, *Tensor Programs III: Neural Matrix Laws*, Definition E.1 (Netsor⊤⁺); Yang & Littwin 2023, *Tensor
Programs IVb*, section 2.6 (NE⊗OR⊤, for entrywise updates).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sympy as sp

from tp.errors import NOWHERE, Sizes, Span


class Ref(sp.Expr):
    """``h[l-1, p+k]``: a program variable at index expressions, as a real SymPy atom one can differentiate by."""

    _diff_wrt = True
    is_real = True
    is_commutative = True
    is_number = False

    def __new__(cls, name: str | sp.Symbol, *index: Any) -> Ref:
        symbol = name if isinstance(name, sp.Symbol) else sp.Symbol(name)
        return sp.Expr.__new__(cls, symbol, *map(_as_expr, index))

    @property
    def name(self) -> str:
        return self.args[0].name

    @property
    def index(self) -> tuple[sp.Expr, ...]:
        return self.args[1:]

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """Symbols of the index expressions; the name itself is no free symbol."""
        return set().union(*(e.free_symbols for e in self.index)) if self.index else set()

    def _eval_derivative(self, s: sp.Expr) -> sp.Expr:
        return sp.S.One if self == s else sp.S.Zero

    def _sympystr(self, printer: Any) -> str:
        inner = ",".join(printer._print(e).replace(" ", "") for e in self.index)
        return f"{self.name}[{inner}]" if inner else self.name

    _sympyrepr = _sympystr


def _as_expr(value: Any) -> sp.Expr:
    """An index expression from an int or a SymPy expression; strings are never parsed."""
    if isinstance(value, sp.Expr):
        return value
    return sp.Integer(value)


@lru_cache(maxsize=100_000)
def spelled(atom: sp.Basic) -> str:
    """``str(atom)``, remembered: atoms are put in order by it again and again."""
    return str(atom)


class Sum(sp.Sum):
    """``Σ_{k=a..b} body`` over a finite index, of variables: no number, though no symbol in it is free.

    SymPy takes its own closed sums for numbers, and evaluates them to many digits wherever a function asks for a sign; and its
    substitution lets an index of the sum catch a symbol of that name in what is put in.
    """

    is_number = False

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr | None:
        bound = {s for s, _, _ in self.limits}
        if not bound & new.free_symbols or not old.free_symbols & self.free_symbols:
            return super()._eval_subs(old, new)
        apart = _apart(bound, self.atoms(sp.Symbol) | new.free_symbols)
        return Sum(self.function.xreplace(apart), *(limit.xreplace(apart) for limit in self.limits))._subs(old, new)


def _apart(bound: set[sp.Symbol], taken: set[sp.Symbol]) -> dict[sp.Symbol, sp.Symbol]:
    """Other names for bound indices."""
    names, found = {s.name for s in taken}, {}
    for s in sorted(bound, key=str):
        name = f"{s.name}_"
        while name in names:
            name += "_"
        names.add(name)
        found[s] = sp.Symbol(name, integer=True)
    return found


@dataclass(frozen=True, slots=True)
class Space:
    """A width axis. ``size`` is an expression in the free width symbols: ``n``, ``4*n``, ``m``."""

    name: str
    size: sp.Expr

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Range:
    """``index`` runs over ``lo..hi``, both included; bounds may use outer indices and symbolic constants."""

    index: sp.Symbol
    lo: sp.Expr
    hi: sp.Expr

    def __str__(self) -> str:
        return f"{self.index} in {self.lo}..{self.hi}"


Domain = tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """Initial data that is trained: entries ``multiplier * w``, ``w ~ N(mean, variance)`` iid, rate ``rate``.

    ``ref`` is the declared family member, e.g. ``W[l]`` with ``domain`` ``l in 2..L``. ``rows``/``cols`` are the
    width axes: both set for a Matrix, only ``rows`` for a Vector, none for a Scalar. Finite axes have become
    trailing indices of ``ref`` (``U : [n, d]`` is the vectors ``U[j]``, j in 1..d); ``finite_first`` marks a
    weight declared ``[k, n]`` so that printing can restore its order. ``variance`` 0 with ``mean`` c is a
    constant initialisation. ``short`` is the ``~ N(0, V)`` form, which the NTK reads in the NTK parametrization.
    """

    ref: Ref
    domain: Domain
    rows: Space | None
    cols: Space | None
    multiplier: sp.Expr
    mean: sp.Expr
    variance: sp.Expr
    rate: sp.Expr
    short: bool = True
    frozen: bool = False
    finite_first: bool = False
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Data:
    """An input: a Scalar family given per sample.

    ``input x[p] : [c]`` is ``x[p, j]``; the last ``finite_axes`` indices are axes.
    ``sizes`` say by what names the extents of its indices are set.
    """

    ref: Ref
    domain: Domain
    finite_axes: int = 0
    span: Span = field(default=NOWHERE, compare=False)
    sizes: Sizes = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class MatMul:
    """``out = W x``, or ``Wᵀ x`` when ``transpose`` is set. The only instruction that uses a random matrix.

    Limit: Z^out = Ẑ^out + Ż^out.
    """

    out: Ref
    W: Ref
    x: Ref
    transpose: bool
    space: Space  # of out
    domain: Domain = ()
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Nonlin:
    """``out = expr`` coordinatewise, over vectors of one space and scalars; ``space`` None: a scalar of scalars.

    Limit: Z^out = expr(Z…; θ…).
    """

    out: Ref
    expr: sp.Expr
    space: Space | None
    domain: Domain = ()
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Moment:
    """``out = coeff · (1/n_s) Σ_α expr_α``: an average over the width of ``space``.

    ``avg(e)`` has coeff 1; ``u @ w`` and ``dot(u, w)`` have coeff n_s; a factor outside stays in ``coeff``.
    Limit: coeff · E[expr] when that is Θ(1).
    """

    out: Ref
    expr: sp.Expr
    space: Space
    coeff: sp.Expr = sp.S.One
    domain: Domain = ()
    span: Span = field(default=NOWHERE, compare=False)


class Outer(sp.Expr):
    """``u ⊗ v``: the entry u_α v_β of an outer product; it stands in the ``entry`` of an :class:`OuterNonlin`."""

    is_real = True
    is_commutative = True

    def __new__(cls, u: Ref, v: Ref) -> Outer:
        return sp.Expr.__new__(cls, u, v)

    def _sympystr(self, printer: Any) -> str:
        u, v = map(printer._print, self.args)
        return f"({u} ⊗ {v})"


@dataclass(frozen=True, slots=True)
class OuterNonlin:
    """``out_α = (1/n_over) Σ_β entry_αβ x_β``; summed over the rows α of the entry instead when ``transpose`` is set.

    ``entry`` is a function of outer products (:class:`Outer`), the same for every entry of a matrix rows × cols: what an
    entrywise optimizer makes of gradients. Limit: Z^out = E_β[entry(z; Z_β) Z^x_β] at z = Z_α, over a copy of the vectors
    of the other space independent of those of this one.
    Source: Yang & Littwin 2023, *Tensor Programs IVb*, Definition 2.6.1 (OuterNonlin, of one summed coordinate).
    """

    out: Ref
    entry: sp.Expr
    x: Ref
    transpose: bool
    space: Space  # of out
    over: Space  # of x
    domain: Domain = ()
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Loop:
    """``body`` once for every value of ``range.index``, upwards (downwards when ``reverse``)."""

    range: Range
    body: tuple[Instruction, ...]
    reverse: bool = False


Plain = MatMul | Nonlin | Moment
"""What a network's own program consists of; an OuterNonlin comes from training."""
Simple = Plain | OuterNonlin
Instruction = Simple | Loop


@dataclass(frozen=True, slots=True)
class Program:
    """Spaces, initial data and instructions.

    ``boundary[name]`` gives, per index slot of a family, what an index outside its range means (``None``: not
    allowed; ``"zero"``, ``"circular"``, ``"reflect"``, ``"valid"``), with the slot's (lo, hi).
    ``constants`` are the named lets that were left symbolic; ``tables`` the constant tables by name.
    ``outputs`` are the scalars (families) the network returns. ``temps`` are the names lowering introduced.
    """

    name: str
    spaces: tuple[Space, ...]
    data: tuple[Data, ...]
    weights: tuple[Weight, ...]
    body: tuple[Instruction, ...]
    outputs: tuple[Ref, ...]
    boundary: dict[str, tuple[tuple[str | None, sp.Expr, sp.Expr], ...]] = field(default_factory=dict)
    constants: tuple[sp.Symbol, ...] = ()
    tables: dict[str, Any] = field(default_factory=dict)
    temps: frozenset[str] = frozenset()
    training: Any = None

    def __str__(self) -> str:
        from tp.program.listing import listing

        return listing(self).rstrip()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from tp.faces.notebook import program_html

        return program_html(self)


class Softmax(sp.Expr):
    """``softmax(a[t,s] over s in lo..hi)``: exp(at) / Σ_{bound=lo..hi} exp(body), a function of Scalars.

    ``args = (at, body, bound, lo, hi)``: the logit at the index in question, the same logit as a function of the
    bound index, and that index's range. Evaluate it by subtracting the largest logit first.
    """

    is_real = True
    is_commutative = True

    def __new__(cls, at: sp.Expr, body: sp.Expr, bound: sp.Symbol, lo: Any, hi: Any) -> Softmax:
        return sp.Expr.__new__(cls, *map(_as_expr, (at, body, bound, lo, hi)))

    @property
    def free_symbols(self) -> set[sp.Basic]:
        at, body, bound, lo, hi = self.args
        return at.free_symbols | (body.free_symbols - {bound}) | lo.free_symbols | hi.free_symbols

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr | None:
        at, body, bound, lo, hi = self.args
        if old == bound:  # the bound index is not free
            return Softmax(at._subs(old, new), body, bound, lo, hi)
        if bound in new.free_symbols and old.free_symbols & body.free_symbols:  # nor is it what is put in
            (other,) = _apart({bound}, self.atoms(sp.Symbol) | new.free_symbols).values()
            return Softmax(at, body.xreplace({bound: other}), other, lo, hi)._subs(old, new)
        return None

    def _sympystr(self, printer: Any) -> str:
        at, _, bound, lo, hi = self.args
        return f"softmax({printer._print(at)} over {bound} in {lo}..{hi})"
