"""Node sets: random variables as arrays over quadrature points, one set per group of vectors that meet.

Every independent Gaussian ("innovation") is one dimension. Two backends: scrambled Sobol points, any number of
dimensions; and a grid that grows by one axis per innovation, for few dimensions and high accuracy.

Source: theory of quasi-Monte Carlo, Owen 1997; of the trapezoidal rule, Trefethen & Weideman 2014.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message
from tp.readings.indexing import Key

Array = NDArray[np.float64]
AXES = 24
"""Axes of a grid at most; NumPy has 32."""
CHUNK = 4096
"""Sobol nodes that are worked on together: what does not lie side by side is copied in pieces of this length."""
LARGEST = 4096
"""Vectors of a block whose second moments are remembered, at most."""


@dataclass(frozen=True)
class Layout:
    """What will be stored: ``blocks`` are lists of vectors that are used together, ``innovations`` by their block in order.

    ``group`` says of every vector and of every innovation's block which expectations it takes part in.
    """

    blocks: tuple[tuple[Key, ...], ...]
    innovations: tuple[Key, ...]
    group: Mapping[Key, Key]

    @property
    def sizes(self) -> dict[Key, int]:
        """Innovations of every group, at most."""
        sizes: dict[Key, int] = {}
        for key in self.innovations:
            sizes[self.group[key]] = sizes.get(self.group[key], 0) + 1
        return sizes


class Nodes(Protocol):
    """A backend: it stores vectors and innovations by key, and takes averages over those of one group."""

    def begin(self, layout: Layout) -> None:
        """Start over."""

    def fresh(self, key: Key, size: float) -> Array:
        """A standard normal variable independent of all others of its group; it will be multiplied by ``size``."""

    def __getitem__(self, key: Key) -> Array:
        """A vector or an innovation."""

    def keep(self, key: Key, array: Array) -> None:
        """Store a vector."""

    def mean(self, group: Key, values: Array) -> float:
        """E[values]."""

    def check(self, keys: Iterable[Key]) -> None:
        """Raise ``LimitError`` when an array that depends on all of these would be too large."""

    def inner(self, rows: Sequence[Key], cols: Sequence[Key]) -> Array:
        """E[a b] for a in ``rows`` and b in ``cols``: [rows, cols]."""

    def combine(self, weights: Array, rows: Sequence[Key]) -> Sequence[Array]:
        """Σ_k weights[i, k] · rows[k] for every i."""

    @property
    def part(self) -> int:
        """Points that stand for a group beside all points of another; 0 for all."""

    def quadrature(self, keys: Sequence[Key], most: int) -> tuple[list[Array], Array, tuple[int, ...]]:
        """Vectors of one group at common points, all or the first ``most``, as [points]; the points' weights; their shape."""


Places = list[tuple[int, slice | list[int]]]
"""Rows of blocks, in order."""


def _side_by_side(innovations: Sequence[Key]) -> list[Key]:
    """Those of one matrix together."""
    return sorted(innovations, key=lambda key: (str(key[:-1]), key[-1]))


