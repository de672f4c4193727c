"""A limit by Sobol points: independent scramblings, their mean and its standard error; as many points as a tolerance asks for.

One run of 2^m nodes is a table with a row for every innovation and for every vector that is still read, so that it needs

    8 bytes · (2^m + 72) · rows,

and with an entrywise optimizer that of 4 · (widest step + 2) rows more for what is being worked on. Scramblings run side by
side on the cores there are, as far as memory allows.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian.scrambled import FINEST, RATE, SCRAMBLINGS, estimate, finer
from tp.readings.checkpoint import Checkpoint
from tp.readings.evaluate import Evaluation, executed
from tp.readings.indexing import Key
from tp.readings.outer import MATRICES
from tp.readings.sobol import APART, Sobol
from tp.readings.steps import Updates, paired

Array = NDArray[np.float64]
MANY = 64
"""Scramblings at most, where memory allows no more nodes."""
PAIRED, FINEST_PAIRED = 12, 15
"""log2 of the nodes of a run, usually and at most, where updates are evaluated over pairs of nodes."""
PILOT = 11
"""log2 of the nodes of a first run, from which the number of nodes for a tolerance is worked out."""
Tick = Callable[[int], object]
COMMAND = "give more --memory, fewer --steps or a smaller --batch"


@dataclass(frozen=True)
class Estimate:
    """Means over ``scramblings`` of 2^m nodes, and their standard errors."""

    means: Array
    errors: Array
    m: int
    scramblings: int

    @property
    def largest(self) -> float:
        """Two standard errors of the least certain number: what a tolerance is compared with."""
        return 2 * float(self.errors.max(initial=0))


def bytes_needed(plan: Evaluation, m: int) -> int:
    """The most that one run of 2^m nodes keeps at a time."""
    widest = max((4 * (len(step.members) + 2) for step in plan.steps if isinstance(step, Updates)), default=0)
    matrices = min(MATRICES, 4 * paired(plan.steps) * 2**m * 2 ** max(m - 2, 0))
    return 8 * (2**m + APART) * (plan.layout.height + widest) + matrices


@dataclass
class Scramblings:
    """Runs of one plan; finished ones are taken from ``done`` and added to it."""

    plan: Evaluation
    wanted: list[Key]
    seed: int
    memory: int
    tick: Tick
    done: Checkpoint | None = None

    @property
    def most(self) -> int:
        """log2 of the most nodes that memory allows. Raises ``LimitError`` when it allows next to none."""
        finest = FINEST_PAIRED if paired(self.plan.steps) else FINEST
        m = max((m for m in range(4, finest + 1) if bytes_needed(self.plan, m) <= self.memory), default=None)
        if m is None:
            reason = f"a run of 16 nodes needs {bytes_needed(self.plan, 4):,} bytes, more than {self.memory:,}"
            raise LimitError(Message(NOWHERE, reason, "give more memory=…, fewer steps or a smaller batch", "too large", COMMAND))
        return m

    def plain(self) -> Estimate:
        """Without a tolerance: nodes for some seconds."""
        members = len(self.plan.plan.group)
        usual = max(11, 14 - max(0, round(math.log2(max(members, 1) / 3200))))
        return self.run(min(self.most, usual, PAIRED if paired(self.plan.steps) else FINEST))

    def within(self, tol: float) -> Estimate:
        """Until two standard errors are below ``tol``. Raises ``LimitError`` where memory does not allow it."""
        most, count = self.most, SCRAMBLINGS
        found = self.run(min(most, PILOT))
        while found.largest > tol:
            m, count = self.needed(found, tol, most)
            found = self.run(m, count)
        return found

    def needed(self, found: Estimate, tol: float, most: int) -> tuple[int, int]:
        """Nodes first, then scramblings."""
        m = finer(found.m, found.largest, tol)
        if m <= most and found.m < most:
            return m, SCRAMBLINGS
        reachable = found.largest * 2 ** (-RATE * (most - found.m)) * math.sqrt(found.scramblings)
        count = math.ceil(1.1 * (reachable / tol) ** 2)
        if count > MANY:
            best = reachable / math.sqrt(MANY)
            means = f"{self.memory / 2**30:.2g} GiB of memory"
            if most == FINEST_PAIRED and paired(self.plan.steps):
                means = f"entrywise updates over 2^{most} nodes"
            reason = f"about {best:.1e} is the error that {means} reach, not {tol:.1e}"
            command = "give a larger --tol or --memory"
            raise LimitError(Message(NOWHERE, reason, "give a larger tol=… or memory=…", "tolerance out of reach", command))
        return most, max(count, SCRAMBLINGS)

    def run(self, m: int, count: int = SCRAMBLINGS) -> Estimate:
        values = np.empty((count, len(self.wanted)))
        for k, row in self.rows(m, count):
            values[k] = row
        return Estimate(*estimate(values), m, count)

    def rows(self, m: int, count: int) -> Iterator[tuple[int, Array]]:
        """The numbers wanted by scrambling, as they are finished."""
        kept = {} if self.done is None else self.done.rows
        known = {k: row for (n, k), row in kept.items() if n == m and 0 <= k < count and row.shape == (len(self.wanted),)}
        yield from known.items()
        workers = max(1, min(_cores(), count - len(known), self.memory // bytes_needed(self.plan, m)))
        spare: SimpleQueue[Sobol] = SimpleQueue()
        saving = Lock()
        for _ in range(workers):
            spare.put(Sobol(m, np.random.default_rng(self.seed), shapes=self.plan.shapes))

        def one(k: int) -> Array:
            nodes = spare.get()
            try:
                nodes.rng = np.random.default_rng([self.seed, m, k])
                run = executed(self.plan, nodes, self.tick)
                row = np.array([run[key] for key in self.wanted])
                with saving:
                    if self.done is not None:
                        self.done.add((m, k), row)
                return row
            finally:
                spare.put(nodes)

        with ThreadPoolExecutor(workers) as pool:
            futures = {pool.submit(one, k): k for k in range(count) if k not in known}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def sobol(
    plan: Evaluation,
    wanted: list[Key],
    tol: float | None,
    seed: int,
    memory: int,
    tick: Tick,
    done: Checkpoint | None = None,
) -> Estimate:
    """The limits of ``wanted``, to ``tol`` where one is given."""
    runs = Scramblings(plan, wanted, seed, memory, tick, done)
    return runs.plain() if tol is None else runs.within(tol)
