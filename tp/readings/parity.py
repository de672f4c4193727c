"""What changes its sign with a weight, and what does not: averages of odd quantities are 0, exactly.

A matrix or vector of centred Gaussians has the law of its negative. A vector that is odd in it, f(−W) = −f(W), has average 0,
finite or infinite the width; so have products that are odd. At initialization everything is odd in a readout that it is
proportional to: outputs start at 0 where their limit is no random variable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, reduce

from tp.readings.elementwise import TABLE, Elementwise
from tp.readings.indexing import Key
from tp.readings.ops import Call, Const, Op, Power


@dataclass(frozen=True, slots=True)
class Parity:
    """Weights that it is ``odd`` in, and those in which it is ``neither`` odd nor even; it is even in all others."""

    odd: frozenset[Key] = frozenset()
    neither: frozenset[Key] = frozenset()

    @property
    def vanishes(self) -> bool:
        """Whether the average is 0."""
        return bool(self.odd)

    @property
    def even(self) -> bool:
        return not self.odd and not self.neither

    def times(self, other: Parity) -> Parity:
        neither = self.neither | other.neither
        return Parity((self.odd ^ other.odd) - neither, neither)

    def plus(self, other: Parity) -> Parity:
        neither = self.neither | other.neither | (self.odd ^ other.odd)
        return Parity(self.odd - neither, neither)

    def under(self, symmetry: int) -> Parity:
        """Of an odd (−1), an even (1) or any other function (0) of it."""
        if symmetry < 0:
            return self
        return Parity(frozenset(), self.neither | (self.odd if symmetry == 0 else frozenset()))


EVEN = Parity()
_ODD = ("sin", "tan", "tanh", "sinh", "atan", "erf", "sign")
_EVEN = ("cos", "cosh", "Abs", "normal_pdf")
SYMMETRY: Mapping[Elementwise, int] = {TABLE[n]: -1 for n in _ODD} | {TABLE[n]: 1 for n in _EVEN}
"""Functions of one number that are odd or even."""


def product(parts: Iterable[Parity]) -> Parity:
    return reduce(Parity.times, parts, EVEN)


def total(parts: Iterable[Parity]) -> Parity:
    """Of a sum of terms, at least one."""
    return reduce(Parity.plus, parts)


@cache
def vanishing(x: Parity, y: Parity) -> bool:
    """Whether E[x y] = 0."""
    return x.times(y).vanishes


def function_of(op: Op, parts: list[Parity]) -> Parity:
    """Of what is neither a sum nor a product: a power, a function, a maximum, by cases."""
    if isinstance(op, Power) and isinstance(op.exponent, Const):
        exponent = float(op.exponent.number)
        return parts[0].under((-1 if exponent % 2 else 1) if exponent.is_integer() else 0)
    if isinstance(op, Call) and len(parts) == 1:
        return parts[0].under(SYMMETRY.get(op.fn, 0))
    return product(p.under(0) for p in parts)
