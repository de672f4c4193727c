"""Whole images as lanes: positions that are never compared with other positions are one row of lanes.

A flatten readout asks for K[p; p] alone, and a convolution reads K[p + k; p + k]. With position (p, q) at lane p·(W + m) + q, and
m blank lanes after each row of the image as wide as windows reach, every read is the same row of lanes shifted by k·(W + m) + l:
one long loop, with nothing to set up row by row. Blank lanes hold 0, which is what lies beyond the boundary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from types import MappingProxyType

import sympy as sp

from tp.kernel.cells import Axis, Cell, Formula, Over, Table, cells, greatest, least, parts
from tp.kernel.staged import LANE, Stage, Staged, Unfit
from tp.program.affine import affine
from tp.program.ir import Domain, Range

Places = tuple[int, ...]
"""The axes of a table that are positions."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Positions by axis, and the blank ones after them; the first axis needs none."""

    sizes: tuple[int, ...]
    blanks: tuple[int, ...]

    @property
    def strides(self) -> tuple[int, ...]:
        """Lanes from one position to the next, by axis."""
        widths = [n + m for n, m in zip(self.sizes, self.blanks, strict=True)]
        return tuple(prod(widths[k + 1 :]) for k in range(len(widths)))

    @property
    def lanes(self) -> int:
        return self.sizes[0] * self.strides[0]

    def blank_runs(self) -> list[tuple[int, int, int]]:
        """Blank lanes: the first of them, how far it is to the next run, and how long a run is."""
        strides = self.strides
        return [
            (n * stride, outer, m * stride)
            for (outer, stride), n, m in zip(pairwise(strides), self.sizes[1:], self.blanks[1:], strict=True)
            if m
        ]


def flattened(plans: Sequence[Staged]) -> tuple[list[Staged], Grid]:
    """Plans with all positions as lanes, of one grid. Raises :class:`Unfit` where one is not of that form."""
    found = [_Places(p) for p in plans]
    boxes = {box for one in found for box in one.boxes}
    if len(boxes) != 1 or len(box := boxes.pop()) < 2:
        raise Unfit
    reach = [max(r) for r in zip(*(one.reach for one in found), strict=True)]
    grid = Grid(tuple(hi - lo + 1 for lo, hi in box), (0, *reach[1:]))
    return [_Flat(one, grid).staged() for one in found], grid


@dataclass
class _Places:
    """Where positions stand in the tables of a plan and in its formulas, from coordinates up."""

    plan: Staged
    at: dict[str, Places] = field(default_factory=dict)
    symbols: dict[Formula, tuple[sp.Symbol, ...]] = field(default_factory=dict)
    boxes: set[tuple[tuple[int, int], ...]] = field(default_factory=set)
    reach: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        plan = self.plan
        self.at = {n: tuple(range(1, len(t.axes))) for n, t in plan.tables.items() if t.role == "data" and len(t.axes) > 1}
        if not self.at or plan.row or any(s.offsets for s in plan.stages) or len({len(a) for a in self.at.values()}) > 1:
            raise Unfit
        self.reach = [0] * len(next(iter(self.at.values())))
        formulas = [f for s in plan.stages for f in (*s.formulas, *s.adds)]
        for _ in formulas:
            before = len(self.at)
            for f in formulas:
                self._look(f)
            if len(self.at) == before:
                break
        if any(n not in self.at and plan.tables[n].role != "sum" for n in plan.lane):
            raise Unfit
        for f in formulas:
            self._check(f)

    def _look(self, f: Formula) -> None:
        """The symbols of positions in a formula, and so the places in all tables that it names."""
        own = {r.index for r in f.domain}
        for cell in parts(f.rhs, Cell):
            if cell.table in self.at and self.plan.tables[cell.table].role != "sum":
                found = tuple(_only(cell.index[k], own) for k in self.at[cell.table])
                if self.symbols.setdefault(f, found) != found:
                    raise Unfit
        if f not in self.symbols:
            return
        if self.plan.tables[f.table].role != "sum":
            self._place(f.table, f.index, f)
        for cell in parts(f.rhs, Cell):
            if set(self.symbols[f]) & cell.free_symbols:
                self._place(cell.table, tuple(_bare(e, own) for e in cell.index), f)

    def _place(self, table: str, index: Sequence[sp.Basic], f: Formula) -> None:
        if any(list(index).count(s) != 1 for s in self.symbols[f]) or self.plan.tables[table].role in ("out", "const"):
            raise Unfit
        places = tuple(list(index).index(s) for s in self.symbols[f])
        if self.at.setdefault(table, places) != places:
            raise Unfit

    def _check(self, f: Formula) -> None:
        """Whole images only, read at fixed distances, zeros beyond; nothing else depends on a position."""
        mine = self.symbols.get(f, ())
        if not mine:
            return
        ranges = {r.index: (r.lo, r.hi) for r in f.domain}
        ends = tuple(ranges[s] for s in mine)
        others = [r for r in f.domain if r.index not in mine]
        if any({*r.lo.free_symbols, *r.hi.free_symbols} & set(mine) for r in others):
            raise Unfit
        if any(not (lo.is_Integer and hi.is_Integer) for lo, hi in ends):
            raise Unfit
        self.boxes.add(tuple((int(lo), int(hi)) for lo, hi in ends))
        if set(mine) & f.rhs.xreplace({c: sp.Dummy() for c in parts(f.rhs, Cell)}).free_symbols:
            raise Unfit
        for cell, around in cells(f.rhs, f.domain):
            table = self.plan.tables[cell.table]
            for k, (place, s) in enumerate(zip(self.at.get(cell.table, ()), mine, strict=False)):
                axis, shift = table.axes[place], sp.expand(cell.index[place] - s)
                self.boxes.add(tuple((table.axes[p].lo, table.axes[p].hi) for p in self.at[cell.table]))
                far = int(max(abs(least(shift, around)), abs(greatest(shift, around))))
                if far and axis.mode != "zero":
                    raise Unfit
                self.reach[k] = max(self.reach[k], far)


