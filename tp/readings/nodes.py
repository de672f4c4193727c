"""Node sets: random variables as arrays over quadrature points, one set per group of vectors that meet.

Every independent Gaussian ("innovation") is one dimension. Two backends: scrambled Sobol points, any number of
dimensions (:mod:`tp.readings.sobol`); and a grid that grows by one axis per innovation, for few dimensions and high accuracy.

Source: theory of quasi-Monte Carlo, Owen 1997; of the trapezoidal rule, Trefethen & Weideman 2014.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message
from tp.readings.indexing import Key
from tp.readings.tape import Leaf, Tape

Array = NDArray[np.float64]
WORKING = 12
"""Arrays of a grid's largest size that are worked on at the same time, at most."""
AXES = 24
"""Axes of a grid at most; NumPy has 32."""

Read = Callable[[Leaf], Any]


@dataclass(frozen=True)
class Layout:
    """What will be stored: ``innovations`` in order, and the row of each and of every vector in a table.

    ``group`` says of every vector and of every innovation which expectations it takes part in; ``bounds`` are the ends of
    blocks of rows that are used together and have one owner all the time.
    """

    innovations: tuple[Key, ...] = ()
    group: Mapping[Key, Key] = field(default_factory=dict)
    rows: Mapping[Key, int] = field(default_factory=dict)
    bounds: tuple[int, ...] = (0,)

    @property
    def height(self) -> int:
        return 1 + max(self.rows.values(), default=-1)

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

    def write(self, outs: Sequence[Key], tapes: tuple[Tape, ...], read: Read) -> None:
        """Store the values of expressions in vectors; ``read`` gives the numbers in them."""

    def averages(self, groups: Sequence[Key], tapes: tuple[Tape, ...], read: Read) -> Array:
        """E[expression], one each."""

    def inner(self, rows: Sequence[Key], cols: Sequence[Key]) -> Array:
        """E[a b] for a in ``rows`` and b in ``cols``: [rows, cols]."""

    def add(self, outs: Sequence[Key], weights: Array, rows: Sequence[Key], fresh: bool = False) -> None:
        """Add Σ_k weights[i, k] · rows[k] to the i-th of ``outs``; ``fresh``: store it there."""

    @property
    def part(self) -> int:
        """Points that stand for a group beside all points of another; 0 for all."""

    def quadrature(self, keys: Sequence[Key], most: int) -> tuple[list[Array], Array, tuple[int, ...]]:
        """Vectors of one group at common points, all or the first ``most``, as [points]; the points' weights; their shape."""


