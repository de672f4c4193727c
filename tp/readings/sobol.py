"""Scrambled Sobol points: every vector is a row of one table over the nodes, and so is every innovation.

Large tables are worked on by compiled passes (:mod:`tp.readings.passes`, :mod:`tp.readings.fused`), which are equal to NumPy's to
rounding and about three times faster; for small ones, loading them would take longer than it saves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.gaussian.scrambled import pieces
from tp.readings.indexing import Key
from tp.readings.nodes import Layout, Read
from tp.readings.tape import Leaf, Tape

Array = NDArray[np.float64]
Places = NDArray[np.intp]
CHUNK = 4096
"""Nodes that NumPy works on together: what does not lie side by side is copied in pieces of this length."""
APART = 72
"""Numbers between the rows of a table: at a distance of 2^k bytes, a cache has room for few of them."""
LARGEST = 4096
"""Rows of a block whose second moments are remembered, at most."""
MUCH = 1 << 25
"""Numbers of a table from which on it is worked on by compiled passes: NumPy takes about a second for one scrambling of these."""


@dataclass
class Sobol:
    """``2^log2`` nodes, scrambled anew for every group; 8 bytes · nodes · rows.

    ``compiled``: whether by compiled passes; by the size of the table where it is None. ``shapes`` are a plan's expressions by
    form, which all its runs share.
    """

    log2: int
    rng: np.random.Generator
    compiled: bool | None = None
    shapes: dict[int, Any] = field(default_factory=dict)
    layout: Layout = field(default_factory=Layout)
    table: Array = field(default_factory=lambda: np.empty((0, 0)))
    grams: dict[int, Array] = field(default_factory=dict)

    @property
    def columns(self) -> int:
        """Numbers in a vector."""
        return 2**self.log2

    @property
    def fast(self) -> bool:
        return self.table.size >= MUCH if self.compiled is None else self.compiled

    def begin(self, layout: Layout) -> None:
        if layout is not self.layout:
            self.layout, self.table = layout, np.empty((layout.height, self.columns + APART))
        self.grams = {}
        groups: dict[Key, list[Key]] = defaultdict(list)
        for key in layout.innovations:
            groups[layout.group[key]].append(key)
        for keys in groups.values():
            self._points(keys)

    def _points(self, keys: Sequence[Key]) -> None:
        """Every innovation has its coordinate of one point set, in the order of ``keys``."""
        rows = self._rows(keys)
        for nodes, values in pieces(len(keys), self.log2, self.rng):
            self.table[rows, nodes] = values

    def _chunks(self) -> list[slice]:
        return [slice(start, min(start + CHUNK, self.columns)) for start in range(0, self.columns, CHUNK)]

    def _rows(self, keys: Sequence[Key]) -> Places:
        return np.fromiter(map(self.layout.rows.__getitem__, keys), np.intp, len(keys))

    def fresh(self, key: Key, size: float) -> Array:
        return self[key]

    def __getitem__(self, key: Key) -> Array:
        row = self.layout.rows[key]
        return self.table[row : row + 1, : self.columns]

    def keep(self, key: Key, array: Array) -> None:
        self[key][:] = array

    # ------------------------------------------------------------ expressions

    def write(self, outs: Sequence[Key], tapes: tuple[Tape, ...], read: Read) -> None:
        groups, left = self._together(tapes, averaged=False)
        rows = self._rows(outs)
        for group in groups:
            group.function(self.table, rows[group.which], group.leaves, group.given(read), self.columns)
        for k in left:
            for nodes, value in self._pieces(tapes[k], read):
                self.table[rows[k], nodes] = value

    def averages(self, groups: Sequence[Key], tapes: tuple[Tape, ...], read: Read) -> Array:
        alike, left = self._together(tapes, averaged=True)
        sums = np.zeros(len(tapes))
        for group in alike:
            found = np.empty(len(group.which))
            group.function(self.table, found, group.leaves, group.given(read), self.columns)
            sums[group.which] = found
        for k in left:
            sums[k] = sum(
                np.sum(np.broadcast_to(value, nodes.stop - nodes.start)) for nodes, value in self._pieces(tapes[k], read)
            )
        return sums / self.columns

    def _together(self, tapes: tuple[Tape, ...], averaged: bool) -> tuple[Any, Sequence[int]]:
        """Those of one form, and those left to NumPy."""
        if not self.fast:
            return (), range(len(tapes))
        if id(tapes) not in self.shapes:
            from tp.readings.fused import together

            self.shapes[id(tapes)] = together(tapes, self.layout.rows.__getitem__, averaged)
        return self.shapes[id(tapes)]

    def _pieces(self, tape: Tape, read: Read) -> Iterator[tuple[slice, Any]]:
        """The values of an expression, chunk by chunk; one number where no vector is read."""
        for nodes in self._chunks():
            yield nodes, tape.run(partial(self._piece, nodes, read))

    def _piece(self, nodes: slice, read: Read, leaf: Leaf) -> Any:
        return self.table[self.layout.rows[leaf.at], nodes] if leaf.wide else read(leaf)

    # ------------------------------------------------------------ products with many vectors

    def inner(self, rows: Sequence[Key], cols: Sequence[Key]) -> Array:
        left, right = self._rows(rows), self._rows(cols)
        if not len(left) or not len(right):
            return np.zeros((len(left), len(right)))
        first, last = min(left.min(), right.min()), max(left.max(), right.max())
        block = bisect_right(self.layout.bounds, first)
        if block == len(self.layout.bounds) or last >= self.layout.bounds[block]:
            return self._products(left, right)
        return self._remembered(block, left, right)

    def _remembered(self, block: int, left: Places, right: Places) -> Array:
        """Second moments within a block: hats and updates ask for the same ones."""
        start, stop = self.layout.bounds[block - 1 : block + 1]
        if stop - start > LARGEST:
            return self._products(left, right)
        gram = self.grams.setdefault(block, np.full((stop - start, stop - start), np.nan))
        at = np.ix_(left - start, right - start)
        if np.isnan(gram[at]).any():
            gram[at] = found = self._products(left, right)
            gram.T[at] = found
        return gram[at]

    def _products(self, left: Places, right: Places) -> Array:
        if self.fast:
            from tp.readings import passes

            return passes.inner(self.table, left, right, self.columns) / self.columns
        one, two = _straight(left), _straight(right)
        return np.asarray(sum(self.table[one, nodes] @ self.table[two, nodes].T for nodes in self._chunks()) / self.columns)

    def add(self, outs: Sequence[Key], weights: Array, rows: Sequence[Key], fresh: bool = False) -> None:
        to, of = self._rows(outs), self._rows(rows)
        if not len(of):
            if fresh:
                self.table[to, : self.columns] = 0.0
        elif self.fast:
            from tp.readings import passes

            passes.combine(self.table, weights, of, to, self.columns, fresh)
        else:
            sources = _straight(of)
            for nodes in self._chunks():
                found = weights @ self.table[sources, nodes]
                self.table[to, nodes] = found if fresh else self.table[to, nodes] + found

    # ------------------------------------------------------------ points

    @property
    def part(self) -> int:
        """A quarter: the first points of a Sobol sequence are one."""
        return max(1, 2 ** (self.log2 - 2))

    def quadrature(self, keys: Sequence[Key], most: int) -> tuple[list[Array], Array, tuple[int, ...]]:
        count = most or self.columns
        return [self[key][0, :count] for key in keys], np.full(count, 1 / count), (1, count)


def _straight(rows: Places) -> Places | slice:
    """Rows side by side as a slice, which copies nothing."""
    first, count = int(rows[0]), len(rows)
    return slice(first, first + count) if (np.diff(rows) == 1).all() else rows
