"""Formulas in an executable order, as few loops as possible, and tables no larger than needed.

The order is that of :func:`tp.program.schedule.schedule`. Loops over the same range are then joined where no read runs
ahead, and formulas over the same points are computed together, so that a covariance and its tangent share one
pass and V and V̇ one evaluation. A table that a loop reads only one step back keeps two steps.

Source: Allen & Kennedy 1987, *Automatic translation of Fortran programs to vector form* (loop fusion).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import inf

import sympy as sp

from tp.kernel.cells import Cell, Formula, Over, Table, greatest, least, ordered, parts
from tp.kernel.demand import Plan
from tp.kernel.staged import Unfit
from tp.program.affine import affine
from tp.program.ir import Domain, Range
from tp.program.schedule import Clause, LoopStep, Read, Step, schedule


@dataclass(frozen=True, slots=True)
class Nest:
    """Formulas computed together at every point of ``domain``."""

    domain: Domain
    formulas: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """``body`` for every value of ``range``."""

    range: Range
    body: tuple[Item, ...]
    reverse: bool = False


Item = Nest | Loop


@dataclass
class Code:
    """Items in order. ``rolled[table] = (axis, steps kept)``; ``passing`` are tables that exist only within a nest."""

    items: tuple[Item, ...]
    rolled: dict[str, tuple[int, int]] = field(default_factory=dict)
    passing: frozenset[str] = frozenset()


def order(plan: Plan) -> Code:
    """The plan's formulas as loops and nests."""
    own = {f.table for f in plan.formulas}
    modes = {
        name: tuple((axis.mode, sp.Integer(axis.lo), sp.Integer(axis.hi)) for axis in table.axes)
        for name, table in plan.tables.items()
    }
    clauses = [Clause(f.table, f.index, f.domain, tuple(_reads(f.rhs, own)), f) for f in plan.formulas]
    items = tuple(_item(step) for step in schedule(clauses, modes))
    items = tuple(Joiner(plan.tables).join(list(items)))
    passing = frozenset(_passing(items, plan))
    return Code(items, _rolled(items, plan, passing), passing)


def stage_items(
    formulas: Sequence[Formula], adds: Sequence[Formula], tables: Mapping[str, Table], rows: Rows
) -> tuple[Item, ...]:
    """Formulas of one stage, then what is added from them: first slots as loops, joined where they may be.

    ``rows`` are the loops around (an offset), the index of rows and its range at that offset.
    """
    own = {f.table for f in formulas}
    modes = {n: tuple((a.mode, sp.Integer(a.lo), sp.Integer(a.hi)) for a in t.axes) for n, t in tables.items()}
    clauses = [Clause(f.table, f.index, f.domain, tuple(_reads(f.rhs, own)), f) for f in formulas]
    items = [_item(step) for step in schedule(clauses, modes)]
    if any(isinstance(x, Loop) and x.range.index in (rows.index, rows.lanes) for x in items):
        raise Unfit  # one position after the other, as in recurrence
    items += [Nest(f.domain, (f,)) for f in adds]
    return tuple(Joiner(tables, rows.around).join([_first_slot_as_loop(x, rows) for x in items]))


@dataclass(frozen=True, slots=True)
class Rows:
    """The loops around a stage, and which rows there are at an offset."""

    around: Domain
    index: sp.Symbol
    at: Callable[[Range], Range]
    lanes: sp.Symbol


def _first_slot_as_loop(item: Item, rows: Rows) -> Item:
    if isinstance(item, Loop):
        return replace(item, body=tuple(_first_slot_as_loop(x, rows) for x in item.body))
    if not item.domain or item.domain[0].index == rows.lanes:
        return item
    first, rest = item.domain[0], item.domain[1:]
    here = rows.at(first) if first.index == rows.index and first.lo.is_Integer else first
    return Loop(here, (Nest(rest, tuple(replace(f, domain=rest) for f in item.formulas)),))


def storage(items: tuple[Item, ...], tables: dict[str, Table]) -> Code:
    """Items with what need not be stored whole."""
    plan = Plan(tables=tables)
    passing = frozenset(_passing(items, plan))
    return Code(items, _rolled(items, plan, passing), passing)


def _reads(expr: sp.Expr, own: Container[str], ranges: Domain = ()) -> Iterator[Read]:
    if isinstance(expr, Cell):
        if expr.table in own:
            yield Read(expr.table, expr.index, ranges)
        return
    if isinstance(expr, Over):
        ranges = (*ranges, expr.range)
    for arg in ordered(expr):
        yield from _reads(arg, own, ranges)