@dataclass
class Grid:
    """A tensor grid of trapezoidal rules, one axis per innovation, with error about ``eps`` each; at most ``limit`` nodes.

    An array has an axis for every innovation of its group up to the newest it depends on, newest first, of length 1
    where it does not depend on it, and a last one of length 1.
    """

    eps: float
    limit: int = 4_000_000
    strip: float = 0.8  # half-width of the strip in which activations are analytic, in units of their argument
    memory: int = 2**32  # bytes
    kept: int = 0  # of them, for vectors
    largest: int = 0  # nodes of the largest array
    layout: Layout = field(default_factory=Layout)
    owner: dict[int, Key] = field(default_factory=dict)  # of rows of the layout: vectors that nothing reads any more make room
    group: Mapping[Key, Key] = field(default_factory=dict)
    axes: dict[Key, list[Array]] = field(default_factory=lambda: defaultdict(list))
    arrays: dict[Key, Array] = field(default_factory=dict)
    moments: dict[tuple[Key, Key], float] = field(default_factory=dict)

    def begin(self, layout: Layout) -> None:
        self.group = layout.group
        self.axes.clear()
        self.arrays, self.moments, self.kept = {}, {}, 0
        self.layout, self.owner = layout, {}
        most = max(layout.sizes.values(), default=0)
        if most > AXES:
            raise grid_too_large(f"{most} Gaussian dimensions are more than the {AXES} axes a grid has")

    def fresh(self, key: Key, size: float) -> Array:
        if size * math.log(1 / self.eps) ** 1.5 / self.strip > self.limit:
            raise grid_too_large(f"a Gaussian of standard deviation {size:.1e} needs more than {self.limit:,} grid nodes")
        x, w = rule(size, self.eps, self.strip)
        axes = self.axes[self.group[key]]
        axes.append(w)
        self.keep(key, x.reshape(len(x), *[1] * len(axes)))
        return self.arrays[key]

    def __getitem__(self, key: Key) -> Array:
        return self.arrays[key]

    def write(self, outs: Sequence[Key], tapes: tuple[Tape, ...], read: Read) -> None:
        for key, tape in zip(outs, tapes, strict=True):
            self.keep(key, self._value(tape, read))

    def averages(self, groups: Sequence[Key], tapes: tuple[Tape, ...], read: Read) -> Array:
        return np.array([self.mean(group, self._value(tape, read)) for group, tape in zip(groups, tapes, strict=True)])

    def _value(self, tape: Tape, read: Read) -> Array:
        self.check(tape.keys)
        return np.atleast_2d(tape.run(lambda leaf: self.arrays[leaf.at] if leaf.wide else read(leaf)))

    def keep(self, key: Key, array: Array) -> None:
        before = self.owner.get(row := self.layout.rows[key])
        self.kept += array.nbytes - (self.arrays.pop(before).nbytes if before is not None else 0)
        self.owner[row], self.arrays[key] = key, array
        self._fits()

    def _fits(self) -> None:
        needed = self.kept + 8 * WORKING * self.largest
        if needed > self.memory:
            raise grid_too_large(needing(needed, self.memory))

    def mean(self, group: Key, values: Array) -> float:
        """E[values]."""
        values = np.asarray(values)[..., 0]
        for k in range(values.ndim - 1, -1, -1):  # the leading axis of an array of k + 1 dimensions is innovation k
            values = values[0] if len(values) == 1 else np.tensordot(self.axes[group][k], values, axes=(0, 0))
        return float(values)

    def check(self, keys: Iterable[Key]) -> None:
        """Raise ``GridTooLarge`` when an array that depends on all of these would be too large."""
        total = math.prod(np.broadcast_shapes(*(np.shape(self.arrays[key]) for key in keys)))
        self.largest = max(self.largest, total)
        if total > self.limit:
            raise grid_too_large(f"the Gaussian dimensions that meet need {total:,} grid nodes, more than {self.limit:,}")
        self._fits()

    def inner(self, rows: Sequence[Key], cols: Sequence[Key]) -> Array:
        return np.array([[self._moment(a, b) for b in cols] for a in rows]).reshape(len(rows), len(cols))

    def _moment(self, a: Key, b: Key) -> float:
        """E[a b]: hats and updates ask for the same ones."""
        if (a, b) not in self.moments:
            self.check((a, b))
            self.moments[a, b] = self.moments[b, a] = self.mean(self.group[a], self.arrays[a] * self.arrays[b])
        return self.moments[a, b]

    def add(self, outs: Sequence[Key], weights: Array, rows: Sequence[Key], fresh: bool = False) -> None:
        zero = np.zeros((1, 1))
        for out, line in zip(outs, weights, strict=True):
            used = [(w, key) for w, key in zip(line, rows, strict=True) if w != 0]
            self.check([*(key for _, key in used), *(() if fresh else [out])])
            terms = (w * self.arrays[key] for w, key in used)
            self.keep(out, sum(terms, zero if fresh else self.arrays[out]))

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


class GridTooLarge(LimitError):
    """The tensor grid has more nodes than allowed; Sobol points would do."""


def needing(needed: int, memory: int) -> str:
    """Why a grid is refused."""
    return f"a grid needs {needed / 2**30:.3g} GiB for vectors and what is worked on, more than {memory / 2**30:.3g}"


def grid_too_large(reason: str) -> GridTooLarge:
    remedy, command = 'use method="sobol", or a larger tol=…', "use --method sobol, or a larger --tol"
    return GridTooLarge(Message(NOWHERE, reason, remedy, "grid too large", command))


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
