"""A sample with itself: the diagonal of a kernel, and the pairs of equal samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tp.kernel import gram, images, sizes
from tp.kernel.call import Array, Call, Side, finite
from tp.kernel.twins import twins

Diagonal = tuple[NDArray[np.int64], NDArray[np.int64], dict[str, Array]]
"""Rows and columns of the pairs of one and the same sample, and their values, [out axes…, pair], by table."""


def fill(call: Call, one: Side, two: Side, results: dict[str, Array]) -> bool:
    """Pairs of one and the same sample get the values of a sample with itself; whether these are finite."""
    return place(values(call, one, two), results)


def values(call: Call, one: Side, two: Side) -> Diagonal:
    """The pairs of one and the same sample, with what ``fill`` puts there."""
    rows, columns, need, position = twins(one, two)
    found = alone(call, one, need) if len(rows) else {}
    return rows, columns, {name: values[..., position] for name, values in found.items()}


def place(diagonal: Diagonal, results: dict[str, Array]) -> bool:
    """Puts the values where they belong; whether they are finite."""
    rows, columns, found = diagonal
    for name, values in found.items():
        results[name][..., rows, columns] = values
    return finite(found)


def alone(call: Call, side: Side, which: NDArray[np.int64]) -> dict[str, Array]:
    """The chosen samples, each with itself: [out axes…, sample]."""
    if call.by_rows:
        return images.diagonal(call, side, which)
    if "diagonal" not in call.plan.functions:
        return {t: side.sites[t][..., which].astype(call.dtype) for t in call.plan.outputs}
    part = _chosen(call, side, which) if len(which) < side.count else side
    results = call.blank(part.count)
    function = call.plan.functions["diagonal"]
    layouts = call.grams(part.data)
    step = min(sizes.per_block(sum(g.numbers for g in layouts.values())), max(sizes.SHARE, -(-part.count // call.threads)))
    width = call.width("diagonal", step)

    def work(start: int) -> None:
        stop = min(part.count, start + step)
        blocks = {n: gram.alone(g, part.data, slice(start, stop)) for n, g in layouts.items()}
        arrays = {**part.sites, **call.constants, **results, **blocks}
        call.module.diagonal(call.integers, call.floats, start, stop, width, *(arrays[a] for a in function))

    call.run(work, list(range(0, part.count, step)), "diagonal")
    return results


def _chosen(call: Call, side: Side, which: NDArray[np.int64]) -> Side:
    """Some of the samples, with what is known of them."""
    axis = dict.fromkeys(call.plan.coefficients, -2)
    sites = {n: np.ascontiguousarray(np.take(a, which, axis=axis.get(n, -1))) for n, a in side.sites.items()}
    return Side({n: a[which] for n, a in side.data.items()}, len(which), sites)
