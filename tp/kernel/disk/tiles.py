"""How a matrix of pairs is cut: square tiles that fit a memory budget, the upper half only where it is symmetric."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import isqrt

from tp.errors import NOWHERE, DataError, Message

UNITS = {"": 1, "B": 1} | {
    f"{p}{i}B": (1024 if i else 1000) ** k for k, p in enumerate("KMGT", 1) for i in ("", "i")
}  # fmt: skip
SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{0,9})?)\s*([A-Za-z]*)\s*")

LARGEST = 4096
"""Rows of a tile at most: larger ones are no faster, and more is lost with a task that dies."""

NUMBERS = 1 << 28
"""Numbers that one tile computes at most, for the same reason."""

MOST = 1 << 20
"""Tiles of one matrix at most: each leaves a marker."""


def bytes_of(size: int | str) -> int:
    """``"2GB"``, ``"500 MB"``, ``"1.5GiB"`` or a number of bytes."""
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    found = SIZE.fullmatch(size) if isinstance(size, str) else None
    units = {name.lower(): value for name, value in UNITS.items()}
    if found and found.group(2).lower() in units and (count := int(float(found.group(1)) * units[found.group(2).lower()])):
        return count
    raise DataError(
        Message(NOWHERE, f"{size!r} is no amount of memory", 'write "2GB", "500MB", "1.5GiB" or a number of bytes', "memory")
    )


def size_text(count: float) -> str:
    """A number of bytes for people."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"


def size_above(count: int) -> str:
    """A budget of at least so many bytes, as ``memory=`` takes it."""
    unit, size = next(((u, s) for u, s in (("GB", 10**9), ("MB", 10**6)) if count >= s), ("kB", 1000))
    return f"{-(-count * 10 // size) / 10:.1f}{unit}"


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows i0..i1 and columns j0..j1, ends excluded."""

    i0: int
    i1: int
    j0: int
    j1: int

    @property
    def name(self) -> str:
        """Its marker: a tile of another size has another."""
        return f"{self.i0}-{self.i1}-{self.j0}-{self.j1}"

    @property
    def pairs(self) -> int:
        return (self.i1 - self.i0) * (self.j1 - self.j0)


@dataclass(frozen=True)
class Tiling:
    """A matrix ``rows`` × ``columns`` in squares of ``edge``; of a symmetric one the squares on and above the diagonal."""

    rows: int
    columns: int
    edge: int
    symmetric: bool

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        rows = [(a, min(a + self.edge, self.rows)) for a in range(0, self.rows, self.edge)]
        columns = [(a, min(a + self.edge, self.columns)) for a in range(0, self.columns, self.edge)]
        return tuple(Tile(*r, *c) for r in rows for c in columns if not self.symmetric or c[0] >= r[0])


def edge_for(
    rows: int, columns: int, numbers: int, needs: Callable[[int], int], budget: int, at_once: int = 1, parts: int = 12
) -> int:
    """The edge of tiles: ``needs(edge)`` bytes within the budget, and enough tiles for an even load.

    ``numbers`` is what one pair takes to compute, ``at_once`` how many tasks have such a budget, ``parts`` how many tiles a side
    has at least. Raises ``DataError`` where
    not even one pair fits, or more than ``MOST`` tiles would be needed; it says what would do.
    """
    edge = max(1, min(LARGEST, isqrt(NUMBERS // max(1, numbers)), -(-max(rows, columns) // parts)))
    edges = [edge]
    while edges[-1] > 1:
        edges.append(edges[-1] * 7 // 8)
    enough = [e for e in edges if -(-rows // e) * -(-columns // e) <= MOST]
    edge = next((e for e in enough if needs(e) <= budget), 0)
    if not edge:
        reason = f"a task of the kernel for {rows} × {columns} samples does not fit {size_text(budget)}"
        remedy = "pass fewer samples at once"
        if enough:
            least = size_above(at_once * needs(enough[-1]))
            remedy = f'raise memory= to "{least}" or more' + (", or use fewer workers" if at_once > 1 else "")
        raise DataError(Message(NOWHERE, reason, remedy, "over the memory limit", remedy.replace("memory= to", "--memory to")))
    return edge
