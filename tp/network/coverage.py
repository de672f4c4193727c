"""Is everything that is read defined, and nothing defined twice?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from tp.errors import Diagnostic
from tp.network import faults
from tp.network.affine import Affine, Box, Span1, constant, extreme, points, size
from tp.network.domains import Domains
from tp.network.lines import Line, Read
from tp.network.names import Clause, Report
from tp.network.references import left_side
from tp.network.show import show
from tp.network.tree import Let, Name

ALL = 4096
"""Boxes with at most so many points are looked at point by point, larger ones at their corners and edges."""

BUDGET, FEW = 500_000, 16
"""After so many points in all, only few are looked at for every read."""


@dataclass(frozen=True, slots=True)
class Region:
    """Where a clause defines its name, at numbers for the symbolic constants."""

    slots: tuple[int | str, ...]  # a number, or the index that stands there
    box: tuple[Span1, ...]
    reach: tuple[tuple[int, int], ...]  # per slot, from where to where
    plain: bool  # whether no range depends on another

    def holds(self, point: Sequence[int]) -> bool:
        values: dict[str, int] = {}
        for slot, (lo, hi), value in zip(self.slots, self.reach, point, strict=True):
            if not lo <= value <= hi:
                return False
            if isinstance(slot, str):
                values[slot] = value
        return self.plain or all(r.lo.value(values) <= values[r.name] <= r.hi.value(values) for r in self.box)


@dataclass(frozen=True, slots=True)
class Family:
    """The regions of one name: single members by their index, and the rest, each with its clause's number."""

    points: Mapping[tuple[int, ...], int]
    regions: tuple[tuple[int, Region], ...]
    hull: tuple[tuple[int, int], ...]
    complete: bool

    def holds(self, point: Sequence[int]) -> bool:
        return tuple(point) in self.points or any(r.holds(point) for _, r in self.regions)


class Coverage:
    """The regions of all families at one choice of the symbolic constants."""

    def __init__(self, domains: Domains, values: Mapping[str, int]) -> None:
        self.domains, self.values = domains, values
        self.d = domains.d
        self.looked = 0
        self.families = {name: self.family(family) for name, family in self.d.families.items()}

    def family(self, clauses: Sequence[Clause]) -> Family:
        lines = [self.domains.line(c) for c in clauses]
        placed = [(i, r) for i, line in enumerate(lines) if line is not None and (r := self.region(line)) is not None]
        points = {tuple(s for s in r.slots if isinstance(s, int)): i for i, r in reversed(placed) if not r.box}
        reach = [r.reach for _, r in placed]
        hull = tuple((min(lo for lo, _ in slot), max(hi for _, hi in slot)) for slot in zip(*reach, strict=True))
        return Family(points, tuple((i, r) for i, r in placed if r.box), hull, None not in lines)

    def put(self, box: Sequence[Span1]) -> list[Span1]:
        """``box`` with numbers for the constants."""
        inside = {s.name for s in box}
        return [Span1(s.name, self.number(s.lo, inside), self.number(s.hi, inside)) for s in box]

    def number(self, a: Affine, keep: set[str]) -> Affine:
        return a.at({n: self.values.get(n, 1) for n in a.names - keep})

    def region(self, line: Line) -> Region | None:
        box = self.put(line.box)
        inside = {s.name for s in box}
        slots = [self.number(s, inside) for s in line.slots]
        if size(box) == 0:
            return None
        reach = tuple((int(extreme(s, box, -1).const), int(extreme(s, box, 1).const)) for s in slots)
        names = tuple(s.terms[0][0] if s.terms else int(s.const) for s in slots)
        return Region(names, tuple(box), reach, not any(r.lo.terms or r.hi.terms for r in box))

    # ------------------------------------------------------------ reads

    def missing(self, read: Read) -> tuple[int, ...] | None:
        """An index that ``read`` reaches and no clause defines."""
        family = self.families[read.name.name]
        free = [mode not in (None, "valid") for mode in self.domains.bounded.modes(read.name.name)]
        for point in self.reached(read, family):
            inside = point
            if any(free) and family.hull:
                inside = [min(max(v, lo), hi) if f else v for v, f, (lo, hi) in zip(point, free, family.hull, strict=True)]
            if not family.holds(inside):
                return tuple(point)
        return None

    def reached(self, read: Read, family: Family) -> Iterator[list[int]]:
        """The indices that ``read`` reaches; of very many, those at corners and beside the ends of regions."""
        box = self.put(read.box)
        index = [self.number(e, {s.name for s in box}) for e in read.index]
        box = _needed(box, index)
        ends = _ends(index, family)

        def some(name: str, lo: int, hi: int) -> Sequence[int]:
            near = {lo, hi, lo + 1, hi - 1, *ends.get(name, ())} if len(box) <= 6 else {lo, hi}
            return sorted(v for v in near if lo <= v <= hi)

        whole = size(box) <= (ALL if self.looked < BUDGET else FEW)
        for values in islice(points(box, _every if whole else some), ALL if self.looked < BUDGET else FEW):
            self.looked += 1
            yield [e.value(values) for e in index]

    def touched(self, read: Read) -> tuple[int, ...]:
        """The numbers of the clauses that ``read`` may reach, by the reach of its indices."""
        family = self.families[read.name.name]
        box = self.put(read.box)
        if size(box) == 0:
            return ()
        inside = {s.name for s in box}
        reach: list[tuple[int, int] | None] = []
        for a, mode in zip(read.index, self.domains.bounded.modes(read.name.name), strict=True):
            e = self.number(a, inside)
            ends = int(extreme(e, box, -1).const), int(extreme(e, box, 1).const)
            reach.append(None if mode in ("circular", "reflect") else ends)
        found = [i for i, r in family.regions if _touch(reach, r.reach)]
        if all(r is not None and r[0] == r[1] for r in reach):
            point = tuple(r[0] for r in reach if r is not None)
            found += [family.points[point]] if point in family.points else []
        else:
            found += [i for point, i in family.points.items() if _touch(reach, [(v, v) for v in point])]
        return tuple(sorted(found))


