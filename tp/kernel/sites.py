"""What one sample decides, for all samples of a side: its site tables, and powers of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from tp.kernel import gram, sizes
from tp.kernel.call import Array, Call, Side
from tp.kernel.coefficients import add_coefficients
from tp.kernel.plan import Root
from tp.kernel.room import room


def prepare(call: Call, *sides: Side, beside: Callable[[], None] | None = None) -> None:
    """Site tables of all samples, then coefficient vectors of one common length.

    ``beside`` may be called on the way, by one thread while others are at work and all sides have their tables.
    """
    for side in sides:
        if call.plan.sites_by_rows:
            _by_rows(call, side, beside if side is sides[-1] else None)
            continue
        _by_samples(call, side)
        for name, root in call.plan.roots.items():
            side.sites[name] = np.empty_like(side.sites[root.base])
            _root(root, side.sites[root.base], side.sites[name])
    add_coefficients(call, sides)


def positions_last(call: Call, side: Side) -> dict[str, Array]:
    """The samples with their coordinates before positions."""
    if not side.first:
        side.first = _turned(call, side)
        for n, a in side.first.items():
            _turn(side.data[n.removeprefix("data_")], a, call.plan.grid)
    return side.first


def _by_samples(call: Call, side: Side) -> None:
    """Many samples side by side, [axes…, sample]."""
    function = call.plan.functions.get("sites")
    if function is None:
        return
    for name, axes in call.plan.sites.items():
        side.sites[name] = np.zeros((*(a.size for a in axes), side.count))
    inputs = {n: e for n, e in call.plan.inputs.items() if n in function}
    layouts = {n: gram.table(side.data, e) for n, e in inputs.items() if e.key.kind == "Gram"}
    whole = {n: gram.coordinates(side.data[e.key.a], e.axes) for n, e in inputs.items() if e.key.kind == "data"}
    step = min(sizes.per_block(sum(g.numbers for g in layouts.values())), max(sizes.SHARE, -(-side.count // call.threads)))
    width = call.width("sites", step)

    def work(start: int) -> None:
        stop = min(side.count, start + step)
        blocks = {n: gram.alone(g, side.data, slice(start, stop)) for n, g in layouts.items()}
        arrays = {**whole, **side.sites, **call.constants, **blocks}
        call.module.sites(call.integers, call.floats, start, stop, width, *(arrays[a] for a in function))

    call.run(work, list(range(0, side.count, step)), "sites")


def _by_rows(call: Call, side: Side, beside: Callable[[], None] | None) -> None:
    """Samples one by one where positions are lanes, [sample, axes…]."""
    tasks = [task for _, task in site_tasks(call, side)]
    call.run(lambda task: task(), tasks if beside is None else [beside, *tasks], "sites")


def site_tasks(call: Call, side: Side) -> list[tuple[slice, Callable[[], None]]]:
    """What fills the site tables of a side where positions are lanes, so many samples each, and the last the rest."""
    kept = _tables(call, side.count)
    side.sites = {n: a.transpose(*range(1, a.ndim), 0) for n, a in kept.items()}
    side.first = _turned(call, side)
    function = call.plan.functions["sites"]
    step = -(-side.count // (2 * call.threads))

    def work(part: slice) -> None:
        arrays = {**{n: a[part] for n, a in kept.items()}, **call.constants}
        for n, a in side.first.items():
            _turn(side.data[n.removeprefix("data_")][part], a[part], call.plan.grid)
            arrays[f"{n}_1"] = arrays[f"{n}_2"] = a[part].astype(np.float64, copy=False)
        call.module.sites(call.integers, call.floats, 0, part.stop - part.start, *(arrays[a] for a in function))

    parts = [slice(start, min(side.count, start + step)) for start in range(0, side.count, step)]
    return [(part, partial(work, part)) for part in parts]


def _tables(call: Call, count: int) -> dict[str, Array]:
    """Site tables [sample, axes…] and their roots, which have the kernel's precision where pairs alone read them.

    Slots beyond boundaries, which no sample fills, hold variances of 0.
    """
    plan = call.plan
    shapes = {n: (count, *(a.size for a in axes)) for n, axes in plan.sites.items()}
    shapes |= {n: shapes[root.base] for n, root in plan.roots.items()}
    exact = {a[:-2] for a in plan.functions.get("exact", ())}
    found = room(shapes, {n: call.dtype for n in plan.roots if n not in exact | plan.coefficients.keys()})
    if not plan.grid:
        for name, a in found.items():
            a.fill(_of_nothing(plan.roots[name]) if name in plan.roots else 0.0)
    return found


def _turned(call: Call, side: Side) -> dict[str, Array]:
    """Room for the samples with their coordinates before positions, and with blank lanes after rows where these are one row."""
    lanes = (prod(n + m for n, m in call.plan.grid),)
    shapes = {f"data_{n}": (a.shape[0], a.shape[-1], *(lanes if call.plan.grid else a.shape[1:-1])) for n, a in side.data.items()}
    return room(shapes, {f"data_{n}": a.dtype for n, a in side.data.items()})


def _turn(a: Array, out: Array, grid: tuple[tuple[int, int], ...]) -> None:
    """[sample, positions, coordinate] as [sample, coordinate, positions], on a grid with blank lanes after rows."""
    turned = a.transpose(0, -1, *range(1, a.ndim - 1))
    if not grid:
        out[...] = turned
        return
    box: tuple[Any, ...] = (..., *(slice(n) for n, _ in grid))
    out.reshape(*out.shape[:2], *(n + m for n, m in grid))[box] = turned
    _blank(out, grid)


def _blank(a: Array, grid: tuple[tuple[int, int], ...]) -> None:
    """Zeros in the blank lanes of [samples, …, lanes]."""
    box = a.reshape(*a.shape[:-1], *(n + m for n, m in grid))
    for k, (n, m) in enumerate(grid):
        if m:
            beyond: tuple[Any, ...] = (..., slice(n, None), *(slice(None) for _ in grid[k + 1 :]))
            box[beyond] = 0.0


@lru_cache(256)
def _of_nothing(root: Root) -> float:
    """The power at a variance of 0."""
    _root(root, np.zeros(1), found := np.zeros(1))
    return float(found[0])


def _root(root: Root, variances: Array, out: Array) -> None:
    """A power of variances; 1/√0 is 0: no variance, no correlation."""
    np.multiply(variances, root.slope, out=out)
    out += root.shift
    with np.errstate(divide="ignore", invalid="ignore"):
        if abs(root.power) == 0.5:
            np.sqrt(out, out=out)
        if root.power == -0.5:
            np.divide(1.0, out, out=out)
        elif root.power != 0.5:
            np.power(out, root.power, out=out)
    finite = np.isfinite(out)
    if not finite.all():
        out[~finite] = 0.0
