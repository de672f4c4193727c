"""Formulas over tables: what the kernel compiler works on between the limit's equations and generated code.

A :class:`Table` holds one number per index point (and per sample, or pair of samples); a :class:`Formula` gives the
numbers of a table from :class:`Cell` reads of others. Beyond an axis with a ``zero`` boundary lies one more
slot, so that reading out of range is reading that slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import isinf
from typing import Any

import sympy as sp

from tp.kernel.indices import integer, points
from tp.kernel.plan import Axis as Axis
from tp.program.affine import affine, highest, lowest
from tp.program.ir import Domain, Range

U, V = sp.Symbol("_u", real=True), sp.Symbol("_v", real=True)
"""The variables of every expectation in a formula."""


class _Node(sp.Expr):
    is_real = True
    is_commutative = True
    is_number = False


class Cell(_Node):
    """``table[index](side)``; side ``i`` or ``j``: one sample, ``ij``: a pair, ``s``: the sample at hand, ``-``: none."""

    def __new__(cls, table: str | sp.Symbol, side: str | sp.Symbol, *index: sp.Expr) -> Cell:
        head = table if isinstance(table, sp.Symbol) else sp.Symbol(table)
        mark = side if isinstance(side, sp.Symbol) else sp.Symbol(side)
        return sp.Expr.__new__(cls, head, mark, *map(_expr, index))

    table = property(lambda self: self.args[0].name)
    side = property(lambda self: self.args[1].name)
    index = property(lambda self: self.args[2:])

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return set().union(*(e.free_symbols for e in self.args[2:]))

    def _sympystr(self, printer: object) -> str:
        return f"{self.table}[{', '.join(map(str, self.index))}]{self.side}"


def _expr(value: sp.Expr | int) -> sp.Expr:
    return value if isinstance(value, sp.Expr) else sp.Integer(value)


class Spot(_Node):
    """An index of a family's slot, for comparing members: equal addresses are one member. ``args = (index, lo, hi, mode)``."""

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return self.args[0].free_symbols


class Same(_Node):
    """``then`` where all pairs of spots coincide and the two samples are one, else ``other``: decided by index.

    ``args = (Tuple(Tuple(spot, spot), …), then, other)``.
    """

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return set().union(*(a.free_symbols for a in self.args))


class Over(_Node):
    """A reduction of ``body`` as ``bound`` runs over lo..hi; ``args = (body, bound, lo, hi)``."""

    body = property(lambda self: self.args[0])

    @property
    def range(self) -> Range:
        return Range(*self.args[1:])

    @property
    def free_symbols(self) -> set[sp.Basic]:
        body, bound, lo, hi = self.args
        return (body.free_symbols - {bound}) | lo.free_symbols | hi.free_symbols


class Total(Over):
    """The sum. Unlike SymPy's, nested ones stay nested."""


class Largest(Over):
    """The largest value."""


@dataclass(frozen=True, slots=True)
class Table:
    """``role``: local (computed), site (per sample, computed before), gram, data (inputs), const (given), out."""

    name: str
    axes: tuple[Axis, ...]
    role: str = "local"


@dataclass(frozen=True, slots=True)
class Formula:
    """``table[index] = rhs`` for all of ``domain``."""

    table: str
    index: tuple[sp.Expr, ...]
    domain: Domain
    rhs: sp.Expr


@cache
def shape(expr: sp.Basic) -> str:
    """How ``expr`` looks when numbers are blotted out (exponents stay): what generated text is ordered by."""
    if isinstance(expr, sp.Number):
        return "#"
    if not expr.args:
        return str(expr)
    if isinstance(expr, sp.Pow):
        return f"Pow({shape(expr.base)},{expr.exp if expr.exp.is_number else shape(expr.exp)})"
    parts = [shape(a) if isinstance(a, sp.Basic) else str(a) for a in expr.args]
    if isinstance(expr, (sp.Add, sp.Mul)):
        parts.sort()
    return f"{type(expr).__name__}({','.join(parts)})"


def ordered(expr: sp.Basic) -> tuple[sp.Basic, ...]:
    """The arguments of ``expr``; those of sums and products in an order that numbers do not influence."""
    if isinstance(expr, (sp.Add, sp.Mul)):
        return tuple(sorted(expr.args, key=shape))
    return tuple(a for a in expr.args if isinstance(a, sp.Basic))


def parts(expr: sp.Basic, *kinds: type) -> list[Any]:
    """All parts of ``expr`` of these kinds, each once, in the order of :func:`ordered`."""
    found: dict[sp.Basic, None] = {}
    stack = [expr]
    while stack:
        e = stack.pop()
        if isinstance(e, kinds):
            found[e] = None
        stack.extend(reversed(ordered(e)))
    return list(found)


def outermost(expr: sp.Basic, kind: type) -> list[Any]:
    """The parts of a kind that lie in no other such part."""
    if isinstance(expr, kind):
        return [expr]
    return [found for a in ordered(expr) for found in outermost(a, kind)]


def cells(e: sp.Expr, ranges: Domain) -> Iterator[tuple[Cell, Domain]]:
    """Every cell in ``e`` with the ranges in force where it stands: ``ranges`` and those of the sums around it."""
    if isinstance(e, Cell):
        yield e, ranges
        return
    if isinstance(e, Over):
        ranges = (*ranges, e.range)
    for a in e.args:
        if isinstance(a, sp.Basic):
            yield from cells(a, ranges)


def hull(range_: Range, outer: Domain) -> tuple[int, int]:
    """The least and the greatest value of an index, whatever the outer ones are."""
    lo, hi = least(range_.lo, outer), greatest(range_.hi, outer)
    if isinf(lo) or isinf(hi):  # not affine: look at all values of the outer indices
        ends = [(integer(range_.lo, at), integer(range_.hi, at)) for at in points(outer, {})]
        lo, hi = min(e[0] for e in ends), max(e[1] for e in ends)
    return int(lo), int(hi)


def least(expr: sp.Expr, ranges: Domain) -> float:
    """A lower bound of an index expression over ranges, outermost first; -inf where none is known."""
    return _end(expr, ranges, -1)


def greatest(expr: sp.Expr, ranges: Domain) -> float:
    """An upper bound of an index expression over ranges; inf where none is known."""
    return _end(expr, ranges, 1)


def _end(expr: sp.Expr, ranges: Domain, sign: int) -> float:
    if isinstance(expr, (sp.Max, sp.Min)):
        ends = [_end(a, ranges, sign) for a in expr.args]
        return max(ends) if isinstance(expr, sp.Max) else min(ends)
    form = affine(expr)
    if form is None:
        return sign * float("inf")
    return highest(form, ranges) if sign > 0 else lowest(form, ranges)


__all__ = [
    "Axis",
    "Cell",
    "Formula",
    "Largest",
    "Over",
    "Same",
    "Spot",
    "Table",
    "Total",
    "U",
    "V",
    "greatest",
    "hull",
    "least",
    "ordered",
    "outermost",
    "parts",
    "shape",
]
