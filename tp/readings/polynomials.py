"""Polynomials in independent centred Gaussian letters, with rational coefficients: products and expectations, exactly.

A polynomial is a dictionary from monomials to their coefficients; a monomial is the sorted tuple of its letters, ``(1, 1, 4)``
for ξ₁²ξ₄. E ξ₁^{2m} = (2m − 1)!! Var(ξ₁)^m.

Source: Isserlis 1918 (Wick's theorem for independent letters).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby

Monomial = tuple[int, ...]
Poly = Mapping[Monomial, Fraction]

ZERO: Poly = {}


@dataclass
class Algebra:
    """The letters' variances, and what may be spent: ``budget`` products of terms, numbers of at most ``bits`` bits."""

    budget: int
    bits: int = 20_000
    variances: list[Fraction] = field(default_factory=list)
    spent: int = 0

    def letter(self, variance: Fraction) -> Poly:
        """A new one."""
        self.variances.append(variance)
        return {(len(self.variances) - 1,): Fraction(1)}

    def spend(self, products: int) -> None:
        """Raise ``Exploded`` where ``products`` more are too many."""
        self.spent += products
        if self.spent > self.budget:
            raise Exploded(f"{self.spent:,} products of polynomial terms")

    def product(self, a: Poly, b: Poly) -> Poly:
        self.spend(len(a) * len(b))
        found: dict[Monomial, Fraction] = {}
        for m, c in a.items():
            for k, d in b.items():
                key = tuple(sorted(m + k)) if m and k else m or k
                found[key] = found.get(key, Fraction(0)) + c * d
        return {m: self.small(c) for m, c in found.items() if c}

    def mean(self, a: Poly, b: Poly) -> Fraction:
        """E[a b]."""
        if all(len(m) <= 1 for m in a) and all(len(m) <= 1 for m in b):
            self.spend(len(a))
            total = sum((c * b[m] * self._moment(m + m) for m, c in a.items() if m in b), Fraction(0))
        else:
            self.spend(len(a) * len(b))
            terms = (c * d * self._moment(tuple(sorted(m + k))) for m, c in a.items() for k, d in b.items())
            total = sum((t for t in terms if t), Fraction(0))
        return self.small(total)

    def _moment(self, m: Monomial) -> Fraction:
        found = Fraction(1)
        for letter, powers in groupby(m):
            count = len(list(powers))
            if count % 2:
                return Fraction(0)
            found *= self.variances[letter] ** (count // 2)
            for k in range(1, count, 2):
                found *= k
        return found

    def small(self, value: Fraction) -> Fraction:
        """``value``, if its digits can still be afforded."""
        if value.denominator.bit_length() > self.bits:
            raise Exploded(f"numbers of {int(value.denominator.bit_length() * 0.30103):,} digits")
        return value


class Exploded(Exception):
    """The exact result costs too much; the message says what it takes."""


def constant(c: Fraction) -> Poly:
    return {(): c} if c else ZERO


def add(a: Poly, b: Poly, scale: Fraction = Fraction(1)) -> Poly:
    """a + scale·b."""
    found = dict(a)
    for m, c in b.items():
        total = found.get(m, Fraction(0)) + scale * c
        if total:
            found[m] = total
        else:
            found.pop(m, None)
    return found