@dataclass
class Sobol:
    """Scrambled Sobol points: ``2^log2`` nodes, scrambled anew for every group; 8 bytes · nodes · (vectors + innovations)."""

    log2: int
    rng: np.random.Generator
    layout: Layout | None = None
    rows: dict[Key, tuple[int, int]] = field(default_factory=dict)
    blocks: list[Array] = field(default_factory=list)
    grams: dict[int, Array] = field(default_factory=dict)

    @property
    def columns(self) -> int:
        """Numbers in an array."""
        return 2**self.log2

    @property
    def weight(self) -> float:
        """E[x y] is this times the product of the arrays."""
        return 1 / self.columns

    def begin(self, layout: Layout) -> None:
        innovations: dict[Key, list[Key]] = defaultdict(list)
        for key in layout.innovations:
            innovations[layout.group[key]].append(key)
        self.grams = {}
        if layout is not self.layout:
            self.layout, self.rows, self.blocks = layout, {}, []
            for keys in (*map(_side_by_side, innovations.values()), *layout.blocks):
                self.rows.update({key: (len(self.blocks), k) for k, key in enumerate(keys)})
                self.blocks.append(np.empty((len(keys), self.columns)))
        for block, group in zip(self.blocks, innovations.values(), strict=False):
            self._points(block, group)

    def _points(self, block: Array, keys: Sequence[Key]) -> None:
        """Every innovation has its coordinate of one point set, in the order of ``keys``."""
        from scipy.stats import qmc

        engine = qmc.Sobol(len(keys), scramble=True, rng=self.rng)
        order = [self.rows[key][1] for key in keys]
        for start in range(0, self.columns, CHUNK):
            stop = min(start + CHUNK, self.columns)
            block[order, start:stop] = engine.random(stop - start).T

    def fresh(self, key: Key, size: float) -> Array:
        from scipy.special import ndtri

        row = self[key]
        return np.asarray(ndtri(np.clip(row, 1e-300, 1 - 1e-16, out=row), out=row))

    def __getitem__(self, key: Key) -> Array:
        block, row = self.rows[key]
        return self.blocks[block][row : row + 1]

    def keep(self, key: Key, array: Array) -> None:
        block, row = self.rows[key]
        self.blocks[block][row] = array

    def mean(self, group: Key, values: Array) -> float:
        return float(np.mean(values))

    def check(self, keys: Iterable[Key]) -> None:
        """All arrays have one size."""

    def places(self, keys: Sequence[Key]) -> Places:
        found: Places = []
        for block, of in groupby((self.rows[key] for key in keys), key=lambda place: place[0]):
            rows = [row for _, row in of]
            straight = rows == list(range(rows[0], rows[0] + len(rows)))
            found.append((block, slice(rows[0], rows[0] + len(rows)) if straight else rows))
        return found

    def _taken(self, places: Places, nodes: slice) -> Array:
        parts = [self.blocks[block][rows, nodes] for block, rows in places]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def inner(self, rows: Sequence[Key], cols: Sequence[Key]) -> Array:
        if not rows or not cols:
            return np.zeros((len(rows), len(cols)))
        left, right = self.places(rows), self.places(cols)
        if len(left) == len(right) == 1 and left[0][0] == right[0][0]:
            return self._gram(left[0][0], left[0][1], right[0][1])
        return self._products(left, right)

    def _products(self, left: Places, right: Places) -> Array:
        chunks = (slice(start, start + CHUNK) for start in range(0, self.columns, CHUNK))
        return np.asarray(sum(self._taken(left, nodes) @ self._taken(right, nodes).T for nodes in chunks) * self.weight)

    def _gram(self, block: int, left: slice | list[int], right: slice | list[int]) -> Array:
        """Second moments within a block: hats and updates ask for the same ones."""
        count = len(self.blocks[block])
        if count > LARGEST:
            return self._products([(block, left)], [(block, right)])
        gram = self.grams.setdefault(block, np.full((count, count), np.nan))
        index = np.ix_(np.arange(count)[left], np.arange(count)[right])
        if np.isnan(gram[index]).any():
            found = self._products([(block, left)], [(block, right)])
            gram[index] = found
            gram.T[index] = found
        return gram[index]

    def combine(self, weights: Array, rows: Sequence[Key]) -> list[Array]:
        if not rows:
            return [np.zeros((1, 1)) for _ in weights]
        places = self.places(rows)
        out = np.empty((len(weights), 1, self.columns))
        for start in range(0, self.columns, CHUNK):
            nodes = slice(start, start + CHUNK)
            np.matmul(weights, self._taken(places, nodes), out=out[:, 0, nodes])
        return list(out)

    @property
    def part(self) -> int:
        """A quarter: the first points of a Sobol sequence are one."""
        return max(1, 2 ** (self.log2 - 2))

    def quadrature(self, keys: Sequence[Key], most: int) -> tuple[list[Array], Array, tuple[int, ...]]:
        count = most or self.columns
        return [self[key][0, :count] for key in keys], np.full(count, 1 / count), (1, count)


