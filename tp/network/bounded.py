"""What lies outside: the boundary of an index, and with ``valid`` the ranges cut down to where all is defined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING

from tp.errors import Span
from tp.network import faults
from tp.network.affine import Affine, Span1, constant, extreme
from tp.network.lines import Failed, Line, Read
from tp.network.tree import Index, Name, Range

if TYPE_CHECKING:
    from tp.network.domains import Domains


class Bounded:
    """Boundaries and hulls of the families of ``domains``."""

    def __init__(self, domains: Domains) -> None:
        self.domains = domains
        self._hulls: dict[str, tuple[tuple[Affine, Affine], ...]] = {}

    def modes(self, name: str) -> tuple[str | None, ...]:
        """Per index of a family, what its boundary is: that of the index in the family's first clause."""
        c = self.domains.d.families[name][0]
        declared = (self.domains.d.indices.get(e.name) if isinstance(e, Name) else None for e in c.index)
        return tuple(index.boundary if index else None for index in declared)

    def valid(self, index: str) -> bool:
        return index in self.domains.d.indices and self.domains.d.indices[index].boundary == "valid"

    def hull(self, name: str, by: Span) -> tuple[tuple[Affine, Affine], ...]:
        """Per index of a family, the smallest and the largest value it is defined at."""
        if name not in self._hulls:
            hull = self._hull(name, by)
            if hull is None:
                raise Failed
            if any(c.name == name for c in self.domains.open):  # not yet all of it
                return hull
            self._hulls[name] = hull
        return self._hulls[name]

    def _hull(self, name: str, by: Span) -> tuple[tuple[Affine, Affine], ...] | None:
        """The hull of the clauses that are understood already; None when there is none."""
        clauses = [c for c in self.domains.d.families[name] if not any(c is other for other in self.domains.open)]
        lines = [self.domains.line(c) for c in clauses]
        if any(line is None for line in lines):
            raise Failed
        hulls = [[(extreme(s, line.box, -1), extreme(s, line.box, 1)) for s in line.slots] for line in lines if line]
        if not hulls:
            return None
        return tuple(
            (self.most([h[j][0] for h in hulls], -1, by), self.most([h[j][1] for h in hulls], 1, by))
            for j in range(len(hulls[0]))
        )

    def _known(self, read: Read, j: int, index: str) -> tuple[Affine, Affine] | None:
        """From where to where index ``j`` of what is read goes; None when it goes along with ``index`` of a recursion."""
        name = read.name.name
        if not any(c.name == name for c in self.domains.open):
            return self.hull(name, read.name.span)[j]
        if read.index[j] != Affine(Fraction(0), ((index, Fraction(1)),)):
            raise self.domains.failed(faults.ShrinkingRecursion(read.name.span, index, name))
        hull = self._hull(name, read.name.span)
        return None if hull is None else hull[j]

    def most(self, candidates: Sequence[Affine], sign: int, by: Span) -> Affine:
        """The largest (``sign`` 1) or smallest of them."""
        for a in candidates:
            if all(self.domains.never_negative(constant(0).plus(a - b, Fraction(sign))) for b in candidates):
                return a
        raise self.domains.failed(faults.NeedsValue(by, "which of several ranges ends first"))

    def shrink(self, r: Range, box: Sequence[Span1], reads: Sequence[Read]) -> tuple[Range, tuple[Span1, ...]]:
        """``r`` cut down to where all ``reads`` that depend on it are in range; and the box with it."""
        at = next(i for i, s in enumerate(box) if s.name == r.index)
        lows, highs = [box[at].lo], [box[at].hi]
        for read in reads:
            modes = self.modes(read.name.name) if read.name.name in self.domains.d.families else ()
            for j, (e, mode) in enumerate(zip(read.index, modes, strict=False)):
                if mode == "valid" and e.of(r.index):
                    known = self._known(read, j, r.index)
                    others = [s for s in read.box if s.name != r.index]
                    if known is not None:
                        self._limit(r, extreme(e, others, -1) - known[0], lows, highs)
                        self._limit(r, known[1] - extreme(e, others, 1), lows, highs)
        lo, hi = self.most(lows, 1, r.span), self.most(highs, -1, r.span)
        self.domains.enlarge(hi - lo)
        if not self.domains.never_negative(hi - lo):
            raise self.domains.failed(faults.NothingLeft(r.span, r.index))
        new = tuple(Span1(s.name, lo, hi) if i == at else s for i, s in enumerate(box))
        if lo == box[at].lo and hi == box[at].hi:
            return r, tuple(box)
        return replace(r, lo=lo.expr(), hi=hi.expr()), new

    def _limit(self, r: Range, a: Affine, lows: list[Affine], highs: list[Affine]) -> None:
        """The bound on ``r`` that ``a ≥ 0`` is."""
        c, rest = a.of(r.index), a.without(r.index)
        if not c:
            return
        bound = constant(0).plus(rest, -1 / c)
        if not bound.whole:
            if bound.terms:
                raise self.domains.failed(faults.NeedsValue(r.span, f"the range of `{r.index}`"))
            bound = constant(ceil(bound.const) if c > 0 else floor(bound.const))
        (lows if c > 0 else highs).append(bound)


def symbol_ranges(domains: Domains, lines: Sequence[Line]) -> dict[str, Index]:
    """For families of symbols over indices that are not declared: from where to where each is used."""
    ends: dict[str, tuple[list[Affine], list[Affine]]] = {}
    spans: dict[str, Span] = {}
    for let in domains.d.lets.values():
        for name in let.index:
            if name not in domains.d.indices:
                ends.setdefault(name, ([], []))
                spans.setdefault(name, let.span)
    for line in lines:
        for read in line.reads:
            symbols = domains.d.lets.get(read.name.name)
            for name, e in zip(symbols.index if symbols else (), read.index, strict=False):
                if name in ends:
                    ends[name][0].append(extreme(e, read.box, -1))
                    ends[name][1].append(extreme(e, read.box, 1))
    found: dict[str, Index] = {}
    for name, (lows, highs) in ends.items():
        try:
            lo, hi = (domains.bounded.most(x or [constant(1)], sign, spans[name]) for x, sign in ((lows, -1), (highs, 1)))
        except Failed:
            continue
        found[name] = Index((name,), lo.expr(), hi.expr(), None, spans[name])
    return found
