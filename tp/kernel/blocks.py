"""Pairs of samples where samples are lanes: blocks of rows and columns, each with its inner products from BLAS."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import isqrt
from typing import Any

import numpy as np

from tp.kernel import again, gram, mirror, sizes
from tp.kernel.blas import one_thread
from tp.kernel.call import Array, Call, Side, Task, finite
from tp.kernel.coefficients import columns, enough
from tp.kernel.gram import GramTable


def fill(call: Call, one: Side, two: Side, results: dict[str, Array]) -> bool:
    """Fills in all pairs of different samples; whether they were seen to be finite."""
    layouts = call.grams(one.data)
    tasks = _tasks(one.count, two.count, one is two, sum(g.numbers for g in layouts.values()), call.threads)
    products = _products(layouts, one, two)
    double = tables(call, one, two)
    pairs, function = getattr(call.module, call.pairs), call.plan.functions[call.pairs]
    fixed = {n: a.astype(call.dtype, copy=False) for n, a in double.items() if n in function} | results
    floats = call.floats.astype(call.dtype)
    rooms = threading.local()

    def work(task: Task) -> bool:
        i0, i1, j0, j1 = task
        if not hasattr(rooms, "by_name"):  # the first task is the largest
            most = (tasks[0][1] - tasks[0][0]) * (tasks[0][3] - tasks[0][2])
            rooms.by_name = {n: again.empty((most * g.numbers,), call.dtype) for n, g in layouts.items()}
        blocks = products(task, call.dtype, rooms.by_name)
        arrays = {**fixed, **blocks}
        hard = np.zeros(i1 - i0, np.int64)
        place = (i0, i1, j0, j1, one is two, call.width(call.pairs, j1 - j0), hard)
        pairs(call.integers, floats, *place, *(arrays[a] for a in function))
        if hard.any():
            arrays = {**double, **results, **(blocks if call.dtype == np.float64 else products(task, np.float64, {}))}
            call.module.exact(call.integers, call.floats, *place, *(arrays[a] for a in call.plan.functions["exact"]))
        if one is two:
            return mirror.tables(results, task, call.plan.crossed)
        return finite({n: table[..., i0:i1, j0:j1] for n, table in results.items()})

    with one_thread():
        return all(call.run(work, tasks, "pairs"))


def _products(layouts: dict[str, GramTable], one: Side, two: Side) -> Callable[[Task, Any, dict[str, Array]], dict[str, Array]]:
    """The inner products of a block of pairs, by name, in a precision; in flat arrays where these are given."""
    ahead = {}
    for n, g in layouts.items():
        first = gram.left(g, one.data)
        ahead[n] = (g, first, first if one is two and g.alike else gram.right(g, two.data))

    def products(task: Task, dtype: Any, room: dict[str, Array]) -> dict[str, Array]:
        i0, i1, j0, j1 = task
        return {n: gram.block(g, a, b, slice(i0, i1), slice(j0, j1), dtype, room.get(n)) for n, (g, a, b) in ahead.items()}

    return products


def tables(call: Call, one: Side, two: Side) -> dict[str, Array]:
    """What pairs read besides inner products, by name, in double precision."""
    found = {**call.constants, **{f"{n}_1": a for n, a in one.sites.items()}, **{f"{n}_2": a for n, a in two.sites.items()}}
    wanted = {c for c in call.plan.coefficients if f"{c}_columns" in call.plan.functions["pairs"]}
    done = enough(call, one, two)
    return found | {f"{n}_columns": columns(two.sites[n], done) for n in wanted}


def _tasks(first: int, second: int, symmetric: bool, numbers: int, threads: int) -> list[Task]:
    """Blocks of pairs, the largest first: wide, which BLAS likes, but small enough for memory and for an even load.

    Those on the diagonal are squares, of which BLAS does half.
    """
    share = first * second // (8 if symmetric else 4) // threads
    most = max(1, min(sizes.per_block(numbers), share))
    edge = sizes.whole(max(1, min(isqrt(most), first, sizes.EDGE)))
    wide = sizes.whole(max(1, min(most // edge, 4 * sizes.EDGE)))
    tasks = []
    for i0 in range(0, first, edge):
        i1 = min(i0 + edge, first)
        tasks += [(i0, i1, i0, i1)] if symmetric else []
        tasks += [(i0, i1, j, min(j + wide, second)) for j in range(i1 if symmetric else 0, second, wide)]
    return sorted(tasks, key=lambda t: (t[0] - t[1]) * (t[3] - t[2]))
