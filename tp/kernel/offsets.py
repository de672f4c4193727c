"""Stages in order, each with the offsets that later ones read of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd

import sympy as sp

from tp.kernel.cells import Cell, Formula, Table, greatest, least, parts
from tp.kernel.staged import LANE, OFFSET, OTHER, Stage, Staged, Unfit
from tp.program.affine import affine
from tp.program.ir import Domain, Range


@dataclass(kw_only=True)
class Offsets:
    """Formulas at one offset, what each sum over others adds up, and at which shift of whose rows; no stages yet."""

    mirrored: bool
    diagonal: bool
    tables: dict[str, Table] = field(default_factory=dict)
    lane: dict[str, int] = field(default_factory=dict)
    row: dict[str, int] = field(default_factory=dict)
    formulas: list[Formula] = field(default_factory=list)
    adds: dict[str, Formula] = field(default_factory=dict)
    shifts: dict[str, tuple[sp.Expr, Domain, str]] = field(default_factory=dict)
    totals: set[str] = field(default_factory=set)

    def finish(self) -> Staged:
        """The formulas by stage, the stages in order, each with the offsets that later ones need."""
        groups, level = self._groups(), self._levels()
        key = {name: (level.get(name, 0), groups.get(name, "")) for name in self.tables}
        stages: dict[tuple[int, str], Stage] = {}
        where: dict[str, Stage] = {}
        for k in sorted({key[f.table] for f in self.formulas}):
            stages[k] = Stage()
        for f in self.formulas:
            where[f.table] = stages[key[f.table]]
            where[f.table].formulas.append(f)
            for c in _own(f.rhs):
                if c.table in self.row and key[c.table] != key[f.table]:
                    raise Unfit
        for name, f in self.adds.items():
            inside = [c.table for c in _own(f.rhs)]
            home = max((key[t] for t in inside), default=(0, ""))
            where[name] = stages[home]
            stages[home].adds.append(f)
        self._offsets(list(stages.values()), where, {k: s for k, s in stages.items() if k[1]})
        if self.diagonal and any(_too_short(s) for s in stages.values()):
            raise Unfit
        sums, totals = tuple(self.adds), frozenset(self.totals)
        return Staged(list(stages.values()), self.tables, self.lane, self.row, sums, totals, self.diagonal)

    def _groups(self) -> dict[str, str]:
        """Tables with rows that read each other, by one of their names."""
        parents: dict[str, str] = {}

        def root(t: str) -> str:
            while parents.setdefault(t, t) != t:
                t = parents[t]
            return t

        for f in self.formulas:
            if f.table in self.row:
                for c in _own(f.rhs):
                    if c.table in self.row:
                        one, two = sorted((root(f.table), root(c.table)))
                        parents[two] = one
        return {t: root(t) for t in self.row}

    def _levels(self) -> dict[str, int]:
        """How many tables that are added to lie, one behind the other, before a table; groups share a level."""
        groups = self._groups()
        level: dict[str, int] = {}
        for _ in range(len(self.adds) + 2):
            before = dict(level)
            for f in self.formulas:
                for c in _own(f.rhs):
                    if c.table in self.adds:
                        ahead = max((level.get(x.table, 0) for x in _own(self.adds[c.table].rhs)), default=0) + 1
                    else:
                        ahead = level.get(c.table, 0)
                    level[f.table] = max(level.get(f.table, 0), ahead)
            for group in set(groups.values()):
                members = [t for t, g in groups.items() if g == group]
                level |= dict.fromkeys(members, max(level.get(t, 0) for t in members))
            if level == before:
                return level
        raise Unfit

    def _offsets(self, stages: list[Stage], where: dict[str, Stage], paired: dict[tuple[int, str], Stage]) -> None:
        """Which offsets of each stage later stages read."""
        readers = {c.table: where[f.table] for f in self.formulas for c in _own(f.rhs) if c.table in self.adds}
        for stage in reversed(stages):
            if not any(stage is s for s in paired.values()):
                continue
            first, last, steps = 1, 0, 0
            for f in stage.adds:
                shift, ranges, table = self.shifts[f.table]
                reader = readers[f.table].offsets
                scale = reader[2] if reader else 1
                ranges = tuple(
                    Range(OTHER, sp.Integer(reader[0]), sp.Integer(reader[1])) if reader and r.index == OTHER else r
                    for r in ranges
                )
                form = affine(shift)
                assert form is not None
                size = self.tables[table].axes[self.row[table]]
                most = size.hi - size.lo
                lo, hi = max(-most, int(least(shift, ranges))), min(most, int(greatest(shift, ranges)))
                step = gcd(*(abs(k) * (scale if s == OTHER else 1) for s, k in form.terms))
                lo += -(lo - (int(least(shift, ranges)))) % max(step, 1)
                steps = gcd(steps, step, *([] if first > last else [abs(lo - first)]))
                first, last = (lo, hi) if first > last else (min(first, lo), max(last, hi))
            stage.offsets = first, last, max(steps, 1)
            stage.half = self._half(stage, readers) if self.mirrored else None

    def _half(self, stage: Stage, readers: dict[str, Stage]) -> int | None:
        """The least offset that is read, of mirror images one; None where all are."""
        assert stage.offsets is not None
        first, _, step = stage.offsets
        least_read = []
        for f in stage.adds:
            shift, ranges, _ = self.shifts[f.table]
            reader = readers[f.table]
            if f.table in self.totals:
                least_read.append(0)
            elif reader.offsets is None or reader.half is None or all(r.index != OTHER for r in ranges):
                return None
            else:
                here = Range(OTHER, sp.Integer(reader.half), sp.Integer(reader.offsets[1]))
                least_read.append(int(least(shift, tuple(here if r.index == OTHER else r for r in ranges))))
        start = max(first, first + (min(least_read) - first) // step * step)
        return start if start > first else None


def _own(e: sp.Expr) -> list[Cell]:
    return [c for c in parts(e, Cell) if c.side == "ij"]


def _too_short(stage: Stage) -> bool:
    """Whether offsets of a stage leave some of its formulas, over fewer positions than others, without a lane."""
    if stage.offsets is None:
        return False
    far = max(-stage.offsets[0], stage.offsets[1])
    lanes = [r for f in stage.formulas for r in f.domain if r.index == LANE]
    return any((r.hi - r.lo).xreplace({OFFSET: sp.S.Zero}) < far for r in lanes)
