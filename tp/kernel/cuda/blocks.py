"""Pairs of samples on the device: blocks of rows and columns, to which nothing but samples is sent.

A thread has a pair to itself, or a block of threads where positions are lanes. Inner products are made there, too. Blocks of
pairs are under way on several streams, so that copies, and the host's work on one block, its place and its mirror image,
go on while the device computes another.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from tp.errors import NOWHERE, DeviceError, Message
from tp.kernel import gram, mirror
from tp.kernel.blocks import tables
from tp.kernel.call import Array, Call, Side, Task, finite
from tp.kernel.cuda import products
from tp.kernel.cuda.device import Stream, free_memory, in_turn
from tp.kernel.cuda.text import ENTRIES
from tp.kernel.disk.tiles import size_text
from tp.kernel.gram import GramTable
from tp.kernel.images import sample_first

BLOCK = 128
"""Threads of a block."""

LANES = 1 << 17
"""Threads of a launch at most: enough to fill any device."""

SHARING = 1 << 12
"""Blocks of a launch at most where each has a pair."""

WARP = 32

EDGE = 4096
"""Rows of a block of pairs at most."""

EDGE_SHARING = 512
"""The same where pairs are large: launches stay short, for systems that stop long ones."""

STREAMS = 2


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """What all blocks of pairs have in common."""

    cuda: Any
    call: Call
    module: ModuleType
    """The device's: ``pairs`` or ``rows`` and, where there are easy forms, ``exact``."""
    grams: dict[str, tuple[GramTable, Array, Array]]
    """By name the layout, the samples as [shared…, N, mine…, c] and as [shared…, theirs…, N, c]."""
    known: dict[str, Array]
    """What else is known of samples, in double precision."""
    symmetric: bool
    edge: int = 0
    holders: int = 0
    """How many have a pair at a time, and tables of their own: threads, or blocks where these share a pair."""

    @property
    def kernels(self) -> list[str]:
        return [k for k in ENTRIES if k in self.call.plan.functions]

    @property
    def grid(self) -> tuple[int, int]:
        """Blocks of a launch, and threads of a block."""
        if not self.call.by_rows:
            return self.holders // BLOCK, BLOCK
        lanes = max(a.shape[-1] for n, a in self.known.items() if n.startswith("data_"))
        return self.holders, min(BLOCK, -(-lanes // WARP) * WARP)

    def type(self, kernel: str) -> np.dtype[Any]:
        """The precision of a kernel."""
        return np.dtype(np.float64) if kernel == "exact" else self.call.dtype

    def sizes(self, kernel: str) -> list[tuple[int, ...]]:
        """Of the tables that its threads share, but for the lanes."""
        return list(getattr(self.module, f"{kernel}_tables")(self.call.integers))


def fill(cuda: Any, call: Call, module: ModuleType, one: Side, two: Side, results: dict[str, Array]) -> bool:
    """Fills in all pairs of different samples; whether they were seen to be finite."""
    work = fitted(cuda, call, module, one, two)
    starts = [(a, b) for a in range(0, one.count, work.edge) for b in range(0, two.count, work.edge) if one is not two or b >= a]
    tasks = [(a, min(a + work.edge, one.count), b, min(b + work.edge, two.count)) for a, b in starts]
    streams = [Stream(cuda, cuda.stream()) for _ in range(min(STREAMS, len(tasks)))]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")  # few samples keep no device busy
        for stream in streams:
            _lay_out(work, stream)
        return in_turn(streams, tasks, lambda stream, task: _queue(work, stream, task, results))


# ---------------------------------------------------------------- memory


def fitted(cuda: Any, call: Call, module: ModuleType, one: Side, two: Side) -> Pairs:
    """What is to be done, with blocks of pairs of a size, and as many to hold pairs, as the device has memory for."""
    layouts = {} if call.by_rows else call.grams(one.data)
    grams = {n: (g, gram.left(g, one.data), gram.right(g, two.data)) for n, g in layouts.items()}
    known = _by_samples(call, one, two) if call.by_rows else tables(call, one, two)
    work, free = Pairs(cuda, call, module, grams, known, one is two), free_memory(cuda)
    holders, edge = _holders(work, free // 4 // STREAMS), _edge(work, free // 2 // STREAMS, max(one.count, two.count))
    return replace(work, edge=edge, holders=min(holders, -(-edge * edge // BLOCK) * BLOCK))


def _holders(work: Pairs, memory: int) -> int:
    """How many may have a pair at a time, each with its tables."""
    each = sum(work.type(k).itemsize * prod(s) for k in work.kernels for s in work.sizes(k))
    each += 8 * sum(g.numbers for g, _, _ in work.grams.values()) if "exact" in work.kernels else 0
    most, together = (SHARING, 1) if work.call.by_rows else (LANES, BLOCK)
    found = min(most, memory // max(1, each)) // together * together
    return found or _refuse(together * each, memory)


def _edge(work: Pairs, memory: int, most: int) -> int:
    """How many rows and columns a block of pairs may have: inner products, results and the list, and the samples."""
    plan = work.call.plan
    numbers = sum(g.numbers for g, _, _ in work.grams.values()) + sum(prod(plan.out_shape(t)) for t in plan.outputs)
    pair = 4 + work.call.dtype.itemsize * numbers
    sides = [a for _, *both in work.grams.values() for a in both]
    sample = sum(a.nbytes for a in [*sides, *work.known.values()]) // most
    edge = min(EDGE_SHARING if work.call.by_rows else EDGE, most)
    while edge * (pair * edge + sample) > memory:
        edge = edge // 2 or _refuse(pair + sample, memory)
    return edge


def _refuse(least: int, memory: int) -> int:
    reason = f"this kernel takes at least {size_text(least)} where the device has {size_text(memory)} to spare"
    raise DeviceError(Message(NOWHERE, reason, 'use device="cpu"', "over the device's memory", "use --device cpu"))


def _by_samples(call: Call, one: Side, two: Side) -> dict[str, Array]:
    """What is known of samples where positions are lanes, [sample, …]."""
    sides = {f"{n}_{k}": a for k, side in ((1, one), (2, two)) for n, a in sample_first(call, side).items()}
    return {**call.constants, **sides}


def _lay_out(work: Pairs, stream: Stream) -> None:
    """What stays on the device: parameters, and the tables that threads share; slots beyond a zero boundary stay 0."""
    clear = products.module(work.call.dtype).clear
    for kernel in work.kernels:
        stream.send((kernel, "n"), work.call.integers, np.int64)
        stream.send((kernel, "c"), work.call.floats, work.type(kernel))
        for table in _scratch(work, stream, kernel):
            clear[max(1, min(LANES, table.size) // BLOCK), BLOCK, stream.queue](table.reshape(table.size))


def _scratch(work: Pairs, stream: Stream, kernel: str) -> list[Any]:
    """The shared tables of a kernel: a column for each thread, or a table for each block."""
    shapes = [(work.holders, *s) if work.call.by_rows else (*s, work.holders) for s in work.sizes(kernel)]
    return [stream.room((kernel, k), shape, work.type(kernel)) for k, shape in enumerate(shapes)]


# ---------------------------------------------------------------- a block of pairs


def _queue(work: Pairs, stream: Stream, task: Task, results: dict[str, Array]) -> None:
    """Samples in, the kernels, results out: queued on a stream. The results are taken when it is waited for."""
    i0, i1, j0, j1 = task
    upper = work.symmetric and i0 == j0
    outs = {t: stream.room(t, (*a.shape[:-2], i1 - i0, j1 - j0), a.dtype) for t, a in results.items()}
    samples = {n: _samples(stream, n, gram, task) for n, gram in work.grams.items()}
    made = {n: _multiplied(work, stream, n, *samples[n], upper) for n in work.grams}
    lists = stream.room("hard", ((i1 - i0) * (j1 - j0),), np.int32), stream.send("found", np.zeros(1, np.int32), np.int32)
    for kernel in work.kernels:
        arrays, more = {**made, **outs}, []
        if kernel == "exact":
            for n, both in samples.items():
                arrays[n], here = _lane_products(work, stream, n)
                more += [*both, here]
        names = work.call.plan.functions[kernel]
        arrays |= {n: _sent(work, stream, n, work.type(kernel), task) for n in names if n not in arrays}
        numbers = [stream.there[kernel, x] for x in "nc"]
        launch = getattr(work.module, kernel)[*work.grid, stream.queue]
        place = (i1 - i0, j1 - j0, upper, *lists)
        launch(*numbers, *place, *(arrays[n] for n in names), *_scratch(work, stream, kernel), *more)
    found = {t: stream.fetch(t, device) for t, device in outs.items()}

    def finish() -> bool:
        stream.queue.synchronize()
        for t, block in found.items():
            results[t][..., i0:i1, j0:j1] = block  # below the diagonal it is anything
        return mirror.tables(results, task, work.call.plan.crossed) if work.symmetric else finite(found)

    stream.finish = finish


def _samples(stream: Stream, name: str, layout: tuple[GramTable, Array, Array], task: Task) -> tuple[Any, Any]:
    """The samples of both sides of a block, as [shared, i, mine, c] and [shared, theirs, j, c]."""
    g, left, right = layout
    i0, i1, j0, j1 = task
    s, t = len(g.shared), len(g.shared) + len(g.theirs)
    one = stream.send((name, 1), left[(slice(None),) * s + (slice(i0, i1),)], left.dtype, mark=(i0, i1))
    two = stream.send((name, 2), right[(slice(None),) * t + (slice(j0, j1),)], right.dtype, mark=(j0, j1))
    ahead, c = prod(left.shape[:s]), left.shape[-1]
    return (
        one.reshape(ahead, i1 - i0, prod(left.shape[s + 1 : -1]), c),
        two.reshape(ahead, prod(right.shape[s:t]), j1 - j0, c),
    )


def _multiplied(work: Pairs, stream: Stream, name: str, one: Any, two: Any, upper: bool) -> Any:
    """The inner products of a block, [shared…, i, mine…, theirs…, j], in the kernel's precision."""
    g, left, right = work.grams[name]
    ahead, rows, mine, c = one.shape
    theirs, columns = two.shape[1:3]
    s = len(g.shared)
    out = stream.room(name, (ahead, rows * mine, theirs * columns), work.call.dtype)
    launch = products.module(work.call.dtype).multiply
    threads = products.ACROSS**2
    blocks = products.squares(ahead, rows * mine, theirs * columns)
    flat = one.reshape(ahead, rows * mine, c), two.reshape(ahead, theirs * columns, c)
    launch[blocks, threads, stream.queue](*flat, out, mine, columns, upper)
    inner = right.shape[s : s + len(g.theirs)]
    return out.reshape(*left.shape[:s], rows, *left.shape[s + 1 : -1], *inner, columns)


def _lane_products(work: Pairs, stream: Stream, name: str) -> tuple[Any, Any]:
    """Room for the inner products of one pair a thread, as ``exact`` reads them and as it writes them."""
    g, left, right = work.grams[name]
    s = len(g.shared)
    ahead, mine, theirs = left.shape[:s], left.shape[s + 1 : -1], right.shape[s : s + len(g.theirs)]
    here = stream.room((name, "lanes"), (prod(ahead), prod(mine), prod(theirs), work.holders), np.float64)
    return here.reshape(*ahead, 1, *mine, *theirs, work.holders), here


def _sent(work: Pairs, stream: Stream, name: str, dtype: np.dtype[Any], task: Task) -> Any:
    """What is known of the samples of a block's side, under the name that kernels give it; a constant whole."""
    array, key = work.known[name], (name, dtype.name)
    if name in work.call.constants:
        return stream.send(key, array, dtype, mark="whole")
    start, stop = task[:2] if name.endswith("_1") else task[2:]
    if work.call.by_rows:
        part = array[start:stop]
    else:
        part = array[..., start:stop, :] if name[:-2] in work.call.plan.coefficients else array[..., start:stop]
    return stream.send(key, part, dtype, mark=(start, stop))
