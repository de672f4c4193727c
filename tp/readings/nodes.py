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
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message
from tp.readings.indexing import Key

Array = NDArray[np.float64]
AXES = 24
"""Axes of a grid at most; NumPy has 32."""


class Nodes(Protocol):
    """A backend: fresh innovations and averages, per group of vectors that meet."""

    def begin(self, sizes: Mapping[Key, int], keys: Iterable[Key] = ()) -> None:
        """Start over; ``sizes`` are the dimensions that the groups will need at most, ``keys`` the vectors to come."""

    def fresh(self, group: Key, size: float) -> Array:
        """A standard normal variable independent of all others of ``group``; it will be multiplied by ``size``."""

    def mean(self, group: Key, values: Array) -> float:
        """E[values]."""

    def check(self, arrays: Iterable[Array]) -> None:
        """Raise ``LimitError`` when arrays of these shapes together are too large."""

    def stack(self) -> Stack:
        """An empty stack."""

    def keep(self, key: Key, array: Array) -> Array:
        """``array`` as the nodes like to store the member ``key``."""

    def family(self, keys: Sequence[Key], values: Mapping[Key, Array]) -> Family:
        """Members that are used together."""


class Family(Protocol):
    """Arrays of one group; the products with all of them at once."""

    def means(self, x: Array, group: Key) -> Array:
        """E[x a] for every a in the stack."""

    def combine(self, weights: Array) -> Array:
        """Σ weight · a."""


class Stack(Family, Protocol):
    """A family that grows."""

    def append(self, array: Array) -> None:
        """One more."""


@dataclass
class Sobol:
    """Scrambled Sobol points: ``2^log2`` nodes, scrambled anew for every group."""

    log2: int
    rng: np.random.Generator
    sizes: Mapping[Key, int] = field(default_factory=dict)
    used: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    points: dict[Key, Array] = field(default_factory=dict)
    rows: dict[Key, tuple[Key, int]] = field(default_factory=dict)
    blocks: dict[Key, Array] = field(default_factory=dict)

    @property
    def columns(self) -> int:
        """Numbers in an array."""
        return 2**self.log2

    @property
    def weight(self) -> float:
        """E[x y] is this times the product of the arrays."""
        return 1 / self.columns

    def begin(self, sizes: Mapping[Key, int], keys: Iterable[Key] = ()) -> None:
        self.sizes = sizes
        counts: dict[Key, int] = {}
        for key in keys:  # step and sample come first: what they range over lies together
            block = (key[0], *key[3:])
            self.rows[key] = (block, counts.get(block, 0))
            counts[block] = counts.get(block, 0) + 1
        self.blocks = {block: np.empty((count, self.columns)) for block, count in counts.items()}
        self.used.clear()
        self.points.clear()

    def fresh(self, group: Key, size: float) -> Array:
        from scipy.special import ndtri
        from scipy.stats import qmc

        if group not in self.points:
            engine = qmc.Sobol(max(1, self.sizes[group]), scramble=True, rng=self.rng)
            self.points[group] = np.ascontiguousarray(engine.random_base2(self.log2).T)
        column = self.points[group][self.used[group]]
        self.used[group] += 1
        return np.asarray(ndtri(np.clip(column, 1e-300, 1 - 1e-16)))[None, :]

    def mean(self, group: Key, values: Array) -> float:
        return float(np.mean(values))

    def check(self, arrays: Iterable[Array]) -> None:
        """All arrays have one size."""

    def stack(self) -> Stack:
        return Rows(self.columns, self.weight)

    def keep(self, key: Key, array: Array) -> Array:
        block, row = self.rows[key]
        self.blocks[block][row] = array
        return self.blocks[block][row : row + 1]

    def family(self, keys: Sequence[Key], values: Mapping[Key, Array]) -> Family:
        places = [self.rows.get(key) for key in keys]
        blocks = {place[0] for place in places if place is not None}
        if None in places or len(blocks) != 1:
            return Rows.of(np.concatenate([np.broadcast_to(values[key], (1, self.columns)) for key in keys]), self.weight)
        rows = [place[1] for place in places if place is not None]
        (block,) = blocks
        if rows == list(range(rows[0], rows[0] + len(rows))):
            return Rows.of(self.blocks[block][rows[0] : rows[0] + len(rows)], self.weight)
        return Rows.of(self.blocks[block][rows], self.weight)


