"""Stages as numba text: one pair of samples at a time, contiguous positions as lanes.

A local table's last axis is the lanes, with a margin of zeros on both sides as wide as windows reach. A read is a slice of such
a row, so that the innermost loop is straight arithmetic on contiguous rows. Where both samples are one (``same``),
equal positions are one variable: their lane is computed again by the one-variable formulas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.gaussian.lowered import Lowered, Site
from tp.kernel.cells import Axis, Cell, Formula, Over, Same, Table, Total, greatest, least, outermost, parts
from tp.kernel.emit import Emitter, decided
from tp.kernel.ends import small
from tp.kernel.functions import HELPERS, Function, Shelf
from tp.kernel.lanes import Lane, Library
from tp.kernel.plane import SECOND, Plane, buffers, numbers_kept, plane, shape_of, widest_lane
from tp.kernel.staged import LANE, OFFSET, ROW, Stage, Unfit
from tp.kernel.text import ENTRY, Lines
from tp.program.affine import affine
from tp.program.ir import Domain, Range

UNROLLED = 64
"""Terms that nested sums may have when they are written out."""


class RowsEmitter(Emitter):
    """One pair of samples (i, j); ``same`` is a variable of the function."""

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

    # ------------------------------------------------------------ structure

    def body(self) -> str:
        for name in self.plane.staged.sums:
            self.clear(name, shape_of(self.plane, name), [])
        for stage, items in zip(self.plane.staged.stages, self.plane.items, strict=True):
            with self.offsets(stage):
                for item in items:
                    self.item(item)
        return str(self.out)

    def clear(self, table: str, sizes: tuple[int, ...], at: list[str]) -> None:
        """Zeros in a table that is added to."""
        name = "z" if len(sizes) == 1 else self.fresh("x")
        with self.out.block(f"for {name} in range({self.library.numbers.integer(sizes[0])}):"):
            if len(sizes) > 1:
                self.clear(table, sizes[1:], [*at, name])
            else:
                self.out.add(f"{table}[{', '.join([*at, name])}] = 0.0")

    @contextmanager
    def offsets(self, stage: Stage) -> Iterator[None]:
        """The loop over a stage's offsets."""
        if stage.offsets is None:
            with self.scope():
                yield
            return
        integer = self.library.numbers.integer
        first, last, step = stage.offsets
        name = self.names[OFFSET] = self.fresh("d")
        start = integer(first) if stage.half is None else f"{integer(stage.half)} if same else {integer(first)}"
        with self.out.block(f"for {name} in range({start}, {integer(last)} + 1, {integer(step)}):"), self.scope():
            self.halved = stage.half is not None and any(f.table in self.plane.staged.totals for f in stage.adds)
            if self.halved:  # the others are mirror images
                self.out.add(f"times = (2.0 if {name} > 0 else 1.0 if {name} == 0 else 0.0) if same else 1.0")
            self.ranges += stage.around
            yield
            self.ranges.pop()

    @contextmanager
    def loops(self, domain: Domain, reverse: bool = False) -> Iterator[None]:
        if not domain:
            with self.scope():
                yield
            return
        r, rest = domain[0], domain[1:]
        self.ranges.append(r)
        if r.index == LANE:
            before = self.first, self.lanes_on, self.b, self.walk
            self.lanes_on = True
            self.first, self.b = self.ends(r)
            self.walk = f"for z in range({self.b}):"
            with self.scope(), self.loops(rest, reverse):
                yield
            self.first, self.lanes_on, self.b, self.walk = before
        else:
            name = self.names[r.index] = self.fresh("x")
            lo, hi = self.limit(r.lo), self.limit(r.hi)
            walk = f"range({hi}, {lo} - 1, -1)" if reverse else f"range({lo}, {hi} + 1)"
            with self.out.block(f"for {name} in {walk}:"), self.scope(), self.loops(rest, reverse):
                yield
        self.ranges.pop()

    def ends(self, r: Range) -> tuple[sp.Expr, str]:
        """The first lane and how many there are."""
        if r.lo.is_Integer and r.hi.is_Integer:
            return r.lo, self.library.numbers.integer(int(r.hi - r.lo + 1))
        start, count = self.fresh("x"), self.fresh("b")
        self.out.add(f"{start} = {self.limit(r.lo)}")
        self.out.add(f"{count} = {self.limit(r.hi)} + 1 - {start}")
        first = sp.Symbol(f"_{start}", integer=True)
        self.names[first] = start
        return first, count

    def limit(self, e: sp.Expr) -> str:
        """An end of a range, numbers as parameters."""
        if isinstance(e, (sp.Max, sp.Min)):
            ends = sorted(e.args, key=lambda a: (len(a.free_symbols), str(a)))
            return f"{type(e).__name__.lower()}({', '.join(map(self.limit, ends))})"
        form = affine(e)
        if form is None or not form.terms or form.const == 0:
            return self.index(e)
        return f"{self.library.numbers.integer(form.const)} + {self.index(sp.expand(e - form.const))}"

    def branches(self, formulas: list[Formula]) -> None:
        """The formulas at all lanes; where the samples are one, equal positions again, as one variable."""
        self.sums([f.rhs for f in formulas])
        where = next((s for f in formulas for s in parts(f.rhs, Same)), None)
        if where is None:
            self.point(formulas)
            return
        apart, together = ([decided(f, where.args[0], one) for f in formulas] for one in (False, True))
        apart_by = {s: sp.expand(s[0].args[0] - s[1].args[0]) for s in where.args[0]}
        lanes = [e for e in apart_by.values() if e.has(LANE)]
        fixed = [s for s, e in apart_by.items() if s.has(LANE) and not e.has(LANE)]  # no farther from each other than the edge
        tests = ["same", *(f"{self.spot(a)} == {self.spot(b)}" for a, b in where.args[0] if not (a.has(LANE) or b.has(LANE)))]
        tests += [f"{self.index(apart_by[s])} == 0" for s in fixed]
        if not lanes:
            with self.out.block(f"if {' and '.join(tests)}:"), self.scope():
                self.branches(together)
            with self.out.block("else:"), self.scope():
                self.branches(apart)
            return
        (crossing,) = lanes
        slope = affine(crossing).coefficient(LANE)  # type: ignore[union-attr]
        at, cut = self.index(sp.expand(LANE - slope * crossing - self.first)), self.fresh("k")
        self.out.add(f"{cut} = {at} if {' and '.join(tests)} else -1")
        self.out.add(f"{cut} = {cut} if 0 <= {cut} < {self.b} else -1")
        self.skip = cut
        self.branches(apart)
        self.skip = ""
        with self.out.block(f"if {cut} >= 0:"), self.scope():
            before, self.walk = self.walk, f"for z in range({cut}, {cut} + 1):"
            self.branches(together)
            self.walk = before

    def exempt(self, lane: str) -> str:
        self.exempts = True
        row, start = self.fresh("r"), f"{self.widest} - {lane}"
        self.out.add(f"{row} = lone[{start} : {start} + {self.b}]")
        return f"{row}[z]"

    @property
    def widest(self) -> str:
        """Lanes of a row at most, as a parameter."""
        return self.library.numbers.integer(widest_lane(self.tables))

    def lanes(self, work: Sequence[tuple[str | None, sp.Expr, Formula]]) -> None:
        lines = Lines(depth=self.out.depth + 1) if self.lanes_on else self.out
        lane = Lane(self, lines, scalar=not self.lanes_on)
        roots: list[str] = []
        for row, rhs, f in work:
            value = lane.value(rhs)
            if row is not None and self.tables[f.table].role == "sum":
                times = "times * " if self.halved and f.table in self.plane.staged.totals else ""
                lines.add(f"{row} += {times}{value}")
            elif row is not None:
                lines.add(f"{row} = {value}")
            if self.tables[f.table].role == "kept":
                roots += self.roots(f, value, lines)
            lane.memo[Cell(f.table, "ij", *f.index)] = value
        if self.lanes_on:
            self.lane_loop(lines, lane)
            stored = [(row, f) for row, _, f in work if row is not None and self.tables[f.table].role == "local"]
            self.blank([*(row for row, _ in stored), *roots])
            self.ends_blank([f for _, f in stored])

    def roots(self, f: Formula, value: str, lines: Lines) -> list[str]:
        """Roots of what is kept of a sample, each in a table of its own: 1/√0 is 0, no variance is no correlation."""
        rows, known = [], dict[tuple[float, float], str]()
        for name, root in self.shelf.roots.items():
            if root.base != f.table:
                continue
            slope, shift = map(self.library.numbers.real, (root.slope, root.shift))
            if (root.slope, root.shift) not in known:
                q, s = self.fresh("t"), self.fresh("t")
                known[root.slope, root.shift] = s
                lines.add(f"{q} = {slope} * {value} + {shift}")
                lines.add(f"{s} = math.sqrt({q}) if {q} > 0.0 else 0.0")
            s, row = known[root.slope, root.shift], self.keep(name, f)
            lines.add(f"{row} = {s}" if root.power > 0 else f"{row} = 1.0 / {s} if {s} > 0.0 else 0.0")
            rows.append(row)
        return rows

    def ends_blank(self, written: Sequence[Formula]) -> None:
        """Zeros as far as windows reach before the first lane and after the last, where these depend on the offset."""
        for f in written if self.plane.staged.diagonal and self.first.is_Symbol else ():
            if margin := self.plane.margin[f.table]:
                *at, lanes = self.slots(self.tables[f.table], f.index)
                start, stop = lanes.split(" : ")
                name = self.buffers[f.table]
                with self.out.block(f"for z in range({self.library.numbers.integer(margin)}):"):
                    self.out.add(f"{name}[{', '.join([*at, f'{start} - 1 - z'])}] = 0.0")
                    self.out.add(f"{name}[{', '.join([*at, f'{stop} + z'])}] = 0.0")

    def blank(self, rows: Sequence[str]) -> None:
        """Zeros in the blank lanes between rows of an image. Variances there are as good as any, and not read as 0."""
        integer = self.library.numbers.integer
        for first, step, run in self.plane.grid.blank_runs() if self.plane.grid is not None and rows else ():
            x = self.fresh("x")
            with self.out.block(f"for {x} in range({integer(first)}, {self.b}, {integer(step)}):"):
                if run == 1:
                    self.out.lines += [f"{'    ' * self.out.depth}{row.removesuffix('[z]')}[{x}] = 0.0" for row in rows]
                    continue
                with self.out.block(f"for z in range({x}, {x} + {integer(run)}):"):
                    for row in rows:
                        self.out.add(f"{row} = 0.0")

    # ------------------------------------------------------------ sums

    def unrolled(self, e: Over) -> bool:
        """Whether a sum is written out, with all sums in it."""
        count = 1
        for o in parts(e, Over):
            if not isinstance(o, Total) or not small(o.range) or o.range.index == LANE:
                return False
            count *= int(o.range.hi - o.range.lo + 1)
        return count <= UNROLLED

    def sums(self, expressions: Sequence[sp.Expr]) -> None:
        super().sums([o for x in expressions for o in outermost(x, Over) if not self.unrolled(o)])

    def reduced(self, e: sp.Expr) -> sp.Expr:
        return e if isinstance(e, Over) and self.unrolled(e) else super().reduced(e)

    def varies(self, e: sp.Expr) -> bool:
        return False if isinstance(e, Over) and e.range.index == LANE else super().varies(e)

    def terms(self, work: Sequence[tuple[Over, sp.Expr, str]]) -> None:
        if not self.lanes_on:
            super().terms(work)
            return
        whole = [w for w in work if isinstance(w[0], Total) and _is_row(w[1])]
        for _, body, lane in whole:
            self.used["total"] = None
            self.out.add(f"{lane} += total({self.cell_text(body).removesuffix('[z]')})")
        work = [w for w in work if w not in whole]
        if not work:
            return
        self.sums([body for _, body, _ in work])
        lines = Lines(depth=self.out.depth + 1)
        inside = Lane(self, lines)
        for e, body, lane in work:
            value = inside.value(self.reduced(body))
            lines.add(f"{lane} += {value}" if isinstance(e, Total) else f"{lane} = max({lane}, {value})")
        self.lane_loop(lines, inside)

    # ------------------------------------------------------------ reads and writes

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


