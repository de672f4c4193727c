"""Values within one loop over lanes, and what all functions of a module share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sympy as sp

from tp.gaussian.easy import Easy
from tp.gaussian.expectation import Expectation
from tp.gaussian.lowered import Lowered
from tp.gaussian.numeric import lower
from tp.kernel.cells import Cell, Total, ordered, parts
from tp.kernel.expressions import call_text, condition_text, power_text
from tp.kernel.text import Lines, Numbers

if TYPE_CHECKING:
    from tp.kernel.emit import Emitter


@dataclass
class Library:
    """What all functions of a module share: the numbers, and the primitives that expectations are lowered to."""

    numbers: Numbers = field(default_factory=Numbers)
    sources: dict[str, str] = field(default_factory=dict)
    lowered: dict[tuple[Expectation, ...], Lowered] = field(default_factory=dict)
    ends: dict[tuple[str, int, str], str] = field(default_factory=dict)

    def lower(self, group: tuple[Expectation, ...]) -> Lowered:
        if group not in self.lowered:
            found = self.lowered[group] = lower(*group)
            self.sources |= dict(found.sources)
        return self.lowered[group]

    def end(self, table: str, axis: int, which: str, value: int) -> str:
        """A table's first or last index, or number of slots, as a parameter."""
        key = (table, axis, which)
        if key not in self.ends:
            self.ends[key] = self.numbers.integer(value)
        return self.ends[key]


@dataclass(frozen=True, slots=True)
class EasyCall:
    """A call of an easy form: its text, its arguments, and the variable that holds its margin."""

    form: Easy
    text: str
    args: tuple[str, ...]
    margin: str

    @property
    def correlation(self) -> str:
        _, w1, c, _, w2 = self.args[:5]
        return f"{c} * ({w1} * {w2})"

    def near(self, angle: str) -> str:
        """The call of the form near an angle."""
        return f"{self.form.near}({', '.join([*self.args[:5], angle, *self.args[5:]])})"


