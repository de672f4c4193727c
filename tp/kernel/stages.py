"""Positions as lanes, one offset at a time: a plan for pairs made into stages, each a loop over its offsets.

Written with p' = p + d, a stride-1 read K[p+k; p'+k] stays at its offset d. So the formulas of a stack of such layers lose
the slot p' and run for one d while its planes stay in cache: a table holds one plane, not all pairs of positions.
Where a sum takes another stage's offsets together, at stride s and with a window d = s d' + k' − k, or all of them in a
global average, it becomes a table that is added to while d runs. Lanes that are summed over are added lane by lane
first. A plan that does not have this form is left alone (:class:`Unfit`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.kernel.cells import Axis, Cell, Formula, Over, Same, Table, Total, U, V, hull, parts
from tp.kernel.demand import Plan
from tp.kernel.ends import clipped, guarded, latest, small
from tp.kernel.offsets import Offsets
from tp.kernel.slots import Layout
from tp.kernel.staged import LANE, OFFSET, OTHER, ROW, Staged, Unfit
from tp.program.affine import affine
from tp.program.ir import Domain, Range


@dataclass(frozen=True, slots=True)
class _Chain:
    """Nested sums: factor Σ … Σ body."""

    factor: sp.Expr
    bounds: Domain
    body: sp.Expr


def staged(plan: Plan, layout: Layout, channels: dict[str, int], mirrored: bool = False) -> Staged:
    """``plan`` in stages. ``channels`` says how many terms the inner products of an input have.

    ``mirrored``: for a sample with itself tables are symmetric in the two positions.
    """
    work = _Stager(plan, layout, channels, mirrored=mirrored, diagonal=layout.diagonal)
    for f in plan.formulas:
        work.formula(f)
    for name in plan.inputs:
        work.gram(name)
    return work.finish()


@dataclass
class _Stager(Offsets):
    plan: Plan
    layout: Layout
    channels: dict[str, int]

    def __post_init__(self) -> None:
        for t in self.plan.tables.values():
            order = self._axes(t.name, len(t.axes))
            role = "local" if t.role == "gram" else t.role
            self.tables[t.name] = Table(t.name, tuple(t.axes[k] for k in order), role)
            if t.name in self.layout.lane:
                self.lane[t.name] = order.index(self.layout.lane[t.name])
            if t.name in self.layout.rows:
                self.row[t.name] = order.index(self.layout.rows[t.name][0])

    @property
    def first(self) -> sp.Symbol:
        """The first of the two slots that differ by the offset."""
        return LANE if self.layout.diagonal else ROW

    def _axes(self, table: str, count: int) -> list[int]:
        """A table's axes without the second of a pair, lanes last."""
        lane = self.layout.lane.get(table)
        second = self.layout.rows[table][1] if table in self.layout.rows else None
        rest = [k for k in range(count) if k not in (lane, second)]
        return rest if lane is None else [*rest, lane]

    # ------------------------------------------------------------ formulas

    def formula(self, f: Formula) -> None:
        """A formula in the stage's names, its sums over other offsets and over lanes apart."""
        f = within(f, self.plan.tables[f.table])
        names: dict[sp.Basic, sp.Expr] = {}
        domain = f.domain
        if f.table in self.layout.lane:
            names[self._index(f, self.layout.lane[f.table])] = LANE
        if f.table in self.layout.rows:
            x, y = (self._index(f, k) for k in self.layout.rows[f.table])
            ranges = {r.index: (r.lo, r.hi) for r in domain}
            if ranges[x] != ranges[y]:
                raise Unfit
            names |= {x: self.first, y: self.first + OFFSET}
            domain = tuple(r for r in domain if r.index != y)
        own = tuple(Range(names.get(r.index, r.index), r.lo.xreplace(names), r.hi.xreplace(names)) for r in domain)
        index = tuple(f.index[k].xreplace(names) for k in self._axes(f.table, len(f.index)))
        if self.layout.diagonal and f.table in self.layout.rows:
            own = tuple(clipped(r, OFFSET) if r.index == LANE else r for r in own)
        rhs = self._settled(f.rhs.xreplace(names), own)
        self.formulas.append(Formula(f.table, index, _sorted(own), rhs))

    def _index(self, f: Formula, axis: int) -> sp.Symbol:
        """The symbol at an axis of a left side; its range is one of numbers where there are offsets."""
        e = f.index[axis]
        r = next((r for r in f.domain if r.index == e), None)
        inner = {s for r in f.domain for s in r.lo.free_symbols | r.hi.free_symbols}
        if r is None or e in inner or (self.layout.rows and not (r.lo.is_Integer and r.hi.is_Integer)):
            raise Unfit
        return e

    def gram(self, name: str) -> None:
        """Σ_c x[…, c](i) x[…, c](j) as a formula like any other."""
        key, tied = self.plan.inputs[name]
        if key.kind != "Gram":
            raise Unfit
        table = self.plan.tables[name]
        index = [sp.Symbol(f"_g{k + 1}", integer=True) for k in range(len(table.axes))]
        theirs = {j: index[k] for k, j in tied}
        mine = len(index) if key.a == key.b and len(theirs) == len(index) else self._arity(len(index), len(tied), key)
        rest = iter(index[mine:])
        second = [theirs[j] if j in theirs else next(rest) for j in range(len(index) - mine + len(tied))]
        c = sp.Symbol("_c", integer=True)
        ends = tuple(Range(s, sp.Integer(a.lo), sp.Integer(a.hi)) for s, a in zip(index, table.axes, strict=True))
        axes = {s: Axis(a.lo, a.hi) for s, a in zip(index, table.axes, strict=True)}
        channels = Axis(0, self.channels[key.a] - 1)
        cells = []
        for family, slots, side in ((key.a, index[:mine], "i"), (key.b, second, "j")):
            data = f"data_{family}"
            self.tables[data] = Table(data, (channels, *(axes[s] for s in slots)), "data")
            cells.append(Cell(data, side, c, *slots))
        rhs = Total(sp.Mul(*cells, evaluate=False), c, sp.S.Zero, sp.Integer(channels.hi))
        self.formula(Formula(name, tuple(index), ends, rhs))

    @staticmethod
    def _arity(axes: int, tied: int, key: object) -> int:
        if (axes + tied) % 2:
            raise Unfit
        return (axes + tied) // 2

    # ------------------------------------------------------------ sums apart

    def _settled(self, e: sp.Expr, domain: Domain) -> sp.Expr:
        """``e`` with reads at the own offset, other reads through tables that are added to."""
        if isinstance(e, Cell):
            return self._read(e, OFFSET)
        if isinstance(e, Over) and self._foreign(e, domain):
            return self._apart(e, domain)
        if not e.args or not e.has(Cell):
            return e
        if isinstance(e, sp.Piecewise):
            raise Unfit
        args = [self._settled(a, domain) if isinstance(a, sp.Expr) else a for a in e.args]
        if isinstance(e, Expectation):
            return Expectation(args[0], e.variables, e.cov.applyfunc(lambda c: self._settled(c, domain)))
        return e.func(*args, evaluate=False) if isinstance(e, (sp.Add, sp.Mul)) else e.func(*args)

    def _read(self, cell: Cell, offset: sp.Expr) -> Cell:
        """A cell without the second slot of its pair, which differs from the first by ``offset``."""
        if cell.side != "ij":
            return cell
        if cell.table in self.layout.rows and sp.expand(self._shift(cell) - offset) != 0:
            raise Unfit
        return Cell(*cell.args[:2], *(cell.index[k] for k in self._axes(cell.table, len(cell.index))))

    def _shift(self, cell: Cell) -> sp.Expr:
        x, y = self.layout.rows[cell.table]
        return sp.expand(cell.index[y] - cell.index[x])

    def _foreign(self, e: Over, domain: Domain) -> bool:
        """Whether a sum reads other offsets, or sums over lanes without having lanes."""
        cells = [c for c in parts(e, Cell) if c.side == "ij"]
        other = any(c.table in self.layout.rows and self._shift(c) != OFFSET for c in cells)
        lanes = any(LANE not in c.index[self.layout.lane[c.table]].free_symbols for c in cells if c.table in self.layout.lane)
        return other or (lanes and all(r.index != LANE for r in domain))

    def _apart(self, e: Over, domain: Domain) -> sp.Expr:
        """The sum as a read of a table that is added to in an earlier stage."""
        chain = _chain(e)
        bounds, body = list(chain.bounds), chain.body
        cells = [c for c in parts(body, Cell) if c.side == "ij"]
        has_lane = any(r.index == LANE for r in domain)
        if not has_lane:
            bounds, body = self._lanes(cells, bounds, body)
        here = {ROW: sp.Symbol("_first", integer=True), OFFSET: OTHER}
        body = body.xreplace(here)
        outer = [Range(here.get(r.index, r.index), r.lo, r.hi) for r in domain if r.index != LANE]
        rows = [c for c in parts(body, Cell) if c.side == "ij" and c.table in self.layout.rows]
        name = f"sum{len(self.adds) + 1}"
        loops: list[Range] = list(outer)
        stored = list(outer)
        if any(r.index == ROW for r in domain):
            whole = next(r for r in outer if r.index == here[ROW])
            span = int(whole.hi - whole.lo)
            shift = Range(OTHER, sp.Integer(-span), sp.Integer(span))
            loops[loops.index(whole)] = clipped(whole, OTHER)
            loops.insert(0, shift)
            stored.insert(0, shift)
        lane = next(r for r in (*domain, *bounds) if r.index == LANE)
        if self.layout.diagonal and has_lane:
            lane = Range(LANE, lane.lo.xreplace(here), lane.hi.xreplace(here))
            span = (lane.hi - lane.lo).xreplace({OTHER: sp.S.Zero})
            loops.insert(0, shift := Range(OTHER, -span, span))
            stored.insert(0, shift)
        if rows:
            bounds, loops, body = self._one_offset(name, rows, bounds, loops, body)
        here_lane = lane if has_lane else next(r for r in bounds if r.index == LANE)
        alone = {e for c in cells for e in c.index}
        inner = [
            r for r in bounds if r.index not in (LANE, ROW) and not _steers(r, rows, self) and small(r) and r.index not in alone
        ]
        loops += [r for r in bounds if r not in inner and r.index != LANE] + [here_lane]
        for r in reversed(inner):
            body = Total(body, r.index, r.lo, r.hi)
        body = self._plain_reads(body)
        index = (*(r.index for r in stored), LANE)
        axes = tuple(Axis(*hull(r, tuple(stored[:k]))) for k, r in enumerate((*stored, lane)))
        self.tables[name] = Table(name, axes, "sum")
        self.lane[name] = len(axes) - 1
        self.adds[name] = Formula(name, index, _sorted(tuple(loops)), body)
        if not has_lane and index == (LANE,):
            self.totals.add(name)
        back = {OTHER: OFFSET, here[ROW]: ROW}
        read = Cell(name, "ij", *(e.xreplace(back) for e in index))
        return chain.factor * (read if has_lane else Total(read, LANE, lane.lo, lane.hi))

    def _plain_reads(self, e: sp.Expr) -> sp.Expr:
        return e.xreplace({c: self._read(c, OFFSET) for c in parts(e, Cell)})

    def _lanes(self, cells: list[Cell], bounds: list[Range], body: sp.Expr) -> tuple[list[Range], sp.Expr]:
        """The bound index that runs over lanes, as LANE."""
        at = {c.index[self.layout.lane[c.table]] for c in cells if c.table in self.layout.lane}
        found = [r for r in bounds if at == {r.index}]
        if len(found) != 1 or not (found[0].lo.is_Integer and found[0].hi.is_Integer):
            raise Unfit
        (r,) = found
        lane = Range(LANE, r.lo, r.hi)
        return [lane if b is r else b for b in bounds], body.xreplace({r.index: LANE})

    def _one_offset(
        self, name: str, rows: list[Cell], bounds: list[Range], loops: list[Range], body: sp.Expr
    ) -> tuple[list[Range], list[Range], sp.Expr]:
        """The terms at one offset: δ = OFFSET solved for a summed index, whose range becomes a condition on another."""
        shifts = {self._shift(c) for c in rows}
        if len(shifts) > 1:
            raise Unfit
        (shift,) = shifts
        self.shifts[name] = shift, (*loops, *bounds), rows[0].table
        form = affine(shift)
        if form is None:
            raise Unfit
        x = rows[0].index[self.layout.rows[rows[0].table][0]]
        free = [r for r in bounds if abs(form.coefficient(r.index)) == 1]
        if not free:
            once = Range(sp.Symbol("_once", integer=True), latest(sp.S.Zero, OFFSET - shift, shift - OFFSET), sp.S.Zero)
            body = body.xreplace({c: _moved(c, self.layout, sp.expand(x + OFFSET)) for c in rows})
            return bounds, [*loops, once], body
        gone = min(free, key=lambda r: r.index in x.free_symbols)
        value = sp.expand(gone.index - form.coefficient(gone.index) * (shift - OFFSET))
        body = body.xreplace({gone.index: value})
        left = [r for r in bounds if r is not gone]
        solved = affine(value)
        assert solved is not None
        for group in (left, loops):
            for k, r in enumerate(group):
                if abs(solved.coefficient(r.index)) == 1 and r.index != OTHER:
                    group[k] = guarded(r, solved.coefficient(r.index), value, gone)
                    return self._as_row(left, loops, body, rows)
        raise Unfit

    def _as_row(
        self, bounds: list[Range], loops: list[Range], body: sp.Expr, rows: list[Cell]
    ) -> tuple[list[Range], list[Range], sp.Expr]:
        """A summed index that runs over all rows is ROW, like the loops it can then be joined with."""
        x, _ = self.layout.rows[rows[0].table]
        axis = self.plan.tables[rows[0].table].axes[x]
        whole = clipped(Range(ROW, sp.Integer(axis.lo), sp.Integer(axis.hi)), OFFSET)
        for k, r in enumerate(bounds):
            if rows[0].index[x] == r.index != LANE and (r.lo, r.hi) == (whole.lo, whole.hi):
                bounds[k] = whole
                body = body.xreplace({r.index: ROW})
        return bounds, loops, body