def _is_row(e: sp.Expr) -> bool:
    """Whether an expression is one cell of contiguous lanes."""
    if not isinstance(e, Cell) or not e.index or any(x.has(LANE) for x in e.index[:-1]):
        return False
    form = affine(e.index[-1])
    return form is not None and form.coefficient(LANE) == 1


def _arrays(emitter: RowsEmitter) -> Lines:
    """The tables of a worker; slots beyond boundaries and margins stay 0."""
    lines = Lines()
    integer = emitter.library.numbers.integer
    for table in dict.fromkeys(emitter.buffers.values()):
        lines.add(f"{table} = np.zeros(({', '.join(integer(n) for n in shape_of(emitter.plane, table))},))")
    if emitter.exempts:
        lines.add(f"lone = np.zeros(({integer(2 * widest_lane(emitter.tables) + 1)},))")
    if emitter.rows:
        lines.add(f"acc = np.empty(({emitter.rows}, {emitter.widest}))")
    return lines


def rows_function(name: str, emitter: RowsEmitter) -> Function:
    """``name(n, c, work, same, hard, arrays…)``: pairs (i, j), each to (row, col) of the results; ``same``: i is j.

    In easy forms, counting in ``hard`` what they miss of each pair; or else without them, for pairs of which that is not 0.
    """
    body = emitter.body()
    arrays = tuple(a for a in emitter.used if a not in HELPERS)
    text = "\n".join(
        [
            str(_arrays(emitter)),
            "    for w in range(work.shape[0]):",
            *([] if emitter.easy else ["        if hard[w] == 0:", "            continue"]),
            "        i, j, row, col = work[w, 0], work[w, 1], work[w, 2], work[w, 3]",
            *(["        missed = 0"] if emitter.flagged else []),
            *([f"        lone[{emitter.widest}] = math.inf"] if emitter.exempts else []),
            body,
            *(["        hard[w] += missed"] if emitter.flagged else []),
        ]
    )
    head = f"def {name}(n, c, work, same, hard{''.join(f', {a}' for a in arrays)}):\n"
    return Function(name, ENTRY + head + emitter.library.numbers.settle(text), arrays)


