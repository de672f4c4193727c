"""Loops and nests as numba text, one *lane* loop innermost.

A table holds a row of lanes per index point: the columns j of a block for a pair of samples, samples for what one
sample decides. Addresses, boundaries and conditions are worked out once per point; the loop over lanes is straight
arithmetic on contiguous rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.gaussian.lowered import Lowered
from tp.kernel.cells import (
    Cell,
    Formula,
    Over,
    Same,
    Table,
    Total,
    hull,
    outermost,
    parts,
)
from tp.kernel.expressions import condition_text
from tp.kernel.lanes import Lane, Library
from tp.kernel.nests import Nests
from tp.kernel.order import Code, Item, Nest
from tp.kernel.text import Lines
from tp.program.affine import affine
from tp.program.ir import Domain, Range


class Emitter(Nests):
    """Text of one function's loops. Subclasses say where cells of inputs and sites lie (``input_row``, ``input_scalar``)."""

    same = False  # whether the two samples are one, so that equal spots are one variable
    easy = False  # whether to use easy forms and count the lanes that they miss
    follows = False  # whether to try forms near an angle before them, which is followed
    flagged = False  # whether there are such
    whole_rows = False  # whether Mehler's sums are computed for all lanes at a time
    spreads = False  # whether integrals over one variable are

    def __init__(self, library: Library, tables: dict[str, Table], code: Code) -> None:
        super().__init__(library, tables, code)
        self.row = self.rows = 0  # the next row for a sum, and how many there are
        self.totals: dict[sp.Symbol, str] = {}
        self.group: list[Expectation] = []
        self.ahead: set[Cell] = set()  # what the loop over lanes at hand computes later
        self.b, self.walk = "b", "for z in range(b):"
        self.steps: list[Range] = []  # the recurrences around
        self.angles: list[str] = []  # by loop over lanes near an angle, how many states it has
        self.skip = ""  # a lane whose misses do not count, since it is computed again

    # ------------------------------------------------------------ to be given

    def input_row(self, cell: Cell, at: list[str]) -> str | None:
        """Text of the row of lanes of an input or site cell at addresses; None when it is one number."""
        raise NotImplementedError

    def input_scalar(self, cell: Cell, at: list[str]) -> str:
        """Text of the number of a cell that does not vary over lanes."""
        raise NotImplementedError

    def exempt(self, lane: str) -> str:
        """Text of a row's lane that is infinite at the lane of this name, elsewhere 0."""
        raise NotImplementedError

    def out_row(self, table: str, at: list[str]) -> str:
        raise NotImplementedError

    def coefficients(self, low: Lowered, e: Expectation) -> tuple[str, str] | None:
        """Names of the rows of coefficient vectors of both sites, where there are such."""
        return None

    def columns(self, low: Lowered, e: Expectation) -> tuple[str, str, str]:
        """Names of one sample's coefficients, of all others' as columns, and of the first column to read."""
        raise NotImplementedError

    def hoisted(self, e: sp.Expr) -> Cell | None:
        """The cell that holds ``e`` where it is computed once per sample beforehand."""
        return None

    # ------------------------------------------------------------ reads

    def cell_text(self, cell: Cell) -> str:
        """Text of a cell's number at lane ``z``."""
        at = self.address(cell)
        if not self.lane_cell(cell):
            return self.remember(("scalar", cell), self.input_scalar(cell, at), "v")
        text = self.input_row(cell, at)
        if text is None:
            return self.lane(cell.table, at)
        return f"{self.remember(('row', text), text, 'r')}[z]"

    def written_out(self, e: Over) -> list[sp.Expr]:
        """The terms of a sum over few values."""
        low, high = int(e.range.lo), int(e.range.hi)
        return [e.body.xreplace({e.range.index: sp.Integer(k)}) for k in range(low, high + 1)]

    # ------------------------------------------------------------ structure

    def body(self) -> str:
        """All items."""
        for item in self.code.items:
            self.item(item)
        return str(self.out)

    def item(self, item: Item) -> None:
        if isinstance(item, Nest):
            self.row = 0  # no sum outlives its nest
            with self.loops(self.outside_in(item)):
                self.branches(list(item.formulas))
            return
        with self.loops((item.range,), item.reverse):
            self.steps.append(item.range)
            for inner in item.body:
                self.item(inner)
            self.steps.pop()

    def outside_in(self, nest: Nest) -> Domain:
        """The order of a nest's loops."""
        return nest.domain

    # ------------------------------------------------------------ points

    def branches(self, formulas: list[Formula]) -> None:
        """The formulas at a point, once for each way in which sites may coincide there."""
        self.sums([f.rhs for f in formulas])
        where = next((s for f in formulas for s in parts(f.rhs, Same)), None)
        if where is None:
            self.point(formulas)
            return
        met = self.meeting(where)
        together, apart = ([self.decided(f, met, one) for f in formulas] for one in (True, False))
        if not self.same:
            self.branches(apart)
        elif not met:
            self.branches(together)
        else:
            test = " and ".join(f"{self.spot(a)} == {self.spot(b)}" for a, b in where.args[0])
            with self.out.block(f"if {test}:"), self.scope():
                self.branches(together)
            with self.out.block("else:"), self.scope():
                self.branches(apart)

    def meeting(self, where: Same) -> frozenset[sp.Basic]:
        """What decides whether sites coincide: differences of indices that are 0 then, of spots within their axes."""
        found = set()
        for a, b in where.args[0]:
            if self.within(a) and self.within(b):
                difference = sp.expand(a.args[0] - b.args[0])
                found.add(min(difference, -difference, key=sp.default_sort_key))
            else:
                found.add(sp.Tuple(a, b))
        return frozenset(found - {sp.S.Zero})

    def decided(self, f: Formula, met: frozenset[sp.Basic], together: bool) -> Formula:
        """The formula where all sites coincide that do so for one reason, or do not."""
        for where in dict.fromkeys(s.args[0] for s in parts(f.rhs, Same) if self.meeting(s) == met):
            f = decided(f, where, together)
        return f

    def point(self, formulas: list[Formula]) -> None:
        """Sums first, each into a row of its own; then one loop over lanes for all formulas."""
        reduced = [self.reduced(f.rhs) for f in formulas]
        self.group = [e for rhs in reduced for e in parts(rhs, Expectation)]
        self.lanes([(self.store(f), rhs, f) for f, rhs in zip(formulas, reduced, strict=True)])
        self.group = []

    def store(self, f: Formula) -> str | None:
        """The lane a formula is written to; None for what only passes within the nest."""
        if f.table in self.code.passing:
            return None
        at = self.written(f)
        if self.tables[f.table].role != "out":
            return self.lane(f.table, at)
        text = self.out_row(f.table, at)
        return f"{self.remember(('row', text), text, 'r')}[z]"

    def lane(self, table: str, at: list[str]) -> str:
        """A lane of a local table."""
        return f"{table}[{', '.join([*at, 'z'])}]"

    def lanes(self, work: Sequence[tuple[str | None, sp.Expr, Formula]]) -> None:
        """``row[z] = value`` for all lanes; a value is known to later formulas."""
        lines = Lines(depth=self.out.depth + 1)
        lane = Lane(self, lines)
        stored = all(row is not None and self.tables[f.table].role == "local" for row, _, f in work)
        self.ahead = {Cell(f.table, self.side(), *f.index) for _, _, f in work}
        for row, rhs, f in work:
            if stored and self.whole_rows and any(e not in lane.memo and lane.waits(e) for e in parts(rhs, Expectation)):
                self.lane_loop(lines, lane)  # what works on whole rows reads what was written
                lines = Lines(depth=self.out.depth + 1)
                lane = Lane(self, lines)
            value = lane.value(rhs)
            if row is not None:
                lines.add(f"{row} = {value}")
            written = Cell(f.table, self.side(), *f.index)
            lane.memo[written] = value
            lane.written.add(written)
            self.ahead.discard(written)
        self.lane_loop(lines, lane, again=True)

    def lane_loop(self, lines: Lines, lane: Lane, again: bool = False) -> None:
        """The loop over lanes; those with lanes whose easy forms are not exact are counted in ``missed``.

        ``again``: it may run twice. Then the form near an angle comes first, where there is one, and the loop with the easy form
        only where a lane is not near that angle, which is followed from row to row.
        """
        call = lane.easy[0] if len(lane.easy) == 1 else None
        if call is None or not (again and call.form.near and self.followed()):
            self.lane_loop_once(lines, [c.margin for c in lane.easy])
            return
        self.library.sources |= dict(call.form.near_sources)
        state, left = self.state(), self.fresh("h")
        sine, cosine, turns = (self.fresh("m") for _ in range(3))
        self.out.add(f"{sine}, {cosine}, {turns} = {state}[0], {state}[1], {state}[2]")
        self.out.add(f"{left} = True")
        with self.out.block(f"if {cosine} > 0.0:"):
            self.out.add(f"{left} = False")
            self.out.add(self.walk)
            near = call.near(f"{sine}, {cosine}, {turns}")
            self.out.lines += [f"    {line.replace(call.text, near)}" for line in lines.lines]
            self.out.add(f"    {left} = {left} if {call.margin} > 0.0 else True")
            self.out.add(f"{state}[3] += 1.0")
        with self.out.block(f"if {left}:"):
            lines.lines = [f"    {line}" for line in lines.lines]
            lines.depth += 1
            self.lane_loop_once(lines, [call.margin])
            self.out.add(f"follow({state}, {call.correlation})")

    def lane_loop_once(self, lines: Lines, margins: Sequence[str]) -> None:
        """One flag alone is kept as a truth value, so that no count of whole numbers halves the lanes of a vector.

        That includes the lane that is exempt: to the margins is added a row of zeros with one infinity, at this lane.
        """
        if not margins:
            self.out.add(self.walk)
            self.out.lines += lines.lines
            return
        miss = self.fresh("h")
        alone = len(margins) == 1
        beside = f" + {self.exempt(self.skip)}" if alone and self.skip else ""
        self.out.add(f"{miss} = {False if alone else 0}")
        self.out.add(self.walk)
        if alone:
            lines.add(f"{miss} = {miss} if {margins[0]}{beside} > 0.0 else True")
        else:
            passed = " and ".join(f"{f} > 0.0" for f in margins)
            lines.add(f"{miss} += 0 if {passed}{f' or z == {self.skip}' if self.skip else ''} else 1")
        self.out.lines += lines.lines
        self.missed(miss, alone)

    def missed(self, miss: str, alone: bool) -> None:
        """After a loop: ``miss`` says whether, or counts how often, an easy form was not exact."""
        self.flagged = True
        self.out.add(f"missed += 1 if {miss} else 0" if alone else f"missed += {miss}")

    def followed(self) -> bool:
        """Whether an angle is followed from one row of lanes to the next here."""
        return self.follows and bool(self.ranges)

    def state(self) -> str:
        """The state of the angle that is followed here, one for every step of the recurrences around."""
        at, size = "", ""
        for k, r in enumerate(self.steps):
            lo, hi = hull(r, tuple(self.steps[:k]))
            first, many = self.library.numbers.integer(lo), f"({self.library.numbers.integer(hi, written=False)} + 1"
            step, many = self.minus(self.index(r.index), first), f"{self.minus(many, first)})"
            at, size = (f"({at}) * {many} + {step}", f"{size} * {many}") if at else (step, many)
        self.angles.append(size or "1")
        return self.remember(("angle", len(self.angles)), f"near[{len(self.angles) - 1}, {at or 0}]", "a")

    def angle_states(self) -> list[str]:
        """The line that makes the states of all angles that are followed."""
        sizes = list(dict.fromkeys(self.angles))
        most = sizes[0] if len(sizes) == 1 else f"max({', '.join(sizes)})"
        return [f"near = np.zeros(({len(self.angles)}, {most}, 8))"] if sizes else []

    def side(self) -> str:
        return "ij"

    # ------------------------------------------------------------ reductions

    def sums(self, expressions: Sequence[sp.Expr]) -> None:
        """The sums in some expressions, those over the same range in one loop."""
        groups: dict[object, list[Over]] = {}
        for e in dict.fromkeys(o for x in expressions for o in outermost(x, Over)):
            if not e.has(Same) and self.known(("total", e)) is None:
                alone = _delta(e.body, e.range.index) is not None
                groups.setdefault(e if alone else (type(e), e.range.lo, e.range.hi), []).append(e)
        for group in groups.values():
            self.accumulate(group)

    def reduced(self, e: sp.Expr) -> sp.Expr:
        """``e`` with its sums computed, as symbols."""
        if isinstance(e, Over):
            if self.known(("total", e)) is None:
                self.accumulate([e])
            return sp.Symbol(f"_{self.known(('total', e))}", real=True)
        if not e.args or not e.has(Over):
            return e
        return e.func(*(self.reduced(a) for a in e.args))

    def accumulate(self, group: Sequence[Over]) -> None:
        """Sums over one range, each into a row (or a number) of its own."""
        work, starts = [], []
        for e in group:
            start = "0.0" if isinstance(e, Total) else "-math.inf"
            if self.varies(e):
                row = self.new_rows(1)
                name, lane = f"acc{row}", f"acc[{row}, z]"
                starts.append(f"{lane} = {start}")
            else:
                name = lane = self.fresh("s")
                self.out.add(f"{name} = {start}")
            self.memo[-1]["total", e] = name
            self.totals[sp.Symbol(f"_{name}", real=True)] = lane
            work.append((e, e, lane))
        if starts:
            with self.out.block(f"for z in range({self.b}):"):
                for line in starts:
                    self.out.add(line)
        self.looped(work)

    def new_rows(self, count: int) -> int:
        """The first of some rows for sums."""
        first, self.row = self.row, self.row + count
        self.rows = max(self.rows, self.row)
        return first

    def looped(self, work: Sequence[tuple[Over, sp.Expr, str]]) -> None:
        """The loop of sums ``(sum, what is left of it, accumulator)`` over one range; a Kronecker delta becomes an ``if``."""
        r = work[0][1].range
        bodies = [(e, left.body.xreplace({left.range.index: r.index}), lane) for e, left, lane in work]
        with self.scope():
            solved = _delta(bodies[0][1], r.index) if len(bodies) == 1 and isinstance(work[0][0], Total) else None
            if solved is None:
                with self.loops((r,)):
                    self.inner(bodies)
                return
            at, body = solved
            test = f"{self.index(r.lo)} <= {self.index(at)} <= {self.index(r.hi)}"
            with self.out.block(f"if {test}:"), self.scope():
                self.inner([(bodies[0][0], body.xreplace({r.index: at}), bodies[0][2])])

    def inner(self, work: Sequence[tuple[Over, sp.Expr, str]]) -> None:
        """Below a sum's loop: more loops of the same sums, or their terms."""
        guards = [_guard(body) if isinstance(e, Total) else (None, body) for e, body, _ in work]
        if any(guard is not None for guard, _ in guards):
            for (e, _, lane), (guard, body) in zip(work, guards, strict=True):
                if guard is None:
                    self.inner([(e, body, lane)])
                else:
                    with self.out.block(f"if {condition_text(guard, self.index)}:"), self.scope():
                        self.inner([(e, body, lane)])
            return
        deeper: dict[object, list[tuple[Over, sp.Expr, str]]] = {}
        for e, body, lane in work:
            nested = type(body) is type(e)
            alone = nested and _delta(body.body, body.range.index) is not None
            key: object = (e, lane) if alone else (body.range.lo, body.range.hi) if nested else None
            deeper.setdefault(key, []).append((e, body, lane))
        for key, members in deeper.items():
            if key is None:
                self.terms(members)
            else:
                self.looped(members)

    def terms(self, work: Sequence[tuple[Over, sp.Expr, str]]) -> None:
        """One term of each sum."""
        self.sums([body for _, body, _ in work])
        ready = [(e, self.reduced(body), lane) for e, body, lane in work]
        lines = Lines(depth=self.out.depth + 1)
        inside, before = Lane(self, lines), Lane(self, self.out, scalar=True)
        for e, body, lane in ready:
            varies = lane.endswith("z]")
            value = (inside if varies else before).value(body)
            text = f"{lane} += {value}" if isinstance(e, Total) else f"{lane} = max({lane}, {value})"
            (lines if varies else self.out).add(text)
        if any(lane.endswith("z]") for _, _, lane in ready):
            self.lane_loop(lines, inside)

    def varies(self, e: sp.Expr) -> bool:
        """Whether ``e`` differs between lanes."""
        return any(self.lane_cell(c) for c in parts(e, Cell)) or any(
            self.totals[s].endswith("z]") for s in parts(e, sp.Symbol) if s in self.totals
        )

    def lane_cell(self, cell: Cell) -> bool:
        return cell.side != "-"


