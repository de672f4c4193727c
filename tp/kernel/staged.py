"""A plan in stages, each a loop over the offsets between two slots of positions: what ``stages.py`` makes of a plan for pairs."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from tp.kernel.cells import Formula, Table
from tp.program.ir import Domain, Range

LANE, ROW = sp.Symbol("_lane", integer=True), sp.Symbol("_row", integer=True)
OFFSET, OTHER = sp.Symbol("_offset", integer=True), sp.Symbol("_other", integer=True)
"""The lane, the first of the two slots that differ by the offset, the offset, and the offset of a stage that reads."""


class Unfit(Exception):
    """The plan has no such form."""


@dataclass
class Stage:
    """Formulas at one offset, for all offsets ``first..last`` in steps; ``adds`` add to tables that later stages read.

    ``half`` is the first offset needed where both samples are one and the plan is its own mirror image.
    """

    formulas: list[Formula] = field(default_factory=list)
    adds: list[Formula] = field(default_factory=list)
    offsets: tuple[int, int, int] | None = None
    half: int | None = None

    @property
    def around(self) -> Domain:
        """The offset as a range around all formulas."""
        return () if self.offsets is None else (Range(OFFSET, sp.Integer(self.offsets[0]), sp.Integer(self.offsets[1])),)


@dataclass
class Staged:
    """Stages in order; tables without the slots that offsets give; by table the axis of lanes and of rows.

    ``sums`` are the tables that are added to, ``totals`` those of them that take together all pairs of positions.
    """

    stages: list[Stage]
    tables: dict[str, Table]
    lane: dict[str, int]
    row: dict[str, int]
    sums: tuple[str, ...]
    totals: frozenset[str]
    diagonal: bool = False  # whether the offset is one of lanes