# ---------------------------------------------------------------- parts


def within(f: Formula, table: Table) -> Formula:
    """The formula without points beyond boundaries, where it is 0 and nothing need be stored."""
    domain = list(f.domain)
    for axis, e in zip(table.axes, f.index, strict=True):
        for k, r in enumerate(domain):
            if r.index == e and r.hi.is_Integer and int(r.hi) > axis.hi:
                if axis.mode != "zero" or not _quiet(f.rhs):
                    raise Unfit
                domain[k] = Range(r.index, r.lo, sp.Integer(axis.hi))
    return replace(f, domain=tuple(domain))


def _chain(e: sp.Expr) -> _Chain:
    """Nested sums with what stands between them; largest values are no sums."""
    factor, bounds = sp.S.One, []
    while True:
        if isinstance(e, Total):
            bounds.append(e.range)
            e = e.body
            continue
        totals = [a for a in sp.Mul.make_args(e) if isinstance(a, Total)]
        if isinstance(e, sp.Mul) and len(totals) == 1 and all(a.is_Number for a in e.args if a is not totals[0]):
            factor *= e / totals[0]
            e = totals[0]
            continue
        if e.has(Over) or any(s in {r.index for r in bounds} for r in bounds for s in r.lo.free_symbols | r.hi.free_symbols):
            raise Unfit
        return _Chain(factor, tuple(bounds), e)


