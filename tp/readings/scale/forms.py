"""Exponents as linear forms: ``1 - w_v - u_W``, and sums of them that are written out only when somebody asks.

Evaluating a program adds exponents a hundred thousand times and looks at a few of the sums. A *node* is therefore the
number of a leaf, a pair (a, b) for a + b, or a triple (a, b, k) for a + k b; the value at hand is kept beside it as an integer
over a common denominator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import Any

DEPTH = "L·"  # marks an unknown that is an exponent of the depth; alone, the exponent 1 of the depth itself

Node = Any  # int | tuple[Node, Node] | tuple[Node, Node, Fraction]; recursive, and much too hot for a class


@dataclass(frozen=True, slots=True)
class Form:
    """``const + Σ coefficient · unknown``, exact."""

    const: Fraction = Fraction(0)
    terms: tuple[tuple[str, Fraction], ...] = ()

    def at(self, point: Mapping[str, Fraction]) -> Fraction:
        """The value where the unknowns are ``point``."""
        return self.const + sum((c * point[u] for u, c in self.terms), Fraction(0))

    def plus(self, other: Form, times: Fraction = Fraction(1)) -> Form:
        """self + times · other."""
        terms = dict(self.terms)
        for unknown, c in other.terms:
            terms[unknown] = terms.get(unknown, Fraction(0)) + times * c
        kept = tuple(sorted((u, c) for u, c in terms.items() if c))
        return Form(self.const + times * other.const, kept)

    def coefficient(self, unknown: str) -> Fraction:
        return dict(self.terms).get(unknown, Fraction(0))

    def width(self) -> Form:
        """The part that is an exponent of the width."""
        return Form(self.const, tuple((u, c) for u, c in self.terms if not u.startswith(DEPTH)))

    def depth(self) -> Form:
        """The part that is an exponent of the depth, in unknowns of its own."""
        own = {u.removeprefix(DEPTH): c for u, c in self.terms if u.startswith(DEPTH)}
        const = own.pop("", Fraction(0))
        return Form(const, tuple(sorted(own.items())))

    def deepened(self) -> Form:
        """The same form as an exponent of the depth."""
        const = ((DEPTH, self.const),) if self.const else ()
        return Form(Fraction(0), tuple(sorted((*const, *((DEPTH + u, c) for u, c in self.terms)))))

    def __str__(self) -> str:
        parts = [str(self.const)] if self.const or not self.terms else []
        for unknown, c in self.terms:
            size = "" if abs(c) == 1 else f"{abs(c)}·"
            sign = "-" if c < 0 else "+"
            parts.append(f"{sign} {size}{unknown}" if parts else f"{'-' if c < 0 else ''}{size}{unknown}")
        return " ".join(parts)


def unknown(name: str, times: int | Fraction = 1) -> Form:
    """``times · name``."""
    return Form(Fraction(0), ((name, Fraction(times)),))


@dataclass
class Leaves:
    """The forms that nodes are made of, each with a number; leaf 0 is the form 0."""

    forms: list[Form] = field(default_factory=lambda: [Form()])
    index: dict[Form, int] = field(default_factory=lambda: {Form(): 0})

    def leaf(self, form: Form) -> int:
        """The number of ``form``."""
        if form not in self.index:
            self.index[form] = len(self.forms)
            self.forms.append(form)
        return self.index[form]

    def scaled(self, point: Mapping[str, Fraction]) -> tuple[int, list[int]]:
        """A common denominator, and the values of all leaves in units of its inverse."""
        values = [f.at(point) for f in self.forms]
        unit = 2 * lcm(*(v.denominator for v in values))
        return unit, [int(v * unit) for v in values]

    def written(self, node: Node) -> Form:
        """The form that a node stands for: how often each leaf is in it, from the top down."""
        leaves: dict[int, Fraction] = {}
        times = {id(node): Fraction(1)}
        for top in reversed(_below(node)):
            here = times[id(top)]
            for n, c in zip(top[:2], (here, here * top[2] if len(top) == 3 else here), strict=True):
                if isinstance(n, int):
                    leaves[n] = leaves.get(n, Fraction(0)) + c
                else:
                    times[id(n)] = times.get(id(n), Fraction(0)) + c
        if isinstance(node, int):
            return self.forms[node]
        const, terms = Fraction(0), dict[str, Fraction]()
        for n, c in leaves.items():
            const += c * self.forms[n].const
            for unknown, x in self.forms[n].terms:
                terms[unknown] = terms.get(unknown, Fraction(0)) + c * x
        return Form(const, tuple(sorted((u, c) for u, c in terms.items() if c)))


def _below(node: Node) -> list[Node]:
    """A node and those it is made of, but for leaves, each after all that it is made of."""
    order, seen, stack = [], set(), [(node, False)]
    while stack:
        top, done = stack.pop()
        if done:
            order.append(top)
        elif not isinstance(top, int) and id(top) not in seen:
            seen.add(id(top))
            stack += [(top, True), *((n, False) for n in top[:2])]
    return order