class AloneEmitter(RowsEmitter):
    """One sample: the pair (i, i). Loops over lanes are in easy forms; a row with a lane that these miss is done again."""

    plan = "alone"

    def __init__(self, library: Library, plane: Plane, shelf: Shelf) -> None:
        super().__init__(library, plane, shelf, easy=False)
        self.missing = ""  # the variable that says whether the loop at hand missed a lane

    def lanes(self, work: Sequence[tuple[str | None, sp.Expr, Formula]]) -> None:
        self.easy, self.missing = True, ""
        super().lanes(work)
        self.easy = False
        if self.missing:
            with self.out.block(f"if {self.missing}:"), self.scope():
                super().lanes(work)

    def missed(self, miss: str, alone: bool) -> None:
        self.missing = miss


def alone_function(name: str, emitter: AloneEmitter) -> Function:
    """``name(n, c, start, stop, arrays…)``: samples one by one, each to its place in the tables that are kept."""
    body = emitter.body()
    arrays = tuple(a for a in emitter.used if a not in HELPERS)
    head = f"def {name}(n, c, start, stop{''.join(f', {a}' for a in arrays)}):\n"
    text = "\n".join([str(_arrays(emitter)), "    same = True", "    for i in range(start, stop):", "        j = i", body])
    return Function(name, ENTRY + head + emitter.library.numbers.settle(text), arrays)


__all__ = ["AloneEmitter", "Plane", "RowsEmitter", "alone_function", "numbers_kept", "plane", "rows_function"]