def _only(e: sp.Expr, own: set[sp.Symbol]) -> sp.Symbol:
    """The one index of a left side in an index expression, by which it grows."""
    form = affine(e)
    found = [s for s, _ in form.terms if s in own] if form is not None else []
    if form is None or len(found) != 1 or form.coefficient(found[0]) != 1:
        raise Unfit
    return found[0]


def _bare(e: sp.Expr, own: set[sp.Symbol]) -> sp.Basic:
    try:
        return _only(e, own)
    except Unfit:
        return e


@dataclass(frozen=True, slots=True)
class _Flat:
    """One plan rewritten."""

    places: _Places
    grid: Grid

    def staged(self) -> Staged:
        plan = self.places.plan
        adds = {f: self.formula(f) for s in plan.stages for f in s.adds}
        direct = {f.table: f.rhs for f in adds.values() if f.table in plan.totals and len(f.domain) == 1}
        stages = [
            Stage([self.formula(f, direct) for f in s.formulas], [adds[f] for f in s.adds if f.table not in direct])
            for s in plan.stages
        ]
        tables = {n: self.table(t) for n, t in plan.tables.items()}
        lane = {n: len(tables[n].axes) - 1 for n in (*self.places.at, *plan.lane)}
        lane = {n: k for n, k in lane.items() if tables[n].role != "data"}
        return replace(plan, stages=stages, tables=tables, lane=lane, sums=tuple(n for n in plan.sums if n not in direct))

    def table(self, t: Table) -> Table:
        """The table with one axis of lanes, the last, for all positions."""
        if t.role == "sum":
            return replace(t, axes=(Axis(0, self.grid.lanes - 1),))
        if t.name not in self.places.at:
            return t
        places = self.places.at[t.name]
        mode = "zero" if any(t.axes[k].mode == "zero" for k in places) and t.role == "local" else None
        rest = [a for k, a in enumerate(t.axes) if k not in places]
        return replace(t, axes=(*rest, Axis(0, self.grid.lanes - 1, mode)))

    def formula(self, f: Formula, direct: Mapping[str, sp.Expr] = MappingProxyType({})) -> Formula:
        """The formula over lanes; ``direct`` are sums over them that need no table."""
        mine = self.places.symbols.get(f, ())
        whole = Range(LANE, sp.S.Zero, sp.Integer(self.grid.lanes - 1))
        domain: Domain = tuple(r for r in f.domain if r.index not in mine)
        if not mine:
            return replace(f, rhs=self._sums(f.rhs, whole, direct))
        if self.places.plan.tables[f.table].role == "sum":
            if len(f.index) != 1:
                raise Unfit
            index: tuple[sp.Expr, ...] = (LANE,)
        else:
            index = self._index(f.table, f.index, mine)
        reads = {c: Cell(*c.args[:2], *self._index(c.table, c.index, mine)) for c in parts(f.rhs, Cell)}
        return Formula(f.table, index, (*domain, whole), f.rhs.xreplace(reads))

    def _index(self, table: str, index: Sequence[sp.Expr], mine: Sequence[sp.Symbol]) -> tuple[sp.Expr, ...]:
        places = self.places.at.get(table)
        if places is None:
            return tuple(index)
        shift = sum((k * (index[p] - s) for k, p, s in zip(self.grid.strides, places, mine, strict=True)), sp.S.Zero)
        return (*(e for k, e in enumerate(index) if k not in places), sp.expand(LANE + shift))

    def _sums(self, e: sp.Expr, whole: Range, direct: Mapping[str, sp.Expr]) -> sp.Expr:
        """Sums over lanes, over all of them."""
        found = {}
        for o in parts(e, Over):
            if o.range.index == LANE:
                body = direct.get(o.body.table, o.body) if isinstance(o.body, Cell) else o.body
                found[o] = o.func(body, LANE, whole.lo, whole.hi)
        return e.xreplace(found)


__all__ = ["Grid", "flattened"]