def _touch(a: Sequence[tuple[int, int] | None], b: Sequence[tuple[int, int]]) -> bool:
    return all(p is None or (p[0] <= q[1] and q[0] <= p[1]) for p, q in zip(a, b, strict=True))


def _every(name: str, lo: int, hi: int) -> Sequence[int]:
    return range(lo, hi + 1)


def _needed(box: Sequence[Span1], index: Sequence[Affine]) -> list[Span1]:
    """The ranges that ``index`` depends on, directly or through bounds."""
    names = set().union(*(e.names for e in index)) if index else set()
    for s in reversed(box):
        if s.name in names:
            names |= s.lo.names | s.hi.names
    kept = [s for s in box if s.name in names]
    return kept if all(extreme(s.hi - s.lo, box[: box.index(s)], 1).const >= 0 for s in box) else [*box]


def _ends(index: Sequence[Affine], family: Family) -> dict[str, set[int]]:
    """Values of the indices near which a read passes an end of a region."""
    out: dict[str, set[int]] = {}
    for j, e in enumerate(index):
        if len(e.terms) == 1 and abs(e.terms[0][1]) == 1:
            ((name, c),) = e.terms
            ends = {end for _, r in family.regions[:50] for end in r.reach[j]} | {p[j] for p in list(family.points)[:50]}
            for end in ends:
                value = int((end - e.const) * c)
                out.setdefault(name, set()).update((value - 1, value, value + 1))
    return out


# ---------------------------------------------------------------- what is said


def check_reads(coverage: Coverage, lines: Sequence[Line], report: Report) -> None:
    """Report reads of what no line defines."""
    for line in lines:
        for read in line.reads:
            if read.name.name in coverage.d.lets:
                _check_table(coverage, read, report)
            elif coverage.families[read.name.name].complete and (point := coverage.missing(read)) is not None:
                report(_out_of_range(coverage, line, read, point))


def _out_of_range(coverage: Coverage, line: Line, read: Read, point: Sequence[int]) -> Diagnostic:
    name = read.name.name
    family = coverage.families[name]
    what, reached = show(read.name), f"{name}[{', '.join(map(str, point))}]"
    reach = f"`{what}` reaches `{reached}`" if what != reached else f"this is `{what}`"
    if not family.hull:
        return faults.IndexOutOfRange(read.name.span, reach, f"the range of `{name}` is empty")
    recursion = _recursion(line, read, family, point)
    if recursion is not None:
        return faults.MissingBase(read.name.span, what, reached, *recursion)
    return faults.IndexOutOfRange(read.name.span, reach, _defined(name, coverage), _hint(coverage, name, point))


def _recursion(line: Line, read: Read, family: Family, point: Sequence[int]) -> tuple[str, str] | None:
    """The index of a recursion whose beginning is missing, and where it could start."""
    if read.name.name != line.clause.name:
        return None
    for j, (e, own) in enumerate(zip(read.index, line.slots, strict=True)):
        step = e - own
        if own.terms and not step.terms and step.const < 0 and point[j] < family.hull[j][0]:
            return own.terms[0][0], str(family.hull[j][0] - int(step.const))
    return None


