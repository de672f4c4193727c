"""Stages as numba text: one pair of samples at a time, contiguous positions as lanes.

Where both samples are one (``same``), equal positions are one variable: their lane is computed again by one-variable formulas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sympy as sp

from tp.kernel.addresses import PlaneEmitter
from tp.kernel.cells import Cell, Formula, Over, Same, Total, outermost, parts
from tp.kernel.emit import decided
from tp.kernel.ends import small
from tp.kernel.functions import HELPERS, Function, Shelf
from tp.kernel.lanes import Lane, Library
from tp.kernel.plane import Plane, shape_of, widest_lane
from tp.kernel.staged import LANE, OFFSET, Stage
from tp.kernel.text import ENTRY, Lines
from tp.program.affine import affine
from tp.program.ir import Domain, Range

UNROLLED = 64
"""Terms that nested sums may have when they are written out."""


class RowsEmitter(PlaneEmitter):
    """One pair of samples (i, j); ``same`` is a variable of the function."""

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
