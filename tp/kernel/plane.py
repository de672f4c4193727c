"""Tables of one offset as planes: which lie in memory, with which rows and margins, and which of them share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sympy as sp

from tp.kernel.cells import Axis, Cell, Formula, Same, Table, cells, greatest, least, parts
from tp.kernel.ends import clipped
from tp.kernel.flat import Grid
from tp.kernel.order import Code, Item, Rows, formulas, stage_items, storage
from tp.kernel.staged import LANE, OFFSET, ROW, Staged, Unfit
from tp.program.affine import affine
from tp.program.ir import Range

SECOND = sp.Symbol("_second", integer=True)
"""The second sample's row, where it stands alone."""


@dataclass
class Plane:
    """What is emitted: stages and their items, tables as they are stored, margins of lanes."""

    staged: Staged
    items: list[tuple[Item, ...]]
    code: Code
    tables: dict[str, Table]
    margin: dict[str, int]
    grid: Grid | None = None  # where all positions are lanes


def plane(staged: Staged, grid: Grid | None = None) -> Plane:
    """Stages as loops, and tables no larger than needed."""
    tables, margin = _trimmed(staged)
    for same in (s for stage in staged.stages for f in stage.formulas for s in parts(f.rhs, Same)):
        slopes = [affine(sp.expand(a.args[0] - b.args[0])).coefficient(LANE) for a, b in same.args[0]]  # type: ignore[union-attr]
        if sorted(map(abs, slopes))[-2:] not in ([], [0], [1], [0, 0], [0, 1]):
            raise Unfit
    items = []
    for stage in staged.stages:
        rows = Rows(stage.around, ROW, _at_offset if stage.offsets else _whole, LANE)
        items.append(stage_items(stage.formulas, stage.adds, tables, rows))
    return Plane(staged, items, storage(tuple(x for part in items for x in part), tables), tables, margin, grid)


def _at_offset(r: Range) -> Range:
    return clipped(r, OFFSET)


def _whole(r: Range) -> Range:
    return r


def _trimmed(staged: Staged) -> tuple[dict[str, Table], dict[str, int]]:
    """Tables without slots beyond boundaries that no read meets, and how far reads go beyond lanes."""
    margin = dict.fromkeys(staged.lane, 0)
    beyond: set[tuple[str, int]] = set()
    for stage in staged.stages:
        for f in (*stage.formulas, *stage.adds):
            for cell, ranges in cells(f.rhs, (*stage.around, *f.domain)):
                table = staged.tables[cell.table]
                for k, (axis, e) in enumerate(zip(table.axes, cell.index, strict=True)):
                    over = max(axis.lo - least(e, ranges), greatest(e, ranges) - axis.hi)
                    if e.has(LANE) or (cell.side == "ij" and staged.lane.get(cell.table) == k):
                        margin[cell.table] = max(margin.get(cell.table, 0), _reach(e, over, axis, cell.side == "ij"))
                    elif over > 0 or (staged.row.get(cell.table) == k and e != ROW):
                        beyond.add((cell.table, k))
    tables = dict(staged.tables)
    for name, t in tables.items():
        if t.role in ("local", "sum"):
            axes = [a if (name, k) in beyond else replace(a, mode=None) for k, a in enumerate(t.axes)]
            tables[name] = replace(t, axes=tuple(axes))
    return tables, margin


def _reach(e: sp.Expr, over: float, axis: Axis, own: bool) -> int:
    """How far a read goes beyond the lanes, which must be a boundary of zeros."""
    form = affine(e)
    if form is None or form.coefficient(LANE) < 0 or over == float("inf"):
        raise Unfit
    if over > 0 and (axis.mode != "zero" or not own):
        raise Unfit
    return max(0, int(over))


def _stored(plane: Plane) -> list[str]:
    found = dict.fromkeys(f.table for part in plane.items for item in part for f in formulas(item))
    return [n for n in found if plane.tables[n].role in ("local", "sum") and n not in plane.code.passing]


def shape_of(plane: Plane, name: str) -> tuple[int, ...]:
    """Slots by axis, with those beyond boundaries and margins of lanes."""
    table, rolled = plane.tables[name], plane.code.rolled.get(name)
    sizes = []
    for k, axis in enumerate(table.axes):
        if rolled is not None and rolled[0] == k:
            sizes.append(rolled[1])
        elif plane.staged.lane.get(name) == k:
            sizes.append(axis.hi - axis.lo + 1 + 2 * plane.margin[name])
        else:
            sizes.append(axis.size)
    return tuple(sizes) or (1,)


def buffers(plane: Plane) -> dict[str, str]:
    """Which array each table lives in: tables of one shape that are not alive together share one."""
    order = [item for part in plane.items for item in part]
    alive = {n: [k for k, x in enumerate(order) if any(_touches(f, n) for f in formulas(x))] for n in _stored(plane)}
    found: dict[str, str] = {}
    last: dict[str, tuple[tuple[int, ...], int]] = {}
    for name in sorted(alive, key=lambda n: alive[n][0]):
        shape, span = shape_of(plane, name), alive[name]
        free = next((b for b, (s, end) in last.items() if s == shape and end < span[0]), None)
        if plane.tables[name].role == "sum" or not _whole_table(plane, name):
            found[name] = name
            continue
        found[name] = free or name
        last[found[name]] = shape, span[-1]
    return found


def _touches(f: Formula, name: str) -> bool:
    return f.table == name or any(c.table == name for c in parts(f.rhs, Cell))


def _whole_table(plane: Plane, name: str) -> bool:
    """Whether one formula writes all of a table, so that nothing of another can be read from its array."""
    own = [f for s in plane.staged.stages for f in s.formulas if f.table == name]
    if len(own) != 1:
        return False
    ends = {r.index: (r.lo, r.hi) for r in own[0].domain}
    return all(ends.get(e) == (a.lo, a.hi) for e, a in zip(own[0].index, plane.tables[name].axes, strict=True))


def numbers_kept(plane: Plane) -> int:
    """Numbers that a worker keeps."""
    total = 0
    for name, buffer in buffers(plane).items():
        if name == buffer:
            size = 1
            for n in shape_of(plane, name):
                size *= n
            total += size
    return total


def widest_lane(tables: Mapping[str, Table]) -> int:
    """Lanes of a row at most."""
    return max((a.axes[-1].size for a in tables.values() if a.axes), default=1)