class Lane:
    """Values within one loop over lanes. What does not vary over lanes is computed before it."""

    def __init__(self, emitter: Emitter, lines: Lines, scalar: bool = False) -> None:
        self.emitter, self.lines, self.scalar = emitter, lines, scalar
        self.easy: list[EasyCall] = []
        self.written: set[Cell] = set()
        self.memo: dict[sp.Basic, str] = {}

    def value(self, e: sp.Expr) -> str:
        """The name (or text) of a value."""
        numbers = self.emitter.library.numbers
        if e.is_Number or e.is_NumberSymbol:
            return "-1.0" if e == -1 else numbers.real(float(e))
        if e in self.memo:
            return self.memo[e]
        if not self.scalar and not self.emitter.varies(e):
            return self.outside(e)
        text = self.text(e)
        if text.isidentifier() or isinstance(e, sp.Symbol):
            found = text
        else:
            found = self.emitter.fresh("t")
            self.lines.add(f"{found} = {text}")
        self.memo[e] = found
        return found

    def outside(self, e: sp.Expr) -> str:
        found = self.emitter.known(("scalar", e))
        if found is None:
            found = Lane(self.emitter, self.emitter.out, scalar=True).value(e)
            self.emitter.memo[-1]["scalar", e] = found
        return found

    def text(self, e: sp.Expr) -> str:
        emitter, numbers = self.emitter, self.emitter.library.numbers
        match e:
            case Cell():
                return emitter.cell_text(e)
            case Total():
                return " + ".join(self.value(term) for term in emitter.written_out(e))
            case sp.Symbol():
                return emitter.totals[e] if e in emitter.totals else f"float({emitter.index(e)})"
            case sp.Add():
                return " + ".join(self.value(a) for a in ordered(e))
            case sp.Mul():
                return " * ".join(self.value(a) for a in ordered(e))
            case sp.Pow():
                found = emitter.hoisted(e)
                if found is not None:
                    return self.value(found)
                if not e.exp.is_number:
                    return f"{self.value(e.base)} ** {self.value(e.exp)}"
                base = self.value(e.base)
                return power_text(base, e.exp, numbers.real)
            case Expectation():
                return self.expectation(e)
            case sp.KroneckerDelta():
                return f"(1.0 if {emitter.index(e.args[0])} == {emitter.index(e.args[1])} else 0.0)"
            case sp.Piecewise():
                text = "math.nan"
                for branch, condition in reversed(e.args):
                    value = self.value(branch)
                    text = (
                        value if condition == sp.true else f"({value} if {condition_text(condition, emitter.index)} else {text})"
                    )
                return text
        if hasattr(e, "definition"):
            return self.value(e.definition())
        return call_text(e, [self.value(a) for a in ordered(e)])

    def expectation(self, e: Expectation) -> str:
        """One call for all expectations of the nest that share variables and covariance, and whose parameters are known."""
        emitter = self.emitter
        alike = [x for x in dict.fromkeys([*emitter.group, e]) if x.args[1:] == e.args[1:]]
        group = tuple(x for x in alike if x == e or emitter.ahead.isdisjoint(parts(x.integrand, Cell)))
        low = emitter.library.lower(group)
        if emitter.whole_rows and low.sums and not self.scalar and not self.waits(e):
            return self.by_rows(e, group, low)
        if (
            emitter.spreads
            and low.spread
            and not self.scalar
            and not self.waits(e)
            and not any(map(emitter.varies, low.args[1:]))
        ):
            return self.spread(e, group, low)
        coefficients = emitter.coefficients(low, e) if low.sites else None
        if self.scalar and any("[z]" in c for c in coefficients or ()):  # the same for all lanes: it takes no vector of one
            coefficients = None
        names = [emitter.fresh("e") for _ in group]
        if emitter.easy and low.easy is not None and not self.scalar:
            args = [self.value(a) for a in low.easy.args]
            call = f"{low.easy.name}({', '.join(args)})"
            names.append(emitter.fresh("f"))
            self.easy.append(EasyCall(low.easy, call, tuple(args), names[-1]))
        elif coefficients is None:
            call = f"{low.function}({', '.join(self.value(a) for a in low.args)})"
        else:
            call = f"{low.with_sites}({', '.join([*coefficients, *(self.value(a) for a in low.pair_args)])})"
        self.lines.add(f"{', '.join(names)} = {call}")
        self.memo |= dict(zip(group, names, strict=False))
        return self.memo[e]

    def spread(self, e: Expectation, group: tuple[Expectation, ...], low: Lowered) -> str:
        """Integrals for all lanes ahead of this loop: from the variances, kept in a row, to a row a result."""
        emitter = self.emitter
        q, *params = low.args
        row = emitter.rows
        emitter.rows += 1 + len(group)
        ahead = Lines(depth=emitter.out.depth + 1)
        ahead.add(f"acc[{row}, z] = {Lane(emitter, ahead).value(q)}")
        emitter.out.add(emitter.walk)
        emitter.out.lines += ahead.lines
        given = ["acc", emitter.library.numbers.row(row), "b", *map(self.outside, params)]
        emitter.out.add(f"{low.spread}({', '.join(given)})")
        self.memo |= {x: f"acc[{row + k}, z]" for k, x in enumerate(group, 1)}
        return self.memo[e]

    def waits(self, e: Expectation) -> bool:
        """Whether an expectation depends on what this very loop computes."""
        return any(c in self.written for c in parts(sp.Tuple(*e.args[2:]), Cell))

    def by_rows(self, e: Expectation, group: tuple[Expectation, ...], low: Lowered) -> str:
        """Mehler's sums for all lanes ahead of this loop: from the correlations, kept in a row, to two rows of sums."""
        emitter = self.emitter
        q1, c, q2, *params = low.pair_args
        one, two, at = emitter.columns(low, e)
        row = emitter.new_rows(3)
        ahead = Lines(depth=emitter.out.depth + 1)
        inside = Lane(emitter, ahead)
        half = sp.Rational(1, 2)
        ahead.add(f"acc[{row}, z] = {inside.value(sp.Mul(c, q1**-half, q2**-half, evaluate=False))}")
        emitter.out.add(emitter.walk)
        emitter.out.lines += ahead.lines
        emitter.out.add(f"missed += mehler_rows({one}, {two}, {at}, acc, {emitter.library.numbers.row(row)}, b)")
        emitter.flagged = True
        first = emitter.remember(("row", two, 0), f"{two}[0, {at} : {at} + b]", "r")
        names = [emitter.fresh("e") for _ in group]
        values = [f"{one}[0]", f"{first}[z]", self.value(c), f"acc[{row + 1}, z]", f"acc[{row + 2}, z]"]
        self.lines.add(f"{', '.join(names)} = {low.sums}({', '.join([*values, *(self.value(a) for a in params)])})")
        self.memo |= dict(zip(group, names, strict=True))
        return self.memo[e]
