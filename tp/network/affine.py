"""Index arithmetic: what the bounds and indices of a spec are worth, exactly.

An index expression is affine: a whole number plus whole multiples of indices and of constants that were left symbolic.
Over ranges (whose bounds are affine in outer indices) its extremes are found by replacing indices, innermost first,
by the end of their range that the sign of their coefficient asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from tp.network.tree import Binary, Expr, Name, Neg, Num


@dataclass(frozen=True, slots=True)
class Affine:
    """``const + Σ coefficient · name``; no coefficient is zero."""

    const: Fraction
    terms: tuple[tuple[str, Fraction], ...] = ()

    def of(self, name: str) -> Fraction:
        """The coefficient of ``name``."""
        return next((c for n, c in self.terms if n == name), Fraction(0))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(n for n, _ in self.terms)

    @property
    def whole(self) -> bool:
        """Whether all its coefficients are whole numbers."""
        return self.const.denominator == 1 and all(c.denominator == 1 for _, c in self.terms)

    def __add__(self, other: Affine) -> Affine:
        return self.plus(other, Fraction(1))

    def __sub__(self, other: Affine) -> Affine:
        return self.plus(other, Fraction(-1))

    def plus(self, other: Affine, factor: Fraction) -> Affine:
        """``self + factor · other``."""
        terms = dict(self.terms)
        for name, c in other.terms:
            terms[name] = terms.get(name, Fraction(0)) + factor * c
        return Affine(self.const + factor * other.const, tuple((n, c) for n, c in sorted(terms.items()) if c))

    def without(self, name: str) -> Affine:
        return Affine(self.const, tuple(t for t in self.terms if t[0] != name))

    def put(self, name: str, value: Affine) -> Affine:
        """``name := value``."""
        c = self.of(name)
        return self.without(name).plus(value, c) if c else self

    def at(self, values: Mapping[str, int]) -> Affine:
        """With the names in ``values`` replaced by numbers."""
        const = self.const + sum(c * values[n] for n, c in self.terms if n in values)
        return Affine(Fraction(const), tuple(t for t in self.terms if t[0] not in values))

    def value(self, values: Mapping[str, int]) -> int:
        """The whole number it is where all its names have values."""
        return int(self.const) + sum(int(c) * values[n] for n, c in self.terms)

    def expr(self) -> Expr:
        """As a tree, ``T - 1``."""
        e: Expr | None = None
        for name, c in self.terms:
            term: Expr = Name(name) if abs(c) == 1 else Binary("*", _num(abs(c)), Name(name))
            e = (term if c > 0 else Neg(term)) if e is None else Binary("+" if c > 0 else "-", e, term)
        if e is None:
            return Neg(_num(-self.const)) if self.const < 0 else _num(self.const)
        if self.const:
            e = Binary("+" if self.const > 0 else "-", e, _num(abs(self.const)))
        return e


def _num(value: Fraction) -> Expr:
    return Num(value, str(value.numerator)) if value.denominator == 1 else Num(value)


def constant(value: int | Fraction) -> Affine:
    """The number ``value``."""
    return Affine(Fraction(value))


def affine(e: Expr, value: Callable[[str], Fraction | None]) -> Affine | None:
    """``e`` as an affine form, where ``value`` knows the constants; None when it is not affine."""
    match e:
        case Num(number):
            return Affine(number)
        case Name(name, ()):
            known = value(name)
            return Affine(Fraction(0), ((name, Fraction(1)),)) if known is None else Affine(known)
        case Neg(arg):
            inner = affine(arg, value)
            return None if inner is None else constant(0) - inner
        case Binary(op, left, right) if op in "+-*/^":
            a, b = affine(left, value), affine(right, value)
            return None if a is None or b is None else _combine(op, a, b)
        case _:
            return None


def _combine(op: str, a: Affine, b: Affine) -> Affine | None:
    if op in "+-":
        return a + b if op == "+" else a - b
    if op == "*" and not a.terms:
        a, b = b, a
    if b.terms:
        return None
    if op == "*":
        return constant(0).plus(a, b.const)
    if op == "/":
        return constant(0).plus(a, 1 / b.const) if b.const else None
    power = b.const
    if a.terms or power.denominator != 1 or not 0 <= power <= 64 or a.const.numerator.bit_length() > 64:
        return None
    return constant(a.const ** int(power))


# ---------------------------------------------------------------- domains


@dataclass(frozen=True, slots=True)
class Span1:
    """``name in lo..hi``, the bounds affine in outer names."""

    name: str
    lo: Affine
    hi: Affine

    def at(self, values: Mapping[str, int]) -> Span1:
        return Span1(self.name, self.lo.at(values), self.hi.at(values))


Box = Sequence[Span1]
"""Ranges, outer ones first."""


def extreme(e: Affine, box: Box, sign: int) -> Affine:
    """The largest (``sign`` 1) or smallest (``sign`` -1) value of ``e`` over ``box``."""
    for r in reversed(box):
        c = e.of(r.name)
        if c:
            e = e.put(r.name, r.hi if c * sign > 0 else r.lo)
    return e


def size(box: Box) -> int:
    """How many points ``box`` has at most; its bounds must be numbers and outer names."""
    total = 1
    for i, r in enumerate(box):
        total *= max(0, int(extreme(r.hi - r.lo, box[:i], 1).const) + 1)
    return total


def points(box: Box, pick: Callable[[str, int, int], Sequence[int]]) -> Iterator[dict[str, int]]:
    """Points of ``box``: per range the values that ``pick`` chooses between its ends."""
    if not any(r.lo.terms or r.hi.terms for r in box):
        names = [r.name for r in box]
        for values in product(*(pick(r.name, int(r.lo.const), int(r.hi.const)) for r in box)):
            yield dict(zip(names, values, strict=True))
        return
    head, rest = box[0], box[1:]
    lo, hi = int(head.lo.const), int(head.hi.const)
    for value in pick(head.name, lo, hi):
        inner = [r.at({head.name: value}) for r in rest]
        for point in points(inner, pick):
            yield {head.name: value, **point}