def _steers(r: Range, rows: Iterable[Cell], work: _Stager) -> bool:
    """Whether a summed index stands in a row."""
    return any(r.index in c.index[k].free_symbols for c in rows for k in work.layout.rows[c.table])


def _moved(cell: Cell, layout: Layout, second: sp.Expr) -> Cell:
    y = layout.rows[cell.table][1]
    return Cell(*cell.args[:2], *(second if k == y else e for k, e in enumerate(cell.index)))


def _sorted(domain: Domain) -> Domain:
    """Lanes last, rows before other positions and after what ranges of others use; ranges that may be empty before whole ones."""
    used = {s for r in domain for s in r.lo.free_symbols | r.hi.free_symbols}
    bent = {r.index for r in domain if r.lo.free_symbols | r.hi.free_symbols}
    ranks = dict.fromkeys(bent, 2) | {LANE: 4, ROW: 1} | dict.fromkeys(used, 0)
    return tuple(sorted(domain, key=lambda r: ranks.get(r.index, 3)))


def _quiet(e: sp.Expr) -> bool:
    """Whether ``e`` is 0 where one of its two positions lies beyond a boundary."""
    match e:
        case Cell():
            return e.side in ("ij", "s")
        case Same():
            return _quiet(e.args[1]) and _quiet(e.args[2])
        case Expectation():
            return all(e.integrand.subs(x, 0) == 0 for x in (U, V) if e.integrand.has(x)) and e.integrand.has(U)
        case sp.Mul():
            return any(_quiet(a) for a in e.args)
        case sp.Add():
            return all(_quiet(a) for a in e.args)
        case Over():
            return _quiet(e.body)
    return False