def _defined(name: str, coverage: Coverage) -> str:
    """Where a family is defined, in words."""
    family = coverage.families[name]
    reaches = sorted({tuple((v, v) for v in p) for p in family.points} | {r.reach for _, r in family.regions})
    if len(reaches) > 4:
        text = f"`{name}` is defined in {len(reaches)} pieces between"
        reaches = [family.hull]
    else:
        text = "only"
    parts = [f"`{name}[{', '.join(str(a) if a == b else f'{a}..{b}' for a, b in reach)}]`" for reach in reaches]
    when = f" (when {', '.join(f'{k} = {v}' for k, v in coverage.values.items())})" if coverage.values else ""
    verb = "" if text != "only" else " is defined" if len(parts) == 1 else " are defined"
    return f"{text} {' and '.join(parts)}{verb}{when}"


def _hint(coverage: Coverage, name: str, point: Sequence[int]) -> str:
    first, hull = coverage.d.families[name][0], coverage.families[name].hull
    for slot, value, (lo, hi) in zip(first.index, point, hull, strict=True):
        if not lo <= value <= hi and isinstance(slot, Name):
            declared = coverage.d.indices.get(slot.name)
            if declared is not None and declared.boundary is None:
                return f"narrow the range, or say what lies outside: `index {slot.name} in … boundary zero`"
            return f"narrow the range of the index, or define `{name}` there"
    return f"define `{name}` there, or narrow the range"


def _check_table(coverage: Coverage, read: Read, report: Report) -> None:
    let: Let = coverage.d.lets[read.name.name]
    box = coverage.put(read.box)
    if size(box) == 0:
        return
    for e, name in zip(read.index, let.index, strict=True):
        declared = coverage.d.indices.get(name)
        if declared is None:
            continue
        a = coverage.number(e, {s.name for s in box})
        lo, hi = (int(coverage.number(coverage.domains.affine(b, {}), set()).const) for b in (declared.lo, declared.hi))
        for value in (int(extreme(a, box, -1).const), int(extreme(a, box, 1).const)):
            if not lo <= value <= hi:
                defined = f"`{name}` runs over {lo}..{hi}"
                reach = f"`{show(read.name)}` reaches `{name} = {value}`"
                report(faults.IndexOutOfRange(read.name.span, reach, defined, "narrow the range"))
                return


def check_overlaps(coverage: Coverage, report: Report) -> None:
    """Report members of a family that two clauses define."""
    for name, clauses in coverage.d.families.items():
        placed: list[tuple[Region, Clause]] = []
        seen: dict[tuple[int, ...], Clause] = {}
        for c in clauses:
            line = coverage.domains.line(c)
            region = coverage.region(line) if line else None
            if region is None:
                continue
            point = tuple(lo for lo, _ in region.reach)
            if not region.box and point in seen:
                _overlap(name, point, seen[point], c, report)
            else:
                placed.append((region, c))
                seen.update({} if region.box else {point: c})
        _sweep(name, placed, report)


def _sweep(name: str, placed: list[tuple[Region, Clause]], report: Report) -> None:
    """Compare regions that overlap in their first index, single members only with the others."""
    active: list[tuple[Region, Clause]] = []
    for region, clause in sorted(placed, key=lambda p: p[0].reach):
        active = [(r, c) for r, c in active if r.reach[0][1] >= region.reach[0][0]]
        for other, c in active:
            if (region.box or other.box) and (point := _meet(region, other)) is not None:
                first, second = sorted((clause, c), key=lambda x: (x.span.line, x.span.column))
                _overlap(name, point, first, second, report)
        active.append((region, clause))


def _overlap(name: str, point: Sequence[int], first: Clause, second: Clause, report: Report) -> None:
    what = f"{name}[{', '.join(map(str, point))}]" if point else name
    hint = (
        "lines that define one name must not overlap: narrow the range of one of them" if point else "give it a name of its own"
    )
    report(faults.ClausesOverlap(left_side(second), what, first.span.line, hint))


def _meet(a: Region, b: Region) -> tuple[int, ...] | None:
    """A point of both regions."""
    cut = [(max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a.reach, b.reach, strict=True)]
    if any(lo > hi for lo, hi in cut):
        return None
    if a.plain and b.plain:
        return tuple(lo for lo, _ in cut)
    box: Box = [Span1(str(j), constant(lo), constant(hi)) for j, (lo, hi) in enumerate(cut)]
    pick = _every if size(box) <= ALL else lambda _, lo, hi: sorted({lo, (lo + hi) // 2, hi})
    for values in islice(points(box, pick), ALL):
        point = [values[str(j)] for j in range(len(cut))]
        if a.holds(point) and b.holds(point):
            return tuple(point)
    return None
