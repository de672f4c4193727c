"""Bands: a table of pairs of positions that is only read near its diagonal holds only that.

The variance after an average pool needs the covariances within a window, those before the pool's convolution the same
ones. With p' = p + d a table K[p; p'] becomes K[p; d], and how far d goes is found from the reads, beginning with
those that are wanted: positions × window numbers instead of positions².
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from tp.kernel.cells import Axis, Cell, Formula, Spot, Table, Total, cells, greatest, least, parts
from tp.kernel.demand import Key, Plan
from tp.kernel.ends import earliest, latest
from tp.kernel.staged import Unfit
from tp.kernel.stages import within
from tp.program.ir import Domain, Range

Pairs = dict[str, tuple[tuple[int, int], ...]]
"""By table: pairs of axes of one family's slot in both members."""

Band = dict[tuple[str, int], tuple[int, int]]
"""By table and second axis: the least and the greatest difference that is read."""


def banded(plan: Plan, channels: dict[str, int]) -> Plan | None:
    """``plan`` with bands for tables; None where that saves nothing, or where a table does not have this form."""
    try:
        whole = replace(plan, formulas=[within(f, plan.tables[f.table]) for f in plan.formulas])
        pairs = paired(whole)
        band = _band(whole, pairs)
    except Unfit:
        return None
    if not any(hi - lo < _axis(plan, key).hi - _axis(plan, key).lo for key, (lo, hi) in band.items()):
        return None
    return _Bander(whole, pairs, band, channels).plan()


def _axis(plan: Plan, key: tuple[str, int]) -> Axis:
    return plan.tables[key[0]].axes[key[1]]


# ---------------------------------------------------------------- pairs of axes


