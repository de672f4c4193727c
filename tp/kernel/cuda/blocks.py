"""Pairs of samples on the device: samples go there, whole matrices come back.

A thread has a pair to itself, or a block of threads where positions are lanes. Inner products are made there, too, and the
lower triangle of a symmetric matrix. Panels of rows follow each other: while one is copied back, into the memory that is
handed to the caller, the next is computed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from tp.errors import NOWHERE, DeviceError, Message
from tp.kernel import gram, mirror
from tp.kernel.blocks import tables
from tp.kernel.call import Array, Call, Side, Task
from tp.kernel.cuda import products, settle
from tp.kernel.cuda.device import Workspace
from tp.kernel.cuda.rows import THREADS
from tp.kernel.cuda.text import ENTRIES
from tp.kernel.disk.tiles import size_text
from tp.kernel.gram import GramTable
from tp.kernel.images import sample_first

BLOCK = 128
"""Threads of a block."""

LANES = 1 << 17
"""Threads of a launch at most: enough to fill any device."""

SHARING = 1 << 11
"""Blocks of a launch at most where each has a pair, or a part of one."""

TURNS = 1 << 12
"""Pairs and parts of pairs that a launch has where there are parts enough, so that no block has much more than others."""

WARP = 32

EDGE = 1 << 20
"""Rows and columns of a matrix, or of a tile of it, that is on the device at most."""

PANEL = 1 << 29
"""Bytes of results of a panel at most: to launch its kernels takes far less time than to copy it."""

PANEL_SHARING = 1 << 18
"""Pairs of a panel at most where pairs are large: launches stay short, for systems that stop long ones."""


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """What all pairs of a call have in common."""

    space: Workspace
    call: Call
    module: ModuleType
    """The device's: ``pairs`` or ``rows`` and, where there are easy forms, ``exact``."""
    grams: dict[str, tuple[GramTable, Array, Array]]
    """By name the layout, the samples as [shared…, N, mine…, c] and as [shared…, theirs…, N, c]."""
    known: dict[str, Array]
    """What else is known of samples, in double precision."""
    symmetric: bool
    edge: int = 0
    """Of a tile."""
    holders: int = 0
    """How many have a pair at a time, and tables of their own: threads, or blocks where these share a pair."""

    @property
    def kernels(self) -> list[str]:
        return [k for k in ENTRIES if k in self.call.plan.functions]

    @property
    def numbers(self) -> int:
        """Of the results, per pair."""
        return sum(prod(self.call.plan.out_shape(t)) for t in self.call.plan.outputs)

    def panel(self, columns: int) -> int:
        """Rows of a panel."""
        rows = PANEL // (columns * self.numbers * self.call.dtype.itemsize)
        return max(1, min(rows, PANEL_SHARING // columns) if self.call.by_rows else rows)

    def grid(self, kernel: str, columns: int) -> tuple[Any, Any]:
        """Blocks of a launch, and threads of a block: where they share a pair, lanes across and rows of them down."""
        if self.call.by_rows:
            lanes = max(a.shape[-1] for n, a in self.known.items() if n.startswith("data_"))
            rows, most = self.turns(kernel)[0], THREADS[self.type(kernel).name]
            if rows == 1:
                return self.holders, min(most, -(-lanes // WARP) * WARP)
            across = min(most, -(-lanes // -(-lanes // (2 * WARP))))
            return self.holders, (across, max(1, min(rows, most // across)))
        along = min(-(-columns // BLOCK), self.holders // BLOCK)
        return (along, self.holders // BLOCK // along), BLOCK

    def type(self, kernel: str) -> np.dtype[Any]:
        """The precision of a kernel."""
        return np.dtype(np.float64) if kernel == "exact" else self.call.dtype

    def sizes(self, kernel: str) -> list[tuple[int, ...]]:
        """Of the tables that its threads share, but for the lanes."""
        return list(getattr(self.module, f"{kernel}_tables")(self.call.integers))

    def turns(self, kernel: str) -> tuple[int, int, int]:
        """Of blocks that share a pair: rows of lanes at once, parts of a pair at most, and numbers that a part leaves."""
        rows, parts, numbers = getattr(self.module, f"{kernel}_turns")(self.call.integers)
        return int(rows), int(parts), int(numbers)


def fill(space: Workspace, call: Call, module: ModuleType, one: Side, two: Side, results: dict[str, Array]) -> Callable[[], bool]:
    """Begins to fill in all pairs of different samples; what ends it says whether they were seen to be finite.

    Where the device has no memory for the whole, tile by tile.
    """
    work = fitted(space, call, module, one, two)
    starts = [(a, b) for a in range(0, one.count, work.edge) for b in range(0, two.count, work.edge) if one is not two or b >= a]
    seen, end = [], lambda: True
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")  # few samples keep no device busy
        _lay_out(work)
        try:
            for a, b in starts:
                seen.append(end())
                end = _queue(work, (a, min(a + work.edge, one.count), b, min(b + work.edge, two.count)), results)
        except BaseException:
            space.cuda.synchronize()  # nothing may be lent to others that the device still writes to
            raise
    return lambda: end() and all(seen)


# ---------------------------------------------------------------- memory


def fitted(space: Workspace, call: Call, module: ModuleType, one: Side, two: Side) -> Pairs:
    """What is to be done, with tiles of a size, and as many to hold pairs, as the device has memory for."""
    layouts = {} if call.by_rows else call.grams(one.data)
    grams = {}
    for n, g in layouts.items():
        left = gram.left(g, one.data)
        grams[n] = (g, left, left if one is two and g.alike else gram.right(g, two.data))
    known = _by_samples(call, one, two) if call.by_rows else tables(call, one, two)
    work = Pairs(space, call, module, grams, known, one is two)
    counts = (one.count, two.count)
    if counts not in space.fits:  # to ask for the memory that is free takes the driver long
        size = space.size
        space.fits[counts] = _edge(work, size // 2, *counts), _holders(work, size // 4)
    edge, most = space.fits[counts]
    pairs = min(edge, one.count) * min(edge, two.count)
    wanted = pairs * max(work.turns(k)[1] for k in work.kernels) if call.by_rows else -(-pairs // BLOCK) * BLOCK
    return replace(work, edge=edge, holders=min(most, wanted))


def _holders(work: Pairs, memory: int) -> int:
    """How many may have a pair at a time, each with its tables."""
    each = sum(work.type(k).itemsize * prod(s) for k in work.kernels for s in work.sizes(k))
    each += 8 * sum(g.numbers for g, _, _ in work.grams.values()) if "exact" in work.kernels else 0
    most, together = (SHARING, 1) if work.call.by_rows else (LANES, BLOCK)
    found = min(most, memory // max(1, each)) // together * together
    return found or _refuse(together * each, memory)


def _edge(work: Pairs, memory: int, first: int, second: int) -> int:
    """How many rows and columns a tile may have: its samples and results, inner products and the list of a panel."""
    size = work.call.dtype.itemsize
    sides = [a for _, *both in work.grams.values() for a in both]
    sample = sum(a.nbytes for a in [*sides, *work.known.values()]) // max(first, second)
    panel = 4 + size * sum(g.numbers for g, _, _ in work.grams.values())

    def bytes_of(edge: int) -> int:
        rows, columns = min(edge, first), min(edge, second)
        pairs = size * work.numbers * rows * columns + panel * min(rows, work.panel(columns)) * columns
        return pairs + sample * max(rows, columns)

    edge = min(EDGE, max(first, second))
    while bytes_of(edge) > memory:
        edge = edge // 2 or _refuse(bytes_of(1), memory)
    return edge


def _refuse(least: int, memory: int) -> int:
    reason = f"this kernel takes at least {size_text(least)} where the device has {size_text(memory)} to spare"
    raise DeviceError(Message(NOWHERE, reason, 'use device="cpu"', "over the device's memory", "use --device cpu"))


def _by_samples(call: Call, one: Side, two: Side) -> dict[str, Array]:
    """What is known of samples where positions are lanes, [sample, …]."""
    sides = {f"{n}_{k}": a for k, side in ((1, one), (2, two)) for n, a in sample_first(call, side).items()}
    return {**call.constants, **sides}


def _lay_out(work: Pairs) -> None:
    """What stays on the device: parameters, and the tables that threads share; slots beyond a zero boundary stay 0."""
    clear = products.module(work.call.dtype).clear
    for kernel in work.kernels:
        work.space.send((kernel, "n"), work.call.integers, np.int64, mark="whole")
        work.space.send((kernel, "c"), work.call.floats, work.type(kernel), mark="whole")
        for k, table in enumerate(_scratch(work, kernel)):
            if work.space.holds.get((kernel, k)) != table.shape:
                flat = work.space.room((kernel, k), (table.size,), table.dtype)
                clear[max(1, min(LANES, table.size) // BLOCK), BLOCK, work.space.work](flat)
                work.space.holds[kernel, k] = table.shape


def _scratch(work: Pairs, kernel: str) -> list[Any]:
    """The shared tables of a kernel: a column for each thread, or a table for each block."""
    shapes = [(work.holders, prod(s)) if work.call.by_rows else (*s, work.holders) for s in work.sizes(kernel)]
    return [work.space.room((kernel, k), shape, work.type(kernel)) for k, shape in enumerate(shapes)]


# ---------------------------------------------------------------- a tile


def _queue(work: Pairs, tile: Task, results: dict[str, Array]) -> Callable[[], bool]:
    """Samples in, panel after panel computed, made whole and copied back: all queued. What is returned waits for it."""
    i0, i1, j0, j1 = tile
    space, symmetric = work.space, work.symmetric and i0 == j0
    place = {t: a[..., i0:i1, j0:j1] for t, a in results.items()}
    back = {t: a if a.flags.c_contiguous else np.empty(a.shape, a.dtype) for t, a in place.items()}
    outs = {t: space.room(t, a.shape, a.dtype) for t, a in place.items()}
    samples = {n: _samples(work, n, tile) for n in work.grams}
    known: dict[tuple[str, str], Any] = {}
    sent: dict[tuple[int, str, tuple[int, int]], Any] = {}
    for k in work.kernels:
        for n in work.known:
            if n in work.call.plan.functions[k]:
                what = (id(work.known[n]), work.type(k).name, _side(n, tile))  # of both sides, or of both kernels, the same
                known[n, k] = sent[what] = sent[what] if what in sent else _sent(work, n, work.type(k), tile)
    bad = space.send("bad", np.zeros(1, np.int32), np.int32)
    for first in range(0, i1 - i0, work.panel(j1 - j0)):
        last = min(first + work.panel(j1 - j0), i1 - i0)
        made = {n: _multiplied(work, n, *samples[n], first, last, symmetric) for n in work.grams}
        _launch(work, (first, last, j1 - j0, symmetric), {**made, **outs}, samples, known)
        for t, table in outs.items():
            _settle(work, t, table, first, last, symmetric, bad)
        space.then_back()
        for t, table in outs.items():
            for there, here in _panels(table, back[t], first, last):
                there.copy_to_host(here, stream=space.back)
    flag = space.fetched(bad)

    def end() -> bool:
        space.back.synchronize()
        for t, a in place.items():
            if back[t] is not a:
                a[...] = back[t]
        if work.symmetric and not symmetric:
            mirror.tables(results, tile, work.call.plan.crossed)
        return not flag[0]

    return end


def _launch(work: Pairs, place: Any, arrays: dict[str, Any], samples: dict[str, Any], known: dict[tuple[str, str], Any]) -> None:
    """The kernels of a panel, ``place``: first row, last, columns, whether only columns after the row."""
    space, columns = work.space, place[2]
    room = space.room("hard", ((place[1] - place[0]) * columns,), np.int32)
    lists = room, space.send("found", np.zeros(1, np.int32), np.int32)
    for kernel in work.kernels:
        here, more = {**arrays, **{n: a for (n, k), a in known.items() if k == kernel}}, []
        if kernel == "exact":
            for n, both in samples.items():
                here[n], lanes = _lane_products(work, n)
                more += [*both, lanes]
        if work.call.by_rows:
            more = _parts(work, kernel, (place[1] - place[0]) * columns)
        grid, threads = work.grid(kernel, columns)
        launch = getattr(work.module, kernel)[grid, threads, space.work]
        numbers = [space.memory[kernel, x] for x in "nc"]
        launch(*numbers, *place, *lists, *(here[n] for n in work.call.plan.functions[kernel]), *_scratch(work, kernel), *more)


def _parts(work: Pairs, kernel: str, pairs: int) -> list[Any]:
    """Room for what parts of pairs leave, how many parts are done, and how many there are: enough to keep a device busy."""
    _, most, numbers = work.turns(kernel)
    parts = max(1, min(most, TURNS // pairs))
    room = pairs if parts > 1 else 1
    left = work.space.room((kernel, "left"), (room * numbers * parts,), work.type(kernel))
    done = work.space.send("done", np.zeros(room, np.int32), np.int32, mark="none")  # each pair's last part sets it back
    return [left, done, parts]


def _settle(work: Pairs, name: str, table: Any, first: int, last: int, symmetric: bool, bad: Any) -> None:
    """Rows first…last of a result, and their mirror image."""
    shape = work.call.plan.out_shape(name)
    out, (rows, columns) = prod(shape), table.shape[-2:]
    order = np.arange(out, dtype=np.int64).reshape(1, 1, *shape)
    turned = mirror.transposed(order, work.call.plan.crossed).ravel()
    flat = work.space.room(name, (out, rows, columns), table.dtype)
    there = work.space.send((name, "turned"), turned, np.int64, mark="whole")
    blocks, threads = settle.grid(out, last - first, columns)
    settle.module(work.call.dtype).settle[blocks, threads, work.space.work](flat, there, first, last, symmetric, bad)


def _panels(there: Any, here: Array, first: int, last: int) -> Iterator[tuple[Any, Array]]:
    """Rows first…last of [out axes…, rows, columns], there and here, as arrays without gaps."""
    *out, rows, columns = here.shape
    if (first, last) == (0, rows):
        yield there, here
        return
    lines = here.reshape(-1, rows * columns)
    for k in range(prod(out)):
        part = slice((k * rows + first) * columns, (k * rows + last) * columns)
        yield there.reshape(here.size)[part], lines[k, first * columns : last * columns]


def _samples(work: Pairs, name: str, tile: Task) -> tuple[Any, Any]:
    """The samples of both sides of a tile, as [shared, i, mine, c] and [shared, theirs, j, c]."""
    g, left, right = work.grams[name]
    i0, i1, j0, j1 = tile
    s, t = len(g.shared), len(g.shared) + len(g.theirs)
    ahead, c = prod(left.shape[:s]), left.shape[-1]
    rows = left[(slice(None),) * s + (slice(i0, i1),)].reshape(ahead, i1 - i0, prod(left.shape[s + 1 : -1]), c)
    columns = right[(slice(None),) * t + (slice(j0, j1),)].reshape(ahead, prod(right.shape[s:t]), j1 - j0, c)
    one = work.space.send((name, 1), rows, left.dtype)
    if left is right and (i0, i1) == (j0, j1):
        return one, work.space.room((name, 1), columns.shape, left.dtype)
    return one, work.space.send((name, 2), columns, right.dtype)


def _multiplied(work: Pairs, name: str, one: Any, two: Any, first: int, last: int, upper: bool) -> Any:
    """The inner products of a panel, [shared…, i, mine…, theirs…, j], in the kernel's precision."""
    g, left, right = work.grams[name]
    ahead, _, mine, c = one.shape
    theirs, columns = two.shape[1:3]
    s = len(g.shared)
    rows, wide = (last - first) * mine, theirs * columns
    out = work.space.room(name, (ahead, rows, wide), work.call.dtype)
    launch = products.module(work.call.dtype).multiply
    blocks, threads = products.squares(ahead, rows, wide), products.ACROSS**2
    flat = one.reshape(ahead, one.shape[1] * mine, c), two.reshape(ahead, wide, c)
    launch[blocks, threads, work.space.work](*flat, out, mine, first, last, columns, upper)
    inner = right.shape[s : s + len(g.theirs)]
    return work.space.room(name, (*left.shape[:s], last - first, *left.shape[s + 1 : -1], *inner, columns), work.call.dtype)


def _lane_products(work: Pairs, name: str) -> tuple[Any, Any]:
    """Room for the inner products of one pair a thread, as ``exact`` reads them and as it writes them."""
    g, left, right = work.grams[name]
    s = len(g.shared)
    ahead, mine, theirs = left.shape[:s], left.shape[s + 1 : -1], right.shape[s : s + len(g.theirs)]
    key, n = (name, "lanes"), work.holders
    here = work.space.room(key, (prod(ahead), prod(mine), prod(theirs), n), np.float64)
    return work.space.room(key, (*ahead, 1, *mine, *theirs, n), np.float64), here


def _sent(work: Pairs, name: str, dtype: np.dtype[Any], tile: Task) -> Any:
    """What is known of the samples of a tile's side, under the name that kernels give it; a constant whole."""
    array, key = work.known[name], (name, dtype.name)
    if name in work.call.constants:
        return work.space.send(key, array, dtype, mark="whole")
    start, stop = _side(name, tile)
    if work.call.by_rows:
        part = array[start:stop]
    else:
        part = array[..., start:stop, :] if name[:-2] in work.call.plan.coefficients else array[..., start:stop]
    return work.space.send(key, part, dtype)


def _side(name: str, tile: Task) -> tuple[int, int]:
    """The samples of a tile that are known of under this name."""
    return tile[:2] if name.endswith("_1") else tile[2:]
