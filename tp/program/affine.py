"""Index arithmetic: integer-affine expressions and the bounds they have over ranges.

Scheduling and checking ask one question again and again: how small, how large can ``s - t + 1`` be when ``t in 1..T``
and ``s in 1..t``? The answer is found by replacing indices, innermost first, by the end of their range that the sign of
their coefficient asks for. Symbolic constants (``T``) are taken to be integers ≥ 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from tp.program.ir import Range


@dataclass(frozen=True, slots=True)
class Affine:
    """``const + Σ coefficient · symbol`` with integer coefficients, none of them zero."""

    const: int
    terms: tuple[tuple[sp.Symbol, int], ...] = ()

    def coefficient(self, symbol: sp.Symbol) -> int:
        return next((c for s, c in self.terms if s == symbol), 0)

    @property
    def symbols(self) -> frozenset[sp.Symbol]:
        return frozenset(s for s, _ in self.terms)

    def __add__(self, other: Affine) -> Affine:
        return _combine(self, other, 1)

    def __sub__(self, other: Affine) -> Affine:
        return _combine(self, other, -1)

    def replace(self, symbol: sp.Symbol, by: Affine) -> Affine:
        """``symbol := by``."""
        c = self.coefficient(symbol)
        if not c:
            return self
        rest = Affine(self.const, tuple(term for term in self.terms if term[0] != symbol))
        return _combine(rest, by, c)

    def rename(self, names: Mapping[sp.Symbol, sp.Symbol]) -> Affine:
        return Affine(self.const, _terms({names.get(s, s): c for s, c in self.terms}))

    def at(self, values: Mapping[sp.Symbol, int]) -> int:
        """The number it is at ``values``, which must name all its symbols."""
        return self.const + sum(c * values[s] for s, c in self.terms)

    def expr(self) -> sp.Expr:
        return sp.Add(self.const, *(c * s for s, c in self.terms))


def _terms(coefficients: Mapping[sp.Symbol, int]) -> tuple[tuple[sp.Symbol, int], ...]:
    return tuple(sorted(((s, c) for s, c in coefficients.items() if c), key=lambda term: str(term[0])))


def _combine(a: Affine, b: Affine, factor: int) -> Affine:
    if not b.terms:
        return Affine(a.const + factor * b.const, a.terms)
    total = dict(a.terms)
    for s, c in b.terms:
        total[s] = total.get(s, 0) + factor * c
    return Affine(a.const + factor * b.const, _terms(total))


def affine(expr: sp.Expr) -> Affine | None:
    """``expr`` as an :class:`Affine`; None when it is not one (``t^2``, ``max(1, t)``, ``t/2``)."""
    if isinstance(expr, sp.Integer):
        return Affine(int(expr))
    if isinstance(expr, sp.Symbol):
        return Affine(0, ((expr, 1),))
    const, coefficients = 0, {}
    for term, c in expr.as_coefficients_dict().items():
        if not c.is_Integer:
            return None
        if term == 1:
            const = int(c)
        elif isinstance(term, sp.Symbol):
            coefficients[term] = int(c)
        elif isinstance(term, sp.Mul):  # 2*(l - 1), left unexpanded
            return affine(expanded) if (expanded := sp.expand(expr)) != expr else None
        else:
            return None
    return Affine(const, _terms(coefficients))


def highest(a: Affine, ranges: Sequence[Range]) -> float:
    """An upper bound of ``a`` over ``ranges`` (outermost first; a range may use the indices before it), or inf."""
    return min((_largest(b) for b in _ends(a, ranges, 1)), default=math.inf)


def lowest(a: Affine, ranges: Sequence[Range]) -> float:
    """A lower bound of ``a`` over ``ranges``, or -inf."""
    return max((-_largest(_combine(Affine(0), b, -1)) for b in _ends(a, ranges, -1)), default=-math.inf)


def extremes(a: Affine, ranges: Sequence[Range]) -> tuple[Affine, Affine] | None:
    """The least and the greatest value of ``a`` over ``ranges`` with affine ends, free of the ranges' indices."""
    low = high = a
    for r in reversed(ranges):
        lo, hi = affine(r.lo), affine(r.hi)
        if low.coefficient(r.index) or high.coefficient(r.index):
            if lo is None or hi is None:
                return None
            low = low.replace(r.index, lo if low.coefficient(r.index) > 0 else hi)
            high = high.replace(r.index, hi if high.coefficient(r.index) > 0 else lo)
    return low, high


def _largest(a: Affine) -> float:
    """The supremum of ``a`` when its symbols are only known to be ≥ 1."""
    return math.inf if any(c > 0 for _, c in a.terms) else a.const + sum(c for _, c in a.terms)


def _ends(a: Affine, ranges: Sequence[Range], sign: int) -> Iterator[Affine]:
    """Bounds of ``a`` free of the ranges' indices; each is valid: upper ones for sign 1, lower ones for sign -1."""
    if not ranges:
        yield a
        return
    last, outer = ranges[-1], ranges[:-1]
    c = a.coefficient(last.index)
    if not c:
        yield from _ends(a, outer, sign)
        return
    for end in _limits(last, c * sign):
        yield from _ends(a.replace(last.index, end), outer, sign)


def _limits(r: Range, sign: int) -> Iterator[Affine]:
    """Upper (sign > 0) or lower limits of an index: every argument of ``min(…)`` bounds from above, of ``max(…)`` from below."""
    end, several = (r.hi, sp.Min) if sign > 0 else (r.lo, sp.Max)
    for one in end.args if isinstance(end, several) else (end,):
        if (limit := affine(one)) is not None:
            yield limit
