"""What a kernel needs when it is called: shapes, numbers, names and the text of its module. No formulas: it is kept as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

from tp.errors import Sizes


@dataclass(frozen=True, slots=True)
class Axis:
    """One index of a table: lo..hi. ``mode`` says what lies beyond: None (nothing may), zero, circular, reflect."""

    lo: int
    hi: int
    mode: str | None = None

    @property
    def size(self) -> int:
        """Slots, with the one beyond."""
        return self.hi - self.lo + 1 + (self.mode == "zero")


Axes = tuple[Axis, ...]

Tied = tuple[tuple[int, int], ...]
"""Slots k of the first member and j of the second that always have the same index."""


@dataclass(frozen=True, slots=True)
class Key:
    """A table's meaning: ``kind[a, b]`` at (i, j), or with ``flip`` at (j, i); ``b`` empty for a value of one member."""

    kind: str
    a: str
    b: str = ""
    flip: bool = False


@dataclass(frozen=True, slots=True)
class Input:
    """A Gram table or the coordinates of an input: families, and the index slots both members share."""

    key: Key
    tied: Tied
    axes: Axes


@dataclass(frozen=True, slots=True)
class Root:
    """A table of (slope q + shift)^power, q the numbers of a site table."""

    base: str
    slope: float
    shift: float
    power: float


@dataclass(frozen=True, slots=True)
class Constant:
    """A table that the spec gives, row by row."""

    shape: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Compiled:
    """The text of a module and what a kernel needs to call it."""

    network: str
    data: dict[str, tuple[int, ...]]  # the shape of one sample, by input
    power: str  # of n, by which the kernel was divided
    kinds: tuple[str, ...]
    text: str = field(repr=False)
    integers: tuple[int, ...]
    floats: tuple[float, ...]
    functions: dict[str, tuple[str, ...]]  # the arrays each takes, in order
    inputs: dict[str, Input]  # of sites, by name; of pairs with the prefix "pair."
    sites: dict[str, Axes]
    outputs: tuple[str, ...]
    out_tables: dict[str, Axes]
    crossed: bool  # whether outputs at different indices are paired: axes (t, t') instead of t
    constants: dict[str, Constant]
    coefficients: dict[str, Axes]  # tables of coefficient vectors
    arguments: dict[str, int]  # numbers that a vector of each of these depends on, a variance first
    lengths: dict[str, str]  # whose length each of these has
    blocks: dict[str, int]  # of how many pieces of this length a vector of each of these is made
    roots: dict[str, Root]
    bound: float
    double: bool  # whether pairs are computed in double precision in any kernel
    rules: tuple[str, ...]
    lanes: dict[str, int]  # numbers per lane that a function keeps
    sites_by_rows: bool = False  # whether positions are lanes in what one sample decides
    makers: dict[str, str] = field(default_factory=dict)  # the table whose functions make the vectors of each of these
    grid: tuple[tuple[int, int], ...] = ()  # where all positions are lanes: by axis how many, and blank ones after them
    sizes: dict[str, Sizes] = field(default_factory=dict)  # by what names the extents of each input are set

    def out_shape(self, name: str) -> tuple[int, ...]:
        """The axes of an output table besides samples."""
        return tuple(a.size for a in self.out_tables[name])

    @property
    def pair_grams(self) -> dict[str, Input]:
        """Gram tables that pairs of samples read, by name."""
        return {n[5:]: e for n, e in self.inputs.items() if n.startswith("pair.") and e.key.kind == "Gram"}