def paired(plan: Plan) -> Pairs:
    """From inner products up: a table's axes are a pair where what it reads says so, in all reads alike."""
    found: Pairs = {}
    for name, (key, tied) in plan.inputs.items():
        count = len(plan.tables[name].axes)
        if key.kind == "Gram" and key.a == key.b and not tied and count % 2 == 0:
            found[name] = tuple((k, count // 2 + k) for k in range(count // 2))
    for _ in plan.formulas:
        before = dict(found)
        for f in plan.formulas:
            if plan.tables[f.table].role == "local":
                read = _read_pairs(f, found)
                if read:
                    found[f.table] = tuple(p for p in found.get(f.table, read) if p in read)
        if found == before:
            break
    for name, own in found.items():
        for x, y in own:
            one, two = plan.tables[name].axes[x], plan.tables[name].axes[y]
            if (one.lo, one.hi) != (two.lo, two.hi) or one.mode not in (None, "zero"):
                raise Unfit
    return found


def _read_pairs(f: Formula, known: Pairs) -> tuple[tuple[int, int], ...]:
    """Pairs of a left side's axes: those whose symbols stand in both slots of a pair that is read."""
    at = {e: k for k, e in enumerate(f.index)}
    found: dict[tuple[int, int], None] = {}
    for cell in parts(f.rhs, Cell):
        for x, y in known.get(cell.table, ()):
            one, two = ([at[s] for s in cell.index[k].free_symbols if s in at] for k in (x, y))
            if len(one) == len(two) == 1 and one != two:
                found[one[0], two[0]] = None
    return tuple(found)


# ---------------------------------------------------------------- differences


def _band(plan: Plan, pairs: Pairs) -> Band:
    """How far from the diagonal tables are read."""
    band: Band = {}
    for _ in range(len(plan.formulas) + 2):
        before = dict(band)
        for f in plan.formulas:
            if any((f.table, y) not in band for _, y in pairs.get(f.table, ())):
                continue  # not read yet
            ranges = _domain(f, pairs, band)
            swap = _second(f, pairs)
            for cell, inner in cells(f.rhs, ()):
                for x, y in pairs.get(cell.table, ()):
                    e = sp.expand((cell.index[y] - cell.index[x]).xreplace(swap))
                    axis = plan.tables[cell.table].axes[y]
                    most = axis.hi - axis.lo
                    lo, hi = max(-most, least(e, (*ranges, *inner))), min(most, greatest(e, (*ranges, *inner)))
                    known = band.get((cell.table, y), (int(lo), int(hi)))
                    band[cell.table, y] = min(known[0], int(lo)), max(known[1], int(hi))
        if band == before:
            return band
    raise Unfit


def _second(f: Formula, pairs: Pairs) -> dict[sp.Basic, sp.Expr]:
    """The second symbol of each pair as the first plus a difference, which takes the second's name."""
    return {f.index[y]: f.index[x] + f.index[y] for x, y in pairs.get(f.table, ())}


def _domain(f: Formula, pairs: Pairs, band: Band) -> Domain:
    """The left side's domain over differences: within the band, and both positions within range."""
    ranges = {r.index: r for r in f.domain}
    first = {f.index[y]: (f.index[x], y) for x, y in pairs.get(f.table, ())}
    used = {s for r in f.domain for s in r.lo.free_symbols | r.hi.free_symbols}
    if any(s not in ranges or s in used for y, (x, _) in first.items() for s in (x, y)):
        raise Unfit
    differences = []
    for y, (x, axis) in first.items():
        lo, hi = band[f.table, axis]
        differences.append(Range(y, sp.Integer(lo), sp.Integer(hi)))
        one, two = ranges[x], ranges[y]
        ranges[x] = Range(x, latest(one.lo, two.lo - y), earliest(one.hi, two.hi - y))
    return *differences, *(ranges[r.index] for r in f.domain if r.index not in first)


# ---------------------------------------------------------------- rewriting


class _Bander:
    def __init__(self, plan: Plan, pairs: Pairs, band: Band, channels: dict[str, int]) -> None:
        self.source, self.pairs, self.band, self.channels = plan, pairs, band, channels
        self.inputs = {n: v for n, v in plan.inputs.items() if n not in pairs}
        self.tables = {n: self.table(t) for n, t in plan.tables.items()}

    def plan(self) -> Plan:
        """Formulas over bands; inner products become formulas too."""
        used = {name for name, _ in self.band}
        formulas = [self.formula(f) for f in self.source.formulas if not self.pairs.get(f.table) or f.table in used]
        formulas += [self.gram(n) for n in self.source.inputs if n in self.pairs]
        return Plan(formulas, self.tables, self.inputs, self.source.sites)

    def table(self, t: Table) -> Table:
        seconds = {y for _, y in self.pairs.get(t.name, ())}
        axes = tuple(
            Axis(*self.band[t.name, k]) if k in seconds and (t.name, k) in self.band else a for k, a in enumerate(t.axes)
        )
        return replace(t, axes=axes, role="local" if t.name in self.pairs and t.role == "gram" else t.role)

    def formula(self, f: Formula) -> Formula:
        swap = _second(f, self.pairs)
        return Formula(f.table, f.index, _domain(f, self.pairs, self.band), self.moved(f.rhs, swap))

    def moved(self, e: sp.Expr, swap: dict[sp.Basic, sp.Expr]) -> sp.Expr:
        if isinstance(e, Cell):
            seconds = {y: x for x, y in self.pairs.get(e.table, ())}
            index = [sp.expand(i.xreplace(swap)) for i in e.index]
            return Cell(*e.args[:2], *(sp.expand(i - index[seconds[k]]) if k in seconds else i for k, i in enumerate(index)))
        if isinstance(e, Spot):
            return Spot(e.args[0].xreplace(swap), *e.args[1:])
        if not e.args or not isinstance(e, sp.Basic):
            return e
        return e.func(*(self.moved(a, swap) if isinstance(a, sp.Basic) else a for a in e.args))

    def gram(self, name: str) -> Formula:
        """Σ_c x[…, c] x[…, c] over the band."""
        key, _ = self.source.inputs[name]
        axes = self.source.tables[name].axes
        half = len(axes) // 2
        data = f"data_{key.a}"
        channels = Axis(0, self.channels[key.a] - 1)
        self.inputs[data] = Key("data", key.a), ()
        self.tables[data] = Table(data, (*(Axis(a.lo, a.hi) for a in axes[:half]), channels), "data")
        index = [sp.Symbol(f"_g{k + 1}", integer=True) for k in range(len(axes))]
        c = sp.Symbol("_c", integer=True)
        body = sp.Mul(*(Cell(data, "s", *index[part], c) for part in (slice(None, half), slice(half, None))), evaluate=False)
        domain = tuple(Range(s, sp.Integer(a.lo), sp.Integer(a.hi)) for s, a in zip(index, axes, strict=True))
        rhs = Total(body, c, sp.S.Zero, sp.Integer(channels.hi))
        return self.formula(Formula(name, tuple(index), domain, rhs))


__all__ = ["Pairs", "banded", "paired"]