def _item(step: Step) -> Item:
    if isinstance(step, LoopStep):
        return Loop(step.range, tuple(_item(s) for s in step.body), step.reverse)
    f: Formula = step.payload
    return Nest(step.domain, (Formula(f.table, step.index, step.domain, f.rhs.xreplace(dict(step.renaming))),))


# ---------------------------------------------------------------- joining


def formulas(item: Item) -> Iterator[Formula]:
    """All formulas of an item."""
    if isinstance(item, Nest):
        yield from item.formulas
    else:
        for inner in item.body:
            yield from formulas(inner)


Interval = tuple[float, float]
Touch = tuple[str, tuple[Interval, ...]]


class Joiner:
    """Joins items that may be computed together. Knows the tables, for what lies beyond their axes."""

    def __init__(self, tables: Mapping[str, Table], around: Domain = ()) -> None:
        self.tables, self.around = tables, around
        self._known: dict[Item, tuple[tuple[Touch, ...], tuple[Touch, ...]]] = {}

    def join(self, items: list[Item]) -> list[Item]:
        """Items with loops and nests over the same range made one, in an order that keeps every dependence."""
        done: list[Item] = []
        left = list(items)
        while left:
            ready = [x for k, x in enumerate(left) if not any(self.depends(x, y) for y in left[:k])]
            leader = next((x for x in ready if isinstance(x, Nest)), ready[0])
            group = [leader]
            left.remove(leader)
            k = 0
            while k < len(left):
                free = not any(self.depends(left[k], y) for y in left[:k])
                one = self.joining(left[k], group) if free else None
                if one is None:
                    k += 1
                else:
                    group.append(one)
                    left.pop(k)
                    k = 0
            done.append(self.merged(group))
        return done

    def merged(self, group: list[Item]) -> Item:
        leader = group[0]
        if isinstance(leader, Nest):
            return Nest(leader.domain, tuple(f for x in group for f in formulas(x)))
        return Loop(leader.range, tuple(self.join([b for x in group if isinstance(x, Loop) for b in x.body])), leader.reverse)

    def joining(self, item: Item, group: list[Item]) -> Item | None:
        """``item`` in the names of the group's leader, when it may be computed together with the group."""
        leader = group[0]
        if isinstance(leader, Nest):
            if not isinstance(item, Nest):
                return None
            one = _in_names(item, leader.domain)
            return one if one is not None and self._alike(one, group) and _same_point(one, group) else None
        if isinstance(item, Nest):
            if not any(self.depends(item, x) for x in group):
                return None
            return next((x for x in _as_loops(item, leader) if _no_later(x, group, leader)), None)
        if not _equal(item.range, leader.range) or item.reverse != leader.reverse:
            return None
        renamed = _renamed_loop(item, leader.range.index)
        return renamed if _no_later(renamed, group, leader) else None

    def _alike(self, item: Item, group: list[Item]) -> bool:
        """What is added to goes by itself: where two samples are one, a point may be computed twice."""
        return len({self.tables[f.table].role == "sum" for x in (item, *group) for f in formulas(x)}) == 1

    def depends(self, later: Item, earlier: Item) -> bool:
        """Whether ``later`` may read, or writes to the same places of, what ``earlier`` writes."""
        written = self.touched(earlier)[1]
        reads, writes = self.touched(later)
        return any(a[0] == b[0] and _overlap(a[1], b[1]) for a in (*reads, *writes) for b in written)

    def touched(self, item: Item) -> tuple[tuple[Touch, ...], tuple[Touch, ...]]:
        """Reads and writes of an item, each with an interval per axis."""
        if item not in self._known:
            reads: dict[Touch, None] = {}
            writes: dict[Touch, None] = {}
            for f, ranges in _in_ranges(item, self.around):
                writes[f.table, tuple((least(e, ranges), greatest(e, ranges)) for e in f.index)] = None
                for r in _reads(f.rhs, self.tables.keys()):
                    reads[str(r.name), self._intervals(r, ranges)] = None
            self._known[item] = tuple(reads), tuple(writes)
        return self._known[item]

    def _intervals(self, read: Read, ranges: Domain) -> tuple[Interval, ...]:
        found = []
        for e, axis in zip(read.index, self.tables[str(read.name)].axes, strict=True):
            lo, hi = least(e, (*ranges, *read.ranges)), greatest(e, (*ranges, *read.ranges))
            elsewhere = axis.mode in ("circular", "reflect") and (lo < axis.lo or hi > axis.hi)
            found.append((-inf, inf) if elsewhere else (lo, hi))
        return tuple(found)


