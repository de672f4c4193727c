"""``Call``: what the parts of one call of a kernel share, and ``Side``: samples with what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.kernel import again, gram, sizes
from tp.kernel.gram import GramTable
from tp.kernel.inputs import Samples
from tp.kernel.plan import Compiled
from tp.kernel.threads import run

Array = NDArray[Any]
Task = tuple[int, int, int, int]
"""A block of pairs: rows i0..i1, columns j0..j1."""

EPS = {"float64": 1e-11, "float32": 1e-8}
"""Error asked of expectations that are summed as series, relative to their size."""


@dataclass
class Side:
    """Samples with what is known of each: site tables and coefficient vectors."""

    data: Samples
    count: int
    sites: dict[str, Array] = field(default_factory=dict)
    by_sample: dict[str, Array] = field(default_factory=dict)  # the same, samples first
    first: dict[str, Array] = field(default_factory=dict)  # the data, coordinates before positions
    converted: dict[str, Array] = field(default_factory=dict)  # what pairs read, in the kernel's precision

    def few(self, count: int) -> Side:
        """The first samples."""
        return Side({n: a[:count] for n, a in self.data.items()}, min(count, self.count))


@dataclass(frozen=True, slots=True)
class Call:
    """The plan with its module and its numbers, and how it is run: in which precision and on how many threads."""

    plan: Compiled
    module: Any
    integers: NDArray[np.int64]
    floats: Array
    constants: Mapping[str, Array]
    dtype: np.dtype[Any]
    threads: int
    progress: bool
    many: bool = False
    """Whether pairs are so many that a longer compilation of a faster function pays."""
    memory: int = 1 << 62
    """Bytes that may be held."""
    at_once: int = 256
    """Pairs of images of a task at most."""
    pace: Callable[[int, int], None] | None = None
    """What is told, after a task with pairs of images, how many tasks are done, and of how many."""

    @property
    def by_rows(self) -> bool:
        """Whether positions are the lanes of a pair."""
        return "rows" in self.plan.functions

    @property
    def pairs(self) -> str:
        """The function for blocks of pairs. In single precision polynomials are short without an angle at hand."""
        near = self.many and self.dtype == np.float64 and "pairs_near" in self.plan.functions
        return "pairs_near" if near else "pairs"

    @property
    def precise(self) -> float:
        """Error asked of series."""
        return EPS[self.dtype.name]

    def width(self, name: str, most: int) -> int:
        """How many lanes of a function at a time, in whole vectors of the processor where there are many."""
        lanes = min(512, max(1, sizes.CACHE // max(1, self.plan.lanes[name])))
        return min(most, sizes.whole(lanes))

    def grams(self, data: Samples) -> dict[str, GramTable]:
        """The Gram tables that pairs read."""
        return {n: gram.table(data, e) for n, e in self.plan.pair_grams.items()}

    def blank(self, *count: int) -> dict[str, Array]:
        """The tables of a result, [out axes…, *count], not yet filled."""
        return {t: again.empty((*self.plan.out_shape(t), *count), self.dtype) for t in self.plan.outputs}

    def run(self, work: Callable[[Any], Any], tasks: Sequence[Any], what: str) -> list[Any]:
        """``work`` for all tasks on the call's threads, with a bar of this name."""
        return run(work, tasks, self.threads, what if self.progress else None)


def finite(arrays: Mapping[str, Array]) -> bool:
    """Whether all numbers are."""
    return all(bool(np.isfinite(a).all()) for a in arrays.values())
