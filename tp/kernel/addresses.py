"""Where cells lie for one pair of samples with positions as lanes: rows of lanes with margins, one address per index point.

A local table's last axis is the lanes, with a margin of zeros on both sides as wide as windows reach. A read is a slice of such
a row, so that the innermost loop is straight arithmetic on contiguous rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.gaussian.lowered import Lowered, Site
from tp.kernel.cells import Axis, Cell, Formula, Table, greatest, least, parts
from tp.kernel.emit import Emitter
from tp.kernel.functions import Shelf
from tp.kernel.lanes import Library
from tp.kernel.plane import SECOND, Plane, buffers, widest_lane
from tp.kernel.staged import LANE, OFFSET, ROW, Unfit
from tp.program.affine import affine
from tp.program.ir import Range


class PlaneEmitter(Emitter):
    """An emitter for the tables of a plane; its subclass makes the loops."""

    plan = "rows"

    def __init__(self, library: Library, plane: Plane, shelf: Shelf, easy: bool) -> None:
        super().__init__(library, dict(plane.tables), plane.code)
        self.easy = easy
        self.plane, self.shelf = plane, shelf
        self.lane_axis, self.row_axis = plane.staged.lane, plane.staged.row
        self.first: sp.Expr = sp.S.Zero
        self.lanes_on = False
        self.exempts = False  # whether lanes are exempt from margins: ``lone`` is 0, but infinite in its middle
        self.halved = False  # whether, where the samples are one, only half of the offsets at hand are visited
        self.buffers = buffers(plane)
        self.slot_one = LANE if plane.staged.diagonal else ROW  # the first of the two slots that differ by the offset

    @property
    def widest(self) -> str:
        """Lanes of a row at most, as a parameter."""
        return self.library.numbers.integer(widest_lane(self.tables))

    def limit(self, e: sp.Expr) -> str:
        """An end of a range, numbers as parameters."""
        if isinstance(e, (sp.Max, sp.Min)):
            ends = sorted(e.args, key=lambda a: (len(a.free_symbols), str(a)))
            return f"{type(e).__name__.lower()}({', '.join(map(self.limit, ends))})"
        form = affine(e)
        if form is None or not form.terms or form.const == 0:
            return self.index(e)
        return f"{self.library.numbers.integer(form.const)} + {self.index(sp.expand(e - form.const))}"

    # ------------------------------------------------------------ cells

    def hoisted(self, e: sp.Expr) -> Cell | None:
        return self.shelf.root_of(e, self.tables)

    def lane_cell(self, cell: Cell) -> bool:
        return any(e.has(LANE) for e in cell.index)

    def cell_text(self, cell: Cell) -> str:
        past = self.past(cell)
        text = self.place(Cell(*cell.args[:-1], cell.index[-1] - past) if past else cell)
        if not self.lane_cell(cell):
            return self.remember(("scalar", cell), text, "v")
        if not cell.index[-1].has(LANE):
            return text
        row = self.remember(("row", text), text, "r")
        step = affine(cell.index[-1]).coefficient(LANE)  # type: ignore[union-attr]
        return f"{row}[z]" if step == 1 else f"{row}[{step} * z{f' + {past}' if past else ''}]"

    def past(self, cell: Cell) -> int:
        """How far a read of every other lane lies past its row's beginning: neighbours share one, and what is loaded of it."""
        form = affine(cell.index[-1]) if cell.index else None
        table = self.tables[cell.table]
        if form is None or form.coefficient(LANE) < 2 or len(form.terms) > 1:
            return 0
        margin = self.plane.margin.get(cell.table, 0) if table.role in ("local", "sum") else 0
        return (form.const - table.axes[-1].lo + margin) % form.coefficient(LANE)

    def place(self, cell: Cell) -> str:
        """A cell, or the row of its lanes."""
        table = self.tables[cell.table]
        at = self.slots(table, cell.index)
        if table.role in ("site", "data"):
            name = f"{cell.table}_{1 if cell.side == 'i' else 2}"
            self.used[name] = None
            return f"{name}[{', '.join([cell.side, *at])}]"
        if table.role == "const":
            self.used[cell.table] = None
            return f"{cell.table}[{', '.join(at)}]"
        return f"{self.buffers[cell.table]}[{', '.join(at) or '0'}]"

    def store(self, f: Formula) -> str | None:
        if f.table in self.code.passing:
            return None
        table = self.tables[f.table]
        at = self.slots(table, f.index)
        if table.role == "kept":
            return self.keep(f.table, f)
        if table.role == "out":
            self.used[f.table] = None
            return f"{f.table}[{', '.join([*at, 'row', 'col'])}]"
        text = f"{self.buffers[f.table]}[{', '.join(at) or '0'}]"
        if not any(e.has(LANE) for e in f.index):
            return text
        return f"{self.remember(('row', text), text, 'r')}[z]"

    def keep(self, name: str, f: Formula) -> str:
        """The lane of a table of what is kept of a sample, at the left side of ``f``."""
        self.used[name] = None
        text = f"{name}[{', '.join(['i', *self.slots(self.tables[f.table], f.index)])}]"
        return f"{self.remember(('row', text), text, 'r')}[z]" if any(e.has(LANE) for e in f.index) else text

    def slots(self, table: Table, index: Sequence[sp.Expr]) -> list[str]:
        return [self.slot(table, k, axis, e) for k, (axis, e) in enumerate(zip(table.axes, index, strict=True))]

    def slot(self, table: Table, k: int, axis: Axis, e: sp.Expr) -> str:
        rolled = self.code.rolled.get(table.name)
        if rolled == (k, 1):
            return "0"
        lane = self.lane_axis.get(table.name) == k and table.role in ("local", "sum")
        if e.has(LANE) or lane:
            step = affine(e).coefficient(LANE)  # type: ignore[union-attr]
            margin = self.plane.margin.get(table.name, 0) if lane else 0
            start = self.limit(sp.expand(e - step * (LANE - self.first) - axis.lo + margin))
            if not step:
                return start
            if k < len(table.axes) - 1 or table.role == "out":
                return f"{start} + {step} * z"
            many = self.b if step == 1 else f"{step} * {self.b}"
            return f"{start} : {start} + {many}" if start != "0" else f"0 : {many}"
        if self.row_axis.get(table.name) == k and axis.mode == "zero":
            return self.row_slot(table, k, axis, e)
        return super().slot(table, k, axis, e)

    def row_slot(self, table: Table, k: int, axis: Axis, e: sp.Expr) -> str:
        """A row, or the one of zeros where it or the other sample's row lies beyond the boundary."""
        if e == ROW:
            return self.minus(self.index(e), self.end(table.name, k, "lo", axis.lo))
        size = self.end(table.name, k, "size", axis.hi - axis.lo + 1)
        text = self.minus(self.index(e), self.end(table.name, k, "lo", axis.lo))
        key = ("row slot", size, text)
        found = self.known(key)
        if found is None:
            found = self.memo[-1][key] = self.fresh("a")
            self.out.add(f"{found} = {text}")
            other = f"{found} + {self.names[OFFSET]}"
            self.out.add(f"{found} = {found} if 0 <= {found} < {size} and 0 <= {other} < {size} else {size}")
        return found

    # ------------------------------------------------------------ coefficient vectors

    def coefficients(self, low: Lowered, e: Expectation) -> tuple[str, str] | None:
        if self.plane.grid is not None:
            raise Unfit  # vectors are kept by position
        names, tables = [], []
        for which, side, site in ((1, "i", low.sites[0]), (2, "j", low.sites[-1])):
            table, index = self.shelf.find(self._first_rows(site), self._known_ranges())
            tables.append(table.name)
            index = tuple(x.xreplace({SECOND: self.slot_one + OFFSET}) for x in index)
            at = self.slots(Table(table.name, table.axes, "site"), index)
            name = f"{table.name}_{which}"
            self.used[name] = None
            row = self.remember(("row", name, tuple(at)), f"{name}[{', '.join([side, *at])}]", "m")
            names.append(f"{row}[z]" if any(x.has(LANE) for x in index) else row)
        self.shelf.tie(tables[0], tables[1])
        return names[0], names[1]

    def _first_rows(self, site: Site) -> Site:
        """A site's arguments with the second sample's row as an index of its own."""
        cells = {
            c: Cell(*c.args[:2], *(x.xreplace({self.slot_one + OFFSET: SECOND}) for x in c.index))
            for a in site.args
            for c in parts(a, Cell)
        }
        return replace(site, args=tuple(a.xreplace(cells) for a in site.args))

    def _known_ranges(self) -> list[Range]:
        """All indices with numbers as ends."""
        found = []
        for k, r in enumerate(self.ranges):
            outer = tuple(self.ranges[:k])
            found.append(Range(r.index, sp.Integer(int(least(r.lo, outer))), sp.Integer(int(greatest(r.hi, outer)))))
        return [*found, *(Range(SECOND, r.lo, r.hi) for r in found if r.index == self.slot_one)]