@dataclass
class Grid:
    """A tensor grid of trapezoidal rules, one axis per innovation, with error about ``eps`` each; at most ``limit`` nodes.

    An array has an axis for every innovation of its group up to the newest it depends on, newest first, of length 1
    where it does not depend on it, and a last one of length 1.
    """

    eps: float
    limit: int = 4_000_000
    strip: float = 0.8  # half-width of the strip in which activations are analytic, in units of their argument
    axes: dict[Key, list[Array]] = field(default_factory=lambda: defaultdict(list))

    def begin(self, sizes: Mapping[Key, int], keys: Iterable[Key] = ()) -> None:
        self.axes.clear()
        if max(sizes.values(), default=0) > AXES:
            raise self._too_large(f"{max(sizes.values())} Gaussian dimensions are more than the {AXES} axes a grid has")

    def fresh(self, group: Key, size: float) -> Array:
        if size * math.log(1 / self.eps) ** 1.5 / self.strip > self.limit:
            raise self._too_large(f"a Gaussian of standard deviation {size:.1e} needs more than {self.limit:,} grid nodes")
        x, w = rule(size, self.eps, self.strip)
        axes = self.axes[group]
        axes.append(w)
        return x.reshape(len(x), *[1] * len(axes))

    def mean(self, group: Key, values: Array) -> float:
        values = np.asarray(values)[..., 0]
        for k in range(values.ndim - 1, -1, -1):  # the leading axis of an array of k + 1 dimensions is innovation k
            values = values[0] if len(values) == 1 else np.tensordot(self.axes[group][k], values, axes=(0, 0))
        return float(values)

    def check(self, arrays: Iterable[Array]) -> None:
        total = math.prod(np.broadcast_shapes(*(np.shape(a) for a in arrays)))
        if total > self.limit:
            raise self._too_large(f"the Gaussian dimensions that meet need {total:,} grid nodes, more than {self.limit:,}")

    def stack(self) -> Stack:
        return Separate(self)

    def keep(self, key: Key, array: Array) -> Array:
        return array

    def family(self, keys: Sequence[Key], values: Mapping[Key, Array]) -> Family:
        return Separate(self, [values[key] for key in keys])

    def _too_large(self, reason: str) -> GridTooLarge:
        return GridTooLarge(Message(NOWHERE, reason, 'use method="sobol", or a larger tol', "grid too large"))


class Rows:
    """A stack as the rows of one matrix; E[x y] is ``weight`` times the product of two rows."""

    def __init__(self, nodes: int, weight: float) -> None:
        self.rows, self.count, self.weight = np.empty((4, nodes)), 0, weight

    @classmethod
    def of(cls, rows: Array, weight: float) -> Rows:
        """The stack of the given rows, which are not copied."""
        stack = cls.__new__(cls)
        stack.rows, stack.count, stack.weight = rows, len(rows), weight
        return stack

    def append(self, array: Array) -> None:
        if self.count == len(self.rows):
            self.rows = np.concatenate([self.rows, np.empty_like(self.rows)])
        self.rows[self.count] = array
        self.count += 1

    def means(self, x: Array, group: Key) -> Array:
        x = np.broadcast_to(x, (1, self.rows.shape[1]))[0]
        return np.asarray(self.rows[: self.count] @ x * self.weight)

    def combine(self, weights: Array) -> Array:
        return np.asarray(weights @ self.rows[: self.count])[None, :]


@dataclass
class Separate:
    """A stack of arrays of different shapes."""

    nodes: Grid
    arrays: list[Array] = field(default_factory=list)

    def append(self, array: Array) -> None:
        self.arrays.append(array)

    def means(self, x: Array, group: Key) -> Array:
        self.nodes.check([x, *self.arrays])
        return np.array([self.nodes.mean(group, x * a) for a in self.arrays])

    def combine(self, weights: Array) -> Array:
        self.nodes.check(self.arrays)
        return np.asarray(sum(w * a for w, a in zip(weights, self.arrays, strict=True)))


class GridTooLarge(LimitError):
    """The tensor grid has more nodes than allowed; Sobol points would do."""


def rule(size: float, eps: float, strip: float) -> tuple[Array, Array]:
    """Nodes and weights of E over N(0, 1) of a function analytic in a strip of half-width ``strip/size``.

    The trapezoidal rule with step min(π√(2/ln ε⁻¹), 2πa/(s ln ε⁻¹)) on |x| ≤ √(2 ln ε⁻¹), or Gauss–Hermite when s is
    small enough for it to need fewer nodes.
    """
    log = np.log(1 / eps)
    count = _hermite_count(size / strip, eps)
    reach = np.sqrt(2 * log)
    step = min(np.pi * np.sqrt(2 / log), 2 * np.pi * strip / (max(size, 1e-12) * log))
    half = int(np.ceil(reach / step))
    if count is not None and count < 2 * half + 1:
        x, w = np.polynomial.hermite_e.hermegauss(count)
        return x, w / w.sum()
    x = step * np.arange(-half, half + 1)
    w = np.exp(-(x**2) / 2)
    return x, w / w.sum()


def _hermite_count(ratio: float, eps: float) -> int | None:
    """The smallest q with q! (s/a)^(2q) < ε; None when there is none below 20."""
    term = 1.0
    for q in range(1, 20):
        term *= q * ratio**2
        if term < eps:
            return q
    return None
