"""Sums of products with their accumulators in registers.

A sum over an index, one loop over lanes a term, loads and stores its accumulator for every product. Here a lane loop adds
some terms of a sum, and does so for ``POINTS`` neighbouring points at a time, which share the factors that do not depend on
the point: instead of six loads and two stores for two products there are less than two loads. Both are inner loops of a fixed
number of turns, which the compiler unrolls, so that the text stays short. The last points overlap with those before where their
number is no multiple. Terms are added in the order in which they were.

Source: Goto & van de Geijn 2008, *Anatomy of high-performance matrix multiplication* (register blocking).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.kernel.cells import Cell, Formula, Over, Same, Table, Total, greatest, least, ordered, outermost, parts
from tp.kernel.emit import Emitter, decided
from tp.kernel.lanes import Lane, Library
from tp.kernel.order import Code, Item, Nest
from tp.program.ir import Domain, Range

TERMS = 4
"""Terms that are added between a load of a sum and its store, at most."""

POINTS = 4
"""Points that share what they load."""

SUMS = 8
"""Sums in registers at a time: of 32, which hold their factors, too."""


class TilingEmitter(Emitter):
    """Nests over points whose formulas have sums of products. ``held`` keeps the sums of the points at hand."""

    tiled = False
    held = 0

    def __init__(self, library: Library, tables: dict[str, Table], code: Code) -> None:
        super().__init__(library, tables, code)
        self.near: dict[str, str] = {}  # copies of inputs, by table, while sums of products are written
        self.copies: dict[str, tuple[tuple[str, ...], int]] = {}  # all of them: sizes as text, and numbers per lane

    def item(self, item: Item) -> None:
        if self.tiled and isinstance(item, Nest) and item.domain:
            domain = self.outside_in(item)
            formulas = list(item.formulas) if self.same else [_of_two(f) for f in item.formulas]
            sums = list(dict.fromkeys(o for f in formulas for o in outermost(f.rhs, Over)))
            if points := self.points(domain, formulas, sums):
                self.row = 0
                near = self.bring(sums)
                with self.loops(domain[:-1]):
                    self.tile(domain[-1], formulas, sums, points, near)
                return
        super().item(item)

    def points(self, domain: Domain, formulas: Sequence[Formula], sums: Sequence[Over]) -> int:
        """How many values of the innermost index are worked on at a time; 0 where that is not worth it."""
        r = domain[-1]
        added = any(f.rhs.has(Same) or self.tables[f.table].role == "sum" for f in formulas)
        if added or not sums or 2 * len(sums) > SUMS or _size(r) < POINTS or not all(self.plain(o, domain) for o in sums):
            return 0
        shared = any(self.lane_cell(c) and r.index not in c.free_symbols for o in sums for c in parts(o.body, Cell))
        return min(POINTS, SUMS // len(sums)) if shared else 0

    def plain(self, o: Over, domain: Domain) -> bool:
        """Whether a sum has the same number of products at all points, enough of them, and no read is beyond a boundary."""
        odd = (Over, Same, Expectation, sp.Piecewise, sp.KroneckerDelta)
        if not isinstance(o, Total) or _turn(o.range) < 2 or o.body.has(*odd) or not self.varies(o):
            return False
        ranges = (*self.ranges, *domain, o.range)
        return all(self.in_reach(c, ranges, {r.index for r in (*domain, o.range)}) for c in parts(o.body, Cell))

    def in_reach(self, cell: Cell, ranges: Domain, inner: set[sp.Symbol]) -> bool:
        """Whether a read is within its table; of an input, each slot by an index of its own, so that a copy has no more."""
        own = set(cell.index) <= inner and len(set(cell.index)) == len(cell.index)
        if self.lane_cell(cell) and self.is_input(cell) and not own:
            return False
        axes = zip(self.tables[cell.table].axes, cell.index, strict=True)
        return all(least(e, ranges) >= axis.lo and greatest(e, ranges) <= axis.hi for axis, e in axes)

    def is_input(self, cell: Cell) -> bool:
        """Whether a cell's rows lie in an array from outside."""
        return self.tables[cell.table].role in ("site", "gram")

    # ------------------------------------------------------------ rows of inputs

    def bring(self, sums: Sequence[Over]) -> dict[str, str]:
        """Copies, by table, of the rows of inputs that sums read, ahead of a nest: these are found by their slots alone."""
        found = {c.table: c for o in sums for c in parts(o.body, Cell) if self.lane_cell(c) and self.is_input(c)}
        for table, cell in found.items():
            axes = self.tables[table].axes
            sizes = tuple(self.end(table, k, "size", axis.hi - axis.lo + 1) for k, axis in enumerate(axes))
            self.copies[f"{table}_near"] = sizes, prod(axis.hi - axis.lo + 1 for axis in axes)
            at, row = [self.fresh("x") for _ in sizes], self.fresh("r")
            with ExitStack() as stack:
                for x, size in zip(at, sizes, strict=True):
                    stack.enter_context(self.out.block(f"for {x} in range({size}):"))
                self.out.add(f"{row} = {self.input_row(cell, at)}")
                with self.out.block(self.walk):
                    self.out.add(f"{self.lane(f'{table}_near', at)} = {row}[z]")
        return {table: f"{table}_near" for table in found}

    def cell_text(self, cell: Cell) -> str:
        near = self.near.get(cell.table) if self.lane_cell(cell) else None
        return super().cell_text(cell) if near is None else self.lane(near, self.address(cell))

    def beside(self) -> int:
        """Numbers per lane of copies and of sums that are held."""
        return self.held + sum(count for _, count in self.copies.values())

    # ------------------------------------------------------------ points

    def tile(self, r: Range, formulas: list[Formula], sums: Sequence[Over], points: int, near: dict[str, str]) -> None:
        """All values of ``r``, so many at a time: their sums together, then the formulas."""
        self.held = max(self.held, len(sums) * points)
        start, first, end = self.fresh("x"), self.fresh("x"), self.after(r)
        with self.out.block(f"for {start} in range({self.index(r.lo)}, {end}, {points}):"), self.scope():
            self.out.add(f"{first} = min({start}, {end} - {points})")
            row = self.fresh("x")
            with self.out.block(f"for {row} in range({len(sums) * points}):"), self.out.block(self.walk):
                self.out.add(f"held[{row}, z] = 0.0")
            groups: dict[tuple[sp.Expr, sp.Expr], dict[int, Over]] = {}
            for k, o in enumerate(sums):
                groups.setdefault((o.range.lo, o.range.hi), {})[k * points] = o
            self.near = near
            for group in groups.values():
                self.products(r, first, group, points)
            self.near = {}
            with self.point_of(r, first, points) as step:
                for k, o in enumerate(sums):
                    name = self.memo[-1]["total", o] = self.fresh("s")
                    self.totals[sp.Symbol(f"_{name}", real=True)] = f"held[{k * points} + {step}, z]"
                self.branches(formulas)

    def products(self, r: Range, first: str, group: dict[int, Over], points: int) -> None:
        """Sums over one range, by their first rows, for some points: a loop over lanes for each few terms."""
        over = next(iter(group.values())).range
        x, count = self.fresh("x"), _turn(over)
        bodies = {row: _split(o.body.xreplace({o.range.index: over.index}), r.index) for row, o in group.items()}
        with ExitStack() as stack:
            stack.enter_context(self.out.block(f"for {x} in range({self.index(over.lo)}, {self.after(over)}, {count}):"))
            stack.enter_context(self.out.block(self.walk))
            stack.enter_context(self.point_of(over, x, count))
            lane = Lane(self, self.out, scalar=True)
            common = {row: [lane.value(shared)] if shared != 1 else [] for row, (shared, _) in bodies.items()}
            step = stack.enter_context(self.point_of(r, first, points))
            lane.memo = dict(lane.memo)
            for row, (_, own) in bodies.items():
                factors = [*common[row], *(lane.value(a) for a in own)]
                self.out.add(f"held[{row} + {step}, z] += {' * '.join(factors)}")

    @contextmanager
    def point_of(self, r: Range, first: str, count: int) -> Iterator[str]:
        """A loop over ``count`` values of a range from ``first`` on; gives the variable that counts."""
        step, name = self.fresh("x"), self.fresh("x")
        with self.out.block(f"for {step} in range({count}):"), self.scope():
            self.out.add(f"{name} = {first} + {step}")
            self.names[r.index] = name
            self.ranges.append(r)
            yield step
            self.ranges.pop()

    def after(self, r: Range) -> str:
        """What the values of a range lie below."""
        return f"{self.library.numbers.integer(int(r.hi), written=False)} + 1"


def _split(body: sp.Expr, index: sp.Symbol) -> tuple[sp.Expr, list[sp.Expr]]:
    """A product as what does not depend on an index, and the factors that do."""
    factors = ordered(body) if isinstance(body, sp.Mul) else (body,)
    own = [a for a in factors if index in a.free_symbols]
    return sp.Mul(*(a for a in factors if a not in own)), own


def _turn(r: Range) -> int:
    """How many terms are added at a time: as many in each turn."""
    return next((k for k in range(TERMS, 0, -1) if _size(r) % k == 0), 0) if _size(r) else 0


def _size(r: Range) -> int:
    """How many values a range has, where its ends are numbers; else 0."""
    return int(r.hi - r.lo) + 1 if r.lo.is_Integer and r.hi.is_Integer else 0


def _of_two(f: Formula) -> Formula:
    """The formula for two samples that are not one."""
    while where := next(iter(parts(f.rhs, Same)), None):
        f = decided(f, where.args[0], False)
    return f