def decided(f: Formula, where: sp.Tuple, together: bool) -> Formula:
    """The formula where sites coincide, or do not."""
    swap = {s: s.args[1 if together else 2] for s in parts(f.rhs, Same) if s.args[0] == where}
    return Formula(f.table, f.index, f.domain, f.rhs.xreplace(swap)) if swap else f


def _delta(body: sp.Expr, index: sp.Symbol) -> tuple[sp.Expr, sp.Expr] | None:
    """A factor δ(e, f) that fixes the index: its value and the rest."""
    for factor in sp.Mul.make_args(body):
        if isinstance(factor, sp.KroneckerDelta):
            difference = affine(factor.args[0] - factor.args[1])
            slope = difference.coefficient(index) if difference else 0
            if abs(slope) == 1:
                return sp.expand(index - slope * (factor.args[0] - factor.args[1])), sp.Mul(
                    *(a for a in sp.Mul.make_args(body) if a is not factor)
                )
    return None


def _guard(body: sp.Expr) -> tuple[sp.Basic | None, sp.Expr]:
    """A factor that is 0 unless a condition on indices holds: the condition and what is left."""
    for factor in sp.Mul.make_args(body):
        rest = [a for a in sp.Mul.make_args(body) if a is not factor]
        if isinstance(factor, sp.Piecewise) and len(factor.args) == 2 and factor.args[1].args == (sp.S.Zero, sp.true):
            value, condition = factor.args[0].args
            return condition, sp.Mul(value, *rest)
        if isinstance(factor, sp.KroneckerDelta):
            return sp.Eq(*factor.args), sp.Mul(*rest)
    return None, body