@dataclass
class Grid:
    """A tensor grid of trapezoidal rules, one axis per innovation, with error about ``eps`` each; at most ``limit`` nodes.

    An array has an axis for every innovation of its group up to the newest it depends on, newest first, of length 1
    where it does not depend on it, and a last one of length 1.
    """

    eps: float
    limit: int = 4_000_000
    strip: float = 0.8  # half-width of the strip in which activations are analytic, in units of their argument
    memory: int = 2**31  # bytes for the vectors that are kept
    kept: int = 0
    largest: int = 0  # nodes of the largest array
    group: Mapping[Key, Key] = field(default_factory=dict)
    axes: dict[Key, list[Array]] = field(default_factory=lambda: defaultdict(list))
    arrays: dict[Key, Array] = field(default_factory=dict)
    moments: dict[tuple[Key, Key], float] = field(default_factory=dict)

    def begin(self, layout: Layout) -> None:
        self.group = layout.group
        self.axes.clear()
        self.arrays, self.moments, self.kept = {}, {}, 0
        most = max(layout.sizes.values(), default=0)
        if most > AXES:
            raise self._too_large(f"{most} Gaussian dimensions are more than the {AXES} axes a grid has")

    def fresh(self, key: Key, size: float) -> Array:
        if size * math.log(1 / self.eps) ** 1.5 / self.strip > self.limit:
            raise self._too_large(f"a Gaussian of standard deviation {size:.1e} needs more than {self.limit:,} grid nodes")
        x, w = rule(size, self.eps, self.strip)
        axes = self.axes[self.group[key]]
        axes.append(w)
        self.arrays[key] = x.reshape(len(x), *[1] * len(axes))
        return self.arrays[key]

    def __getitem__(self, key: Key) -> Array:
        return self.arrays[key]

    def keep(self, key: Key, array: Array) -> None:
        self.arrays[key] = array
        self.kept += array.nbytes
        if self.kept > self.memory:
            raise self._too_large(f"vectors on this grid need more than {self.memory / 2**30:.2g} GiB")

    def mean(self, group: Key, values: Array) -> float:
        values = np.asarray(values)[..., 0]
        for k in range(values.ndim - 1, -1, -1):  # the leading axis of an array of k + 1 dimensions is innovation k
            values = values[0] if len(values) == 1 else np.tensordot(self.axes[group][k], values, axes=(0, 0))
        return float(values)

    def check(self, keys: Iterable[Key]) -> None:
        total = math.prod(np.broadcast_shapes(*(np.shape(self.arrays[key]) for key in keys)))
        self.largest = max(self.largest, total)
        if total > self.limit:
            raise self._too_large(f"the Gaussian dimensions that meet need {total:,} grid nodes, more than {self.limit:,}")

    def inner(self, rows: Sequence[Key], cols: Sequence[Key]) -> Array:
        return np.array([[self._moment(a, b) for b in cols] for a in rows]).reshape(len(rows), len(cols))

    def _moment(self, a: Key, b: Key) -> float:
        """E[a b]: hats and updates ask for the same ones."""
        if (a, b) not in self.moments:
            self.check((a, b))
            self.moments[a, b] = self.moments[b, a] = self.mean(self.group[a], self.arrays[a] * self.arrays[b])
        return self.moments[a, b]

    def combine(self, weights: Array, rows: Sequence[Key]) -> list[Array]:
        self.check(rows)
        zero = np.zeros((1, 1))
        return [sum((w * self.arrays[key] for w, key in zip(line, rows, strict=True) if w != 0), zero) for line in weights]

    part = 0

    def quadrature(self, keys: Sequence[Key], most: int) -> tuple[list[Array], Array, tuple[int, ...]]:
        self.check(keys)
        arrays = [self.arrays[key] for key in keys]
        shape = np.broadcast_shapes((1, 1), *(a.shape for a in arrays))
        weights = np.ones(shape)
        for k, w in enumerate(self.axes[self.group[keys[0]]][: len(shape) - 1]):  # the axis of innovation k is the (k + 2)nd last
            if shape[-(k + 2)] > 1:
                weights = weights * w.reshape(-1, *[1] * (k + 1))
        return [np.broadcast_to(a, shape).ravel() for a in arrays], weights.ravel(), shape

    def _too_large(self, reason: str) -> GridTooLarge:
        return GridTooLarge(Message(NOWHERE, reason, 'use method="sobol", or a larger tol', "grid too large"))


class GridTooLarge(LimitError):
    """The tensor grid has more nodes than allowed; Sobol points would do."""


def rule(size: float, eps: float, strip: float) -> tuple[Array, Array]:
    """Nodes and weights of E over N(0, 1) of a function analytic in a strip of half-width ``strip/size``.

    The trapezoidal rule with step min(π√(2/ln ε⁻¹), 2πa/(s ln ε⁻¹)), as far as a square of s x still counts; or
    Gauss–Hermite when s is small enough for it to need fewer nodes.
    """
    log = np.log(1 / eps)
    count = _hermite_count(size / strip, eps)
    reach = _reach(size, eps)
    step = min(np.pi * np.sqrt(2 / log), 2 * np.pi * strip / (max(size, 1e-12) * log))
    half = int(np.ceil(reach / step))
    if count is not None and count < 2 * half + 1:
        x, w = np.polynomial.hermite_e.hermegauss(count)
        return x, w / w.sum()
    x = step * np.arange(-half, half + 1)
    w = np.exp(-(x**2) / 2)
    return x, w / w.sum()


def _reach(size: float, eps: float) -> float:
    """The r with E[(s x)²; |x| > r] about ε."""
    reach = 3.0
    for _ in range(4):
        reach = math.sqrt(2 * math.log(max(2 * size**2 * reach / eps, 2.0)))
    return reach


def _hermite_count(ratio: float, eps: float) -> int | None:
    """The smallest q with q! (s/a)^(2q) < ε; None when there is none below 20."""
    term = 1.0
    for q in range(1, 20):
        term *= q * ratio**2
        if term < eps:
            return q
    return None
