"""Which slots of tables run together, and which differences of slots never mix.

A convolution reads K[p+k, q+l; p'+k, q'+l]: the slots p of all layers are one *class*, so are the p'. One class, of the
second sample's last slot, becomes the contiguous *lanes*. Of another pair of slots (p, p') the difference p' − p is the same
on both sides of every such read: the whole stack can be computed for one *offset* at a time. Where there is no other pair, as
with one axis of positions, the first sample's last slot is the lanes, and their own difference is the offset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import sympy as sp

from tp.kernel.cells import Cell, Table, parts
from tp.kernel.demand import Plan
from tp.kernel.sizes import CACHE

Slot = tuple[str, int]


@dataclass
class Slots:
    """Classes of slots: those that one index reaches through reads."""

    plan: Plan
    parents: dict[Slot, Slot] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for f in self.plan.formulas:
            homes: dict[sp.Basic, Slot] = {}
            for k, e in enumerate(f.index):
                self._meet(homes, e.free_symbols, (f.table, k))
            own = {r.index for r in f.domain}
            for cell in parts(f.rhs, Cell):
                if cell.side != "-":
                    name = cell.table if cell.side == "ij" else f"{cell.table}_{cell.side}"
                    for k, e in enumerate(cell.index):  # taps of a window stand in both slots of a pair
                        self._meet(homes, {e} if e.is_Symbol else e.free_symbols & own, (name, k))

    def _meet(self, homes: dict[sp.Basic, Slot], symbols: set[sp.Basic], slot: Slot) -> None:
        self.root(slot)
        for s in sorted(symbols, key=str):
            self.parents[self.root(slot)] = self.root(homes.setdefault(s, slot))

    def root(self, slot: Slot) -> Slot:
        while self.parents.setdefault(slot, slot) != slot:
            slot = self.parents[slot]
        return slot

    def axis(self, table: str, count: int, wanted: Slot) -> int | None:
        """The axis of a table in a class; None where it has none, or several."""
        found = [k for k in range(count) if self.root((table, k)) == wanted]
        return found[0] if len(found) == 1 else None

    def several(self, table: str, count: int, wanted: Slot) -> bool:
        return sum(self.root((table, k)) == wanted for k in range(count)) > 1


@dataclass(frozen=True)
class Layout:
    """By table: the axis of lanes; the axes (first, second) whose difference is an offset."""

    lane: dict[str, int]
    rows: dict[str, tuple[int, int]]

    @property
    def diagonal(self) -> bool:
        """Whether the offset is one of lanes: they are the first of its two slots."""
        return any(self.lane.get(t) == first for t, (first, _) in self.rows.items())


def layouts(plan: Plan, arity: Callable[[str], int]) -> list[Layout]:
    """Lanes and offsets for a plan that starts from inner products at positions, the best first; none where no class is lanes.

    Without offsets a table holds all pairs of positions: where these fit the cache, they are best kept whole.
    """
    base = next(((n, k, t) for n, (k, t) in plan.inputs.items() if k.kind == "Gram" and plan.tables[n].axes), None)
    if base is None:
        return []
    name, key, tied = base
    slots = Slots(plan)
    lane = slots.root((name, len(plan.tables[name].axes) - 1))
    tables = [t for t in plan.tables.values() if t.role in ("local", "gram", "out")]
    if any(slots.several(t.name, len(t.axes), lane) for t in tables):
        return []
    lanes = {t.name: k for t in tables if (k := slots.axis(t.name, len(t.axes), lane)) is not None}
    count = arity(key.a)
    second = [j for j in range(arity(key.b)) if j not in {j for _, j in tied}]
    whole = Layout(lanes, {})
    for k in range(count):
        if key.a == key.b and k in second:
            pair = slots.root((name, k)), slots.root((name, count + second.index(k)))
            rows = _pairs(slots, tables, pair)
            if pair[0] == pair[1] or rows is None:
                continue
            if lane not in pair:
                return [Layout(lanes, rows), whole]
            along = Layout({t: first for t, (first, _) in rows.items()}, rows)
            large = sum(prod(a.size for a in t.axes) for t in tables if t.role != "out") > CACHE
            return [along, whole] if large and rows.keys() == lanes.keys() else [whole]
    return [whole]


def _pairs(slots: Slots, tables: list[Table], pair: tuple[Slot, Slot]) -> dict[str, tuple[int, int]] | None:
    """The axes of a pair of classes in every table that has them; None where one comes without the other, or unlike it."""
    found = {}
    for t in tables:
        count = len(t.axes)
        if any(slots.several(t.name, count, c) for c in pair):
            return None
        x, y = (slots.axis(t.name, count, c) for c in pair)
        if x is None and y is None:
            continue
        if x is None or y is None or t.axes[x] != t.axes[y] or t.axes[x].mode not in (None, "zero") or t.role == "out":
            return None
        found[t.name] = x, y
    return found


__all__ = ["Layout", "Slots", "layouts"]
