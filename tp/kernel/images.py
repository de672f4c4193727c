"""Pairs of samples where positions are lanes, as between images: one pair at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from tp.kernel import mirror, sizes
from tp.kernel.ahead import Ahead
from tp.kernel.call import Array, Call, Side, finite
from tp.kernel.room import keep_freed
from tp.kernel.sites import positions_last
from tp.kernel.twins import twins

LEAST = 1 << 16
"""Numbers of all tables that the pairs of a task have at least: fewer are sooner done than a task is begun."""

FEW = 8
"""Pairs for each thread that are few: threads that wait for each other are felt."""

KEPT = 1 << 14
"""Pairs whose order is kept for the next call."""


@dataclass(eq=False)
class Pairing:
    """Which pairs a call has. Of site tables sizes alone tell, so that they may be found while these are filled."""

    call: Call
    one: Side
    two: Side

    @cached_property
    def twins(self) -> tuple[NDArray[np.int64], ...]:
        """As :func:`tp.kernel.twins.twins` has them."""
        return twins(self.one, self.two)

    @cached_property
    def tiles(self) -> NDArray[np.int64]:
        """All pairs [pair, (i, j, i, j)], by tiles whose samples a core's cache can hold."""
        names = {a[:-2] for a in self.call.plan.functions["rows"]}
        known = [a for n, a in self.two.sites.items() if n in names]
        numbers = sum(a.size for a in (*known, *self.two.data.values())) // self.two.count
        edge = max(1, sizes.CACHE // (2 * numbers))
        tiled = _tiled if self.one.count * self.two.count <= KEPT else _tiled.__wrapped__
        return tiled(self.one.count, self.two.count, self.one is self.two, edge)

    @property
    def long(self) -> bool:
        """Whether pairs are few and long, and may begin once their own samples are known: nothing is known of all together."""
        plan, few = self.call.plan, FEW * self.call.threads
        long = plan.lanes["rows"] > LEAST and self.one.count * self.two.count <= few
        return long and plan.sites_by_rows and not plan.coefficients

    def find(self) -> None:
        """Finds them."""
        _ = self.twins, self.tiles


def fill(pairing: Pairing, results: dict[str, Array]) -> bool:
    """Fills in all pairs, those of equal samples last; whether they are finite. Long ones begin among the site tables."""
    call, one, two = pairing.call, pairing.one, pairing.two
    ahead = Ahead(call, [one] if two is one else [one, two], _convert) if pairing.long else None
    rows, columns, need, position = pairing.twins
    alone = call.blank(len(need))
    works = [_work(call, one, two, pairing.tiles, False, results, ahead), _alone(call, one, need, alone, ahead)]
    keep_freed(8 * call.plan.lanes["rows"])
    _run(call, works, [] if ahead is None else ahead.tasks)
    fine = mirror.tables(results, (0, one.count, 0, one.count), call.plan.crossed) if one is two else finite(results)
    for name, values in alone.items():
        results[name][..., rows, columns] = values[..., position]
    return finite(alone) and fine


@dataclass(eq=False)
class _Work:
    """Tasks, and what they leave to be done again, exactly, at the end."""

    tasks: list[Callable[[], None]]
    exact: Callable[[NDArray[np.int64]], None]
    missed: list[NDArray[np.int64]]


def _run(call: Call, works: Sequence[_Work], before: Sequence[Callable[[], None]] = ()) -> None:
    """All tasks, then all that these have missed."""
    tasks = [*before, *(task for work in works for task in work.tasks)]
    call.run(_watched(call, len(tasks)), tasks, "pairs")
    for work in works:
        missed = _shares(call, np.concatenate(work.missed)) if work.missed else ()
        call.run(work.exact, [*missed], "hard pairs")


def _watched(call: Call, count: int) -> Callable[[Callable[[], None]], None]:
    """Work on a task, of so many, and tell."""
    done: list[None] = []

    def work(task: Callable[[], None]) -> None:
        task()
        done.append(None)
        if call.pace is not None:
            call.pace(len(done), count)

    return work


def diagonal(call: Call, side: Side, which: NDArray[np.int64]) -> dict[str, Array]:
    """The chosen samples, each with itself: [out axes…, sample]."""
    results = call.blank(len(which))
    _run(replace(call, pace=None), [_alone(call, side, which, results)])
    return results


def _alone(call: Call, side: Side, which: NDArray[np.int64], results: dict[str, Array], ahead: Ahead | None = None) -> _Work:
    work = np.stack([which, which, np.arange(len(which)), np.zeros(len(which), np.int64)], axis=1)
    return _work(call, side, side, work, True, {n: a[..., None] for n, a in results.items()}, ahead)


def _work(
    call: Call, one: Side, two: Side, work: NDArray[np.int64], same: bool, results: dict[str, Array], ahead: Ahead | None
) -> _Work:
    """The pairs (i, j) in ``work``, one at a time, each to (row, column) of the results; ``same``: i is j.

    What one task misses is done again at once, but by array code together with what others miss.
    """
    function = call.plan.functions["rows"]
    double: dict[str, Array] = {**call.constants}
    fixed: dict[str, Array] = {n: a.astype(call.dtype, copy=False) for n, a in call.constants.items()}
    for side, mark in ((one, 1), (two, 2)):
        double |= {f"{n}_{mark}": a for n, a in sample_first(call, side).items()}
        fixed |= {f"{n}_{mark}": a for n, a in _converted(call, side, ahead is None).items()}
    arrays = fixed | results
    floats = call.floats.astype(call.dtype)

    missed: list[NDArray[np.int64]] = []

    def exact(part: NDArray[np.int64]) -> None:
        names = call.plan.functions["exact"]
        precise = {n: a if n in results else a.astype(np.float64, copy=False) for n, a in (double | results).items()}
        hard = np.ones(len(part), np.int64)
        call.module.exact(call.integers, call.floats, part, same, hard, *(precise[a] for a in names))

    def pairs(part: NDArray[np.int64]) -> None:
        if ahead is not None:
            ahead.wait(one, part[:, 0])
            ahead.wait(two, part[:, 1])
        hard = np.zeros(len(part), np.int64)
        call.module.rows(call.integers, floats, part, same, hard, *(arrays[a] for a in function))
        if hard.any():
            missed.append(part[hard > 0])
            if call.pace is None:
                exact(missed.pop())

    return _Work([partial(pairs, part) for part in _shares(call, work)], exact, missed)


def _shares(call: Call, work: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """``work`` in pieces that get smaller, so that all threads end together. Polychronopoulos & Kuck 1987, guided scheduling.

    Of pieces that are told of all are alike.
    """
    least = max(1 + LEAST // call.plan.lanes["rows"], 1 + len(work) // (64 * call.threads))
    start = 0
    while start < len(work):
        guided = call.at_once if call.pace is not None else (len(work) - start) // (2 * call.threads)
        stop = start + max(least, min(call.at_once, guided))
        yield work[start:stop]
        start = stop


@lru_cache(4)
def _tiled(first: int, second: int, symmetric: bool, edge: int) -> NDArray[np.int64]:
    """All pairs of so many samples by tiles of ``edge``; of one side those with i < j."""
    i, j = np.indices((first, second)).reshape(2, -1)
    if symmetric:
        i, j = i[i < j], j[i < j]
    if edge < max(first, second):
        order = np.argsort(i // edge * second + j // edge, kind="stable")
        i, j = i[order], j[order]
    return np.stack([i, j, i, j], axis=1)


def sample_first(call: Call, side: Side) -> dict[str, Array]:
    """What is known of each sample, and the samples with their coordinates before positions: [sample, …]."""
    if not side.by_sample:
        count = dict.fromkeys(call.plan.coefficients, -2)  # which axis runs over samples
        names = {a[:-2] for key in ("rows", "exact") for a in call.plan.functions.get(key, ())}
        found = {n: _first(a, count.get(n, -1)) for n, a in side.sites.items() if n in names}
        found |= positions_last(call, side)
        side.by_sample = {n: np.ascontiguousarray(a) for n, a in found.items()}
    return side.by_sample


def _first(a: Array, axis: int) -> Array:
    """With this axis, counted from the last, as the first."""
    order = list(range(a.ndim))
    return a.transpose(order.pop(axis), *order)


def _converted(call: Call, side: Side, known: bool) -> dict[str, Array]:
    """The same in the kernel's precision, as far as pairs read it; room for it where it is not ``known`` yet."""
    if not side.converted:
        used = {n[:-2] for n in call.plan.functions["rows"]}
        found = sample_first(call, side).items()
        side.converted = {n: a if a.dtype == call.dtype else np.empty(a.shape, call.dtype) for n, a in found if n in used}
        if known:
            _convert(side, slice(None))
    return side.converted


def _convert(side: Side, part: slice) -> None:
    """Of these samples."""
    for n, a in side.converted.items():
        if a is not side.by_sample[n]:
            a[part] = side.by_sample[n][part]