def _in_ranges(item: Item, around: Domain) -> Iterator[tuple[Formula, Domain]]:
    if isinstance(item, Loop):
        for inner in item.body:
            yield from _in_ranges(inner, (*around, item.range))
    else:
        for f in item.formulas:
            yield f, (*around, *item.domain)


def _overlap(a: tuple[Interval, ...], b: tuple[Interval, ...]) -> bool:
    return all(x[0] <= y[1] and y[0] <= x[1] for x, y in zip(a, b, strict=True))


def _equal(a: Range, b: Range) -> bool:
    return bool(a.lo == b.lo and a.hi == b.hi)


def _in_names(item: Nest, domain: Domain) -> Nest | None:
    if len(item.domain) != len(domain):
        return None
    names: dict[sp.Basic, sp.Basic] = {}
    for mine, theirs in zip(item.domain, domain, strict=True):
        if (mine.lo.xreplace(names), mine.hi.xreplace(names)) != (theirs.lo, theirs.hi):
            return None
        names[mine.index] = theirs.index
    clash = {s for f in item.formulas for s in f.rhs.free_symbols} & (set(names.values()) - set(names))
    return None if clash else Nest(domain, tuple(_renamed(f, names, domain) for f in item.formulas))


def _renamed(f: Formula, names: dict[sp.Basic, sp.Basic], domain: Domain) -> Formula:
    return Formula(f.table, tuple(e.xreplace(names) for e in f.index), domain, f.rhs.xreplace(names))


def _same_point(item: Nest, group: list[Item]) -> bool:
    """Whether all reads of the group's tables are of the point at hand, outside sums, or of an earlier step of a loop around."""
    written = {f.table: f.index for x in group for f in formulas(x)}
    inner = {r.index for r in item.domain}
    for f in item.formulas:
        if f.table in written:
            return False
        summed = {c for o in f.rhs.atoms(Over) for c in o.atoms(Cell)}
        for cell in f.rhs.atoms(Cell):
            if cell.table in written:
                here = tuple(cell.index) == tuple(written[cell.table])
                if (here and cell in summed) or not (here or _another_step(cell.index, written[cell.table], inner)):
                    return False
    return True


def _another_step(read: tuple[sp.Expr, ...], written: tuple[sp.Expr, ...], inner: set[sp.Symbol]) -> bool:
    """Whether two indices differ in a slot that is fixed while a nest over ``inner`` runs."""
    for e, w in zip(read, written, strict=True):
        difference = affine(sp.expand(e - w))
        if difference is not None and not difference.terms and difference.const and not w.free_symbols & inner:
            return True
    return False


def _as_loops(item: Nest, leader: Loop) -> Iterator[Loop]:
    for k, r in enumerate(item.domain):
        if _equal(r, leader.range) and not any(r.index in (x.lo.free_symbols | x.hi.free_symbols) for x in item.domain):
            rest = item.domain[:k] + item.domain[k + 1 :]
            if leader.range.index in {x.index for x in rest}:
                continue
            body = Nest(rest, tuple(replace(f, domain=rest) for f in item.formulas))
            yield _renamed_loop(Loop(r, (body,), leader.reverse), leader.range.index)


def _renamed_loop(item: Loop, index: sp.Symbol) -> Loop:
    if item.range.index == index:
        return item
    names: dict[sp.Basic, sp.Basic] = {item.range.index: index}
    return Loop(Range(index, item.range.lo, item.range.hi), tuple(_renamed_item(x, names) for x in item.body), item.reverse)


def _renamed_item(item: Item, names: dict[sp.Basic, sp.Basic]) -> Item:
    if isinstance(item, Nest):
        domain = tuple(Range(r.index, r.lo.xreplace(names), r.hi.xreplace(names)) for r in item.domain)
        return Nest(domain, tuple(_renamed(f, names, domain) for f in item.formulas))
    r = item.range
    return Loop(
        Range(r.index, r.lo.xreplace(names), r.hi.xreplace(names)),
        tuple(_renamed_item(x, names) for x in item.body),
        item.reverse,
    )


