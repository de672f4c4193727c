"""How large a tensor grid would be, before the first array is made.

A vector on a grid has an axis for every Gaussian that it depends on, and an axis has as many nodes as the conditional size of its
Gaussian asks for. A run on a thousand Sobol points knows both; so the memory of a grid,

    8 bytes · (the most nodes of all vectors that are kept at a time + WORKING · the most that meet),

is known for every fineness from one quick run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tp.readings.evaluate import Evaluation, executed
from tp.readings.indexing import Key
from tp.readings.nodes import AXES, WORKING, Layout, Read, rule
from tp.readings.sobol import Sobol
from tp.readings.steps import Updates
from tp.readings.tape import Tape

Array = NDArray[np.float64]
Axes = frozenset[Key]
PILOT = 10
"""log2 of the Sobol points of the quick run."""


@dataclass
class Forecast(Sobol):
    """Sobol points that note what depends on which innovation: ``kept`` are rows and what is stored in them, in order."""

    sizes: dict[Key, float] = field(default_factory=dict)
    axes: dict[Key, Axes] = field(default_factory=dict)
    kept: list[tuple[int, Axes]] = field(default_factory=list)
    met: set[Axes] = field(default_factory=set)

    def begin(self, layout: Layout) -> None:
        super().begin(layout)
        self.sizes, self.axes, self.kept, self.met = {}, {}, [], set()

    def fresh(self, key: Key, size: float) -> Array:
        self.sizes[key] = size
        self._note(key, frozenset([key]))
        return super().fresh(key, size)

    def keep(self, key: Key, array: Array) -> None:
        self._note(key, frozenset([("~", *key)]) if ("~", *key) in self.sizes else frozenset())
        super().keep(key, array)

    def write(self, outs: Sequence[Key], tapes: tuple[Tape, ...], read: Read) -> None:
        for out, tape in zip(outs, tapes, strict=True):
            self._note(out, self._union(tape.keys))
        super().write(outs, tapes, read)

    def averages(self, groups: Sequence[Key], tapes: tuple[Tape, ...], read: Read) -> Array:
        self.met.update(self._union(tape.keys) for tape in tapes)
        return super().averages(groups, tapes, read)

    def inner(self, rows: Sequence[Key], cols: Sequence[Key]) -> Array:
        self.met.update(self.axes[a] | self.axes[b] for a in set(rows) for b in set(cols))
        return super().inner(rows, cols)

    def add(self, outs: Sequence[Key], weights: Array, rows: Sequence[Key], fresh: bool = False) -> None:
        for out, line in zip(outs, weights, strict=True):
            terms = self._union([key for w, key in zip(line, rows, strict=True) if w != 0])
            self._note(out, terms if fresh else terms | self.axes[out])
        super().add(outs, weights, rows, fresh)

    def _union(self, keys: Sequence[Key]) -> Axes:
        return frozenset[Key]().union(*(self.axes[key] for key in keys))

    def _note(self, key: Key, axes: Axes) -> None:
        self.axes[key] = axes
        self.kept.append((self.layout.rows[key], axes))

    def bytes(self, eps: float, strip: float) -> int:
        """Of a grid whose rules have an error of about ``eps``."""
        count = cache(lambda key: len(rule(self.sizes[key], eps, strip)[0]))
        nodes = cache(lambda axes: math.prod(map(count, axes)))
        now: dict[int, int] = {}
        held = most = 0
        for row, axes in self.kept:
            held += nodes(axes) - now.get(row, 0)
            now[row], most = nodes(axes), max(most, held)
        largest = max(map(nodes, (*self.met, *(axes for _, axes in self.kept))), default=0)
        return int(8 * (most + WORKING * largest))


def forecast(plan: Evaluation) -> Forecast | None:
    """The quick run; None where entries of matrices are updated one by one, whose arrays it does not see."""
    if any(isinstance(step, Updates) for step in plan.steps) or max(plan.layout.sizes.values(), default=0) > AXES:
        return None
    nodes = Forecast(PILOT, np.random.default_rng(0), False)
    executed(plan, nodes)
    return nodes
