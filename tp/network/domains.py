"""Over which indices does every line run, and what do its reads reach?

Works on numbers and symbols alike: bounds are affine in constants that were left symbolic. Where a decision depends on
such a constant, a few of its possible values stand for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

from tp.errors import Diagnostic
from tp.network import faults, limits
from tp.network.affine import Affine, Span1, affine, constant, size
from tp.network.bounded import Bounded
from tp.network.constants import Number
from tp.network.elaborate import Elaboration
from tp.network.inline import names_in
from tp.network.lines import Failed, Line, Read
from tp.network.names import Clause, Declarations, Report
from tp.network.show import show, tight
from tp.network.tree import Call, Define, Expr, Input, Name, Range, Reduce, Weight
from tp.network.walk import children


class Domains:
    """The lines of a network over their indices."""

    def __init__(
        self, d: Declarations, numbers: Mapping[str, Number], good: Callable[[Clause], tuple[bool, bool]], report: Report
    ) -> None:
        self.d, self.numbers, self.good, self.report = d, numbers, good, report
        self.lines: dict[int, Line | None] = {}
        self.open: list[Clause] = []
        self.lowest: dict[str, int] = {}
        self.names = set().union(*(names_in(e) for s in d.network.statements for e in _parts(s)), d.names())
        self.bounded = Bounded(self)

    # ------------------------------------------------------------ numbers

    def value(self, name: str) -> Fraction | None:
        """The number of a constant, where it has one."""
        number = self.numbers.get(name)
        if isinstance(number, float) and number.is_integer():
            return Fraction(number)
        return number if isinstance(number, Fraction) else None

    def affine(self, e: Expr, names: Mapping[str, str]) -> Affine:
        """An index or bound, with indices renamed by ``names``."""
        a = affine(e, lambda name: self.value(name) if name not in names else None)
        if a is None or (a.terms and not a.whole) or any(isinstance(self.numbers.get(n), float) for n in a.names):
            raise self.failed(faults.BadIndex(e.span, tight(e)))
        if not a.whole:
            hint = "a range has two dots: `1..3`" if tight(e).startswith(".") else ""
            raise self.failed(faults.NotWhole(e.span, tight(e), show(constant(a.const).expr()), hint=hint))
        for old, new in names.items():
            if old != new:
                a = a.put(old, Affine(Fraction(0), ((new, Fraction(1)),)))
        return a

    def failed(self, diagnostic: Diagnostic) -> Failed:
        self.report(diagnostic)
        return Failed()

    def instances(self) -> list[dict[str, int]]:
        """A few values of the constants that were left symbolic and bound a range."""
        low = self.lowest
        if not low:
            return [{}]
        out = [{name: v + k for name, v in low.items()} for k in (0, 1, 2, 7)]
        if len(low) > 1:
            out += [{name: v + (k if i % 2 else 7 - k) for i, (name, v) in enumerate(low.items())} for k in (0, 7)]
        return out

    def never_negative(self, a: Affine) -> bool:
        """Whether ``a``, free of indices, is ≥ 0 for all values of the constants, as far as a few values tell."""
        return all(a.at(self.instance_for(a, v)).const >= 0 for v in self.instances())

    def instance_for(self, a: Affine, values: Mapping[str, int]) -> dict[str, int]:
        """``values`` with the other names of ``a`` at 1."""
        return {**dict.fromkeys(a.names, 1), **values}

    # ------------------------------------------------------------ ranges

    def declared(self, r: Range) -> Range:
        """``r`` with the bounds it was declared with, where it has none of its own."""
        if r.lo is not None or r.index not in self.d.indices:
            return r
        index = self.d.indices[r.index]
        return replace(r, lo=index.lo, hi=index.hi)

    def span1(self, r: Range, outer: Mapping[str, str], new: str | None = None) -> Span1:
        """A range as numbers; empty is allowed, backwards by more is not."""
        assert r.lo is not None and r.hi is not None
        s = Span1(new or r.index, self.affine(r.lo, outer), self.affine(r.hi, outer))
        length = s.hi - s.lo
        if not length.terms:
            if length.const < -1:
                hint = f"ranges go upwards, `{r.index} in {tight(r.hi)}..{tight(r.lo)}`"
                if isinstance(r.hi, Name) and not s.hi.terms:
                    hint = f"`{r.hi.name}` is {s.hi.const}: make it {s.lo.const - 1} or more"
                raise self.failed(faults.BackwardRange(r.span, r.index, tight(r.lo), tight(r.hi), hint))
            if length.const >= limits.RANGE:
                raise self.failed(faults.RangeTooLarge(r.span, f"`{r.index}`", _big(length.const + 1), _big(limits.RANGE)))
        self._bound(s, outer)
        return s

    def _bound(self, s: Span1, outer: Mapping[str, str]) -> None:
        """Take a symbolic constant at the end of a range to be large enough for the range not to be empty."""
        for a in (s.lo, s.hi):
            for name in a.names - set(outer.values()):
                self.lowest.setdefault(name, 1)
        names = s.hi.names - set(outer.values())
        if len(names) == 1 and not s.lo.terms and s.hi.names == names:
            (name,) = names
            if s.hi.of(name) > 0:
                self.enlarge(s.hi - s.lo)

    def enlarge(self, a: Affine) -> None:
        """Take the one symbolic constant in ``a`` to be so large that ``a`` is not negative, if it can be."""
        if len(a.terms) == 1 and a.terms[0][1] > 0 and a.terms[0][0] in self.lowest:
            ((name, c),) = a.terms
            self.lowest[name] = max(self.lowest[name], ceil(-a.const / c))

    def ordered(self, ranges: Sequence[Range]) -> list[Range]:
        """Ranges, each after those its bounds depend on; otherwise in the given order."""
        names = {r.index for r in ranges}
        waiting, done, out = list(ranges), set[str](), []
        while waiting:
            ready = next((r for r in waiting if not (_names(r) & names) - done), None)
            if ready is None:
                raise self.failed(faults.RangeCycle(waiting[0].span, waiting[0].index))
            waiting.remove(ready)
            done.add(ready.index)
            out.append(ready)
        return out

    # ------------------------------------------------------------ lines

    def line(self, c: Clause) -> Line | None:
        """The clause over its indices; None when something is wrong with it."""
        key = id(c)
        if key not in self.lines:
            if not self.good(c)[0]:
                self.lines[key] = None
            else:
                self.open.append(c)
                try:
                    self.lines[key] = self._line(c)
                except Failed:
                    self.lines[key] = None
                finally:
                    self.open.pop()
        return self.lines[key]

    def _line(self, c: Clause) -> Line:
        given = {r.index: r for r in c.ranges}
        free = [e.name for e in c.index if isinstance(e, Name) and (e.name in given or e.name in self.d.indices)]
        whole = {name for name in free if name not in given or given[name].lo is None}
        spans = {e.name: e.span for e in c.index if isinstance(e, Name)}
        ranges = self.ordered([self.declared(given.get(n) or Range(n, span=spans[n])) for n in free])
        box = self.box(ranges, {}, c.name)
        clause: Clause = replace(c, ranges=tuple(ranges))
        reads: tuple[Read, ...] = ()
        sound = self.good(c)[1]
        if isinstance(c, Define) and sound:
            body = Elaboration(self, c).expr(c.body, box, 0)
            reads = tuple(self.reads(body, box))
            for i, r in enumerate(ranges):
                if r.index in whole and self.bounded.valid(r.index):
                    ranges[i], box = self.bounded.shrink(r, box, reads)
                    reads = tuple(self.reads(body, box))
            clause = replace(c, ranges=tuple(ranges), body=body)
        elif isinstance(c, Weight) and sound:
            clause, parts = self._weight(c, box, tuple(ranges))
            reads = tuple(read for e in parts for read in self.reads(e, box))
        slots = tuple(self.affine(e, {r.index: r.index for r in ranges}) for e in c.index)
        return Line(c, clause, tuple(box), slots, reads, sound)

    def _weight(self, c: Weight, box: tuple[Span1, ...], ranges: tuple[Range, ...]) -> tuple[Weight, list[Expr]]:
        """A weight with its constants written out, and these."""

        def write(e: Expr | None) -> Any:
            return None if e is None else Elaboration(self, c).expr(e, box, 0)

        parts = write(c.multiplier), write(c.mean), write(c.variance), write(c.rate)
        written = replace(c, ranges=ranges, multiplier=parts[0], mean=parts[1], variance=parts[2], rate=parts[3])
        return written, [e for e in parts if e is not None]

    def box(self, ranges: Sequence[Range], outer: Mapping[str, str], name: str | None = None) -> tuple[Span1, ...]:
        box: list[Span1] = []
        known = dict(outer)
        for r in ranges:
            box.append(self.span1(r, known))
            known[r.index] = r.index
        if name and not any(s.lo.names | s.hi.names for s in box) and (n := size(box)) > limits.FAMILY:
            raise self.failed(faults.RangeTooLarge(ranges[0].span, f"`{name}`", _big(n), _big(limits.FAMILY)))
        return tuple(box)

    # ------------------------------------------------------------ reads

    def reads(self, e: Expr, box: Sequence[Span1], names: Mapping[str, str] | None = None) -> Iterator[Read]:
        """All families that ``e`` reads, an elaborated expression of a line that runs over ``box``."""
        names = {s.name: s.name for s in box} if names is None else names
        match e:
            case Name(name, index) if name in self.d.families and name not in names:
                yield Read(e, tuple(self.affine(i, names) for i in index), tuple(box))
            case Name(name, index) if index:
                yield Read(e, tuple(self.affine(i, names) for i in index), tuple(box))
            case Reduce(_, body, ranges):
                inner, known = list(box), dict(names)
                for r in ranges:
                    inner.append(self.span1(r, known))
                    known[r.index] = r.index
                yield from self.reads(body, inner, known)
            case Call(_, args, over) if over is not None:
                new = over.index + "'" * (1 + sum(s.name.startswith(over.index + "'") for s in box))
                outer = {k: v for k, v in names.items() if k != over.index}
                inner = [*box, self.span1(over, outer, new)]
                for a in args:
                    yield from self.reads(a, box, names)
                    yield from self.reads(a, inner, {**names, over.index: new})
            case _:
                for child in children(e):
                    yield from self.reads(child, box, names)


def _names(r: Range) -> set[str]:
    return set().union(*(names_in(b) for b in (r.lo, r.hi) if b is not None))


def _parts(s: object) -> Iterator[Expr]:
    if isinstance(s, Define):
        yield s.body
        yield from s.index
        for r in s.ranges:
            yield Name(r.index)
    elif isinstance(s, Input | Weight):
        yield from s.index
        for r in s.ranges:
            yield Name(r.index)


def _big(n: int | Fraction) -> str:
    """A count, readably."""
    return f"{int(n):,}" if n < 10**15 else f"about 10^{len(str(int(n))) - 1}"