def _no_later(item: Loop, group: list[Item], leader: Loop) -> bool:
    """Whether all reads of the group's tables are at the loop's present or earlier steps."""
    loop = leader.range.index
    written: dict[str, list[tuple[sp.Expr, ...]]] = {}
    for x in group:
        for f in formulas(x):
            written.setdefault(f.table, []).append(f.index)
    for f in formulas(item):
        if f.table in written:
            return False
        for cell in f.rhs.atoms(Cell):
            for index in written.get(cell.table, ()):
                at = [k for k, e in enumerate(index) if e == loop]
                if not at or any(_distance(cell.index[k], loop, leader.reverse) is None for k in at[:1]):
                    return False
    return True


def _distance(read: sp.Expr, loop: sp.Symbol, reverse: bool) -> int | None:
    """How many steps back a read is; None when it may be ahead or is not known."""
    difference = affine(sp.expand(loop - read))
    if difference is None or difference.terms:
        return None
    steps = -difference.const if reverse else difference.const
    return steps if steps >= 0 else None


# ---------------------------------------------------------------- storage


def _nests(items: tuple[Item, ...]) -> Iterator[Nest]:
    for x in items:
        if isinstance(x, Nest):
            yield x
        else:
            yield from _nests(x.body)


def _passing(items: tuple[Item, ...], plan: Plan) -> Iterator[str]:
    """Local tables that one nest computes and only that nest reads, at the point at hand."""
    home: dict[str, list[tuple[Nest, tuple[sp.Expr, ...]]]] = {}
    readers: dict[str, list[tuple[Nest, Cell]]] = {}
    for nest in _nests(items):
        for f in nest.formulas:
            home.setdefault(f.table, []).append((nest, f.index))
            for cell in f.rhs.atoms(Cell):
                readers.setdefault(cell.table, []).append((nest, cell))
    for name, writes in home.items():
        if plan.tables[name].role != "local" or len(writes) > 1:
            continue
        nest, index = writes[0]
        if all(where is nest and tuple(c.index) == tuple(index) for where, c in readers.get(name, ())):
            yield name


def _rolled(items: tuple[Item, ...], plan: Plan, passing: frozenset[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for name, table in plan.tables.items():
        if table.role == "local" and name not in passing:
            for axis in range(len(table.axes)):
                keep = _steps(items, name, axis)
                if keep is not None and keep < table.axes[axis].size and table.axes[axis].mode is None:
                    found[name] = (axis, keep)
                    break
    return found


def _steps(items: tuple[Item, ...], name: str, axis: int) -> int | None:
    """How many values of an axis are alive at a time, when one outer loop writes them in order; else None."""
    loops = [x for x in items if isinstance(x, Loop) and name in _written(x)]
    if len(loops) != 1 or loops[0].reverse:
        return None
    loop = loops[0]
    lo, hi = loop.range.lo, loop.range.hi
    if any(e[axis] != loop.range.index for e in _written(loop)[name]) or not _steady(loop, loop.range.index, name):
        return None
    fixed = lo.is_Integer and hi.is_Integer
    back = 0
    for e in _read(loop).get(name, ()):
        steps = _distance(e[axis], loop.range.index, False)
        if steps is None:
            return None
        back = max(back, steps)
    position = items.index(loop)
    for k, x in enumerate(items):
        if not fixed and x is not loop and (name in _written(x) or name in _read(x)):
            return None
        writes, reads = [e[axis] for e in _written(x).get(name, ())], [e[axis] for e in _read(x).get(name, ())]
        if k > position and (writes or not all(e.is_Integer and hi - back <= e <= hi for e in reads)):
            return None
        if k < position and not all(e.is_Integer and lo - back <= e < lo for e in writes + reads):
            return None
    return back + 1


def _steady(item: Item, index: sp.Symbol, name: str) -> bool:
    """Whether the places that are written within a loop do not depend on its step: what they hold is never older."""
    inner = item.domain if isinstance(item, Nest) else tuple(x.range for x in item.body if isinstance(x, Loop))
    if name in _written(item) and any(index in r.lo.free_symbols | r.hi.free_symbols for r in inner):
        return False
    return isinstance(item, Nest) or all(_steady(x, index, name) for x in item.body)


@cache
def _written(item: Item) -> dict[str, list[tuple[sp.Expr, ...]]]:
    """Left sides by table."""
    found: dict[str, list[tuple[sp.Expr, ...]]] = {}
    for f in formulas(item):
        found.setdefault(f.table, []).append(f.index)
    return found


@cache
def _read(item: Item) -> dict[str, list[tuple[sp.Expr, ...]]]:
    """Reads by table."""
    found: dict[str, list[tuple[sp.Expr, ...]]] = {}
    for f in formulas(item):
        for cell in parts(f.rhs, Cell):
            found.setdefault(cell.table, []).append(cell.index)
    return found
