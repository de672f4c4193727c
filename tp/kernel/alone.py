"""What one sample decides, with positions as lanes: the plan for one sample in the form of stages.

There are no offsets: a table of pairs of positions is wanted near its diagonal only and stored as a band K[p; d]
(:mod:`tp.kernel.bands`), the difference d an index like any other and p the lanes.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import sympy as sp

from tp.kernel.arrange import arrange
from tp.kernel.bands import Pairs, banded, paired
from tp.kernel.cells import Axis, Cell, Formula, Table, parts
from tp.kernel.demand import Plan
from tp.kernel.slots import Layout
from tp.kernel.staged import Staged, Unfit
from tp.kernel.stages import staged, within


def numbers(plan: Plan) -> int:
    """Numbers of all tables, per sample or pair."""
    return sum(prod(a.size for a in t.axes) for t in plan.tables.values() if t.role == "local")


def alone(raw: Plan, channels: dict[str, int]) -> Staged:
    """The plan for one sample in one stage or more; :class:`Unfit` where it has no such form."""
    plain = arrange(raw, "s", windows=True)
    bands = banded(plain, channels)
    grams = [n for n, (key, _) in raw.inputs.items() if key.kind == "Gram" and raw.tables[n].axes]
    if not grams or not (2 * numbers(bands) < numbers(plain) if bands is not None else all(_tied(raw, n) for n in grams)):
        raise Unfit
    plan = bands if bands is not None else plain
    pairs = paired(_whole(plain)) if bands is not None else {}
    lane = _lanes(plan, {n: len(raw.tables[n].axes) // (1 if _tied(raw, n) else 2) - 1 for n in grams}, pairs)
    return staged(_as_pair(plan), Layout(lane, {}), channels)


def _tied(raw: Plan, gram: str) -> bool:
    return len(raw.inputs[gram][1]) == len(raw.tables[gram].axes)


def _whole(plan: Plan) -> Plan:
    return replace(plan, formulas=[within(f, plan.tables[f.table]) for f in plan.formulas])


def _lanes(plan: Plan, found: dict[str, int], pairs: Pairs) -> dict[str, int]:
    """The axis of lanes by table, from inner products up: where lanes of what is read are read at one lane of their own."""
    for _ in plan.formulas:
        before = len(found)
        for f in plan.formulas:
            differences = {f.index[y] for _, y in pairs.get(f.table, ())}
            places = {e: k for k, e in enumerate(f.index) if e not in differences}
            for cell in parts(f.rhs, Cell):
                if cell.table in found:
                    for s in cell.index[found[cell.table]].free_symbols & places.keys():
                        if found.setdefault(f.table, places[s]) != places[s]:
                            raise Unfit
        if len(found) == before:
            return found
    return found


def _as_pair(plan: Plan) -> Plan:
    """The plan as one for a pair (i, i): coordinates before positions, as pairs read them."""
    tables = {n: _table(t) for n, t in plan.tables.items()}
    formulas = [Formula(f.table, f.index, f.domain, _cells(f.rhs, plan.tables)) for f in plan.formulas]
    inputs = {n: v for n, v in plan.inputs.items() if v[0].kind != "data"}
    return Plan(formulas, tables, inputs, plan.sites)


def _table(t: Table) -> Table:
    if t.role == "data":
        return replace(t, axes=(t.axes[-1], *(Axis(a.lo, a.hi) for a in t.axes[:-1])))
    return replace(t, role="kept") if t.role == "out" else t


def _cells(e: sp.Basic, tables: dict[str, Table]) -> sp.Basic:
    if isinstance(e, Cell):
        if tables[e.table].role == "data":
            return Cell(e.table, "i", e.index[-1], *e.index[:-1])
        return Cell(e.table, "ij" if e.side == "s" else e.side, *e.index)
    if not e.args or not e.has(Cell):
        return e
    args = [_cells(a, tables) for a in e.args]
    if isinstance(e, (sp.Add, sp.Mul)):
        return e.func(*args, evaluate=False)
    return e.func(*args)


__all__ = ["alone", "numbers"]
