"""Gram tables of inputs, Σ_c x[…, c](i) x'[…, c](j), by BLAS and for the needed index pairs only."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.kernel.inputs import Samples
from tp.kernel.plan import Axis, Input

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class GramTable:
    """How the slots of two members lie in a table: the axes both share, those of the first alone, of the second alone."""

    first: str
    second: str
    shared: tuple[tuple[int, int], ...]  # (slot of the first, slot of the second)
    mine: tuple[int, ...]
    theirs: tuple[int, ...]
    axes: tuple[Axis, ...]

    @property
    def alike(self) -> bool:
        """Whether this is X Xᵀ, at each index that both share: one array for both, of whose squares BLAS does half."""
        paired = all(k == j for k, j in self.shared)
        return self.first == self.second and paired and not self.mine and not self.theirs

    @property
    def numbers(self) -> int:
        """Numbers per pair of samples."""
        return prod(a.size for a in self.axes)


def table(data: Samples, entry: Input) -> GramTable:
    """The layout of a Gram input."""
    one, two = data[entry.key.a].ndim - 2, data[entry.key.b].ndim - 2
    tied = sorted(entry.tied)
    return GramTable(
        entry.key.a,
        entry.key.b,
        tuple(tied),
        tuple(k for k in range(one) if k not in {k for k, _ in tied}),
        tuple(j for j in range(two) if j not in {j for _, j in tied}),
        entry.axes,
    )


def padded(array: Array, axes: list[Axis]) -> Array:
    """``array`` [N, slots…, c] with one slot of zeros beyond every zero boundary."""
    pads = [(0, 0), *((0, int(a.mode == "zero")) for a in axes), (0, 0)]
    return np.pad(array, pads) if any(p[1] for p in pads) else array


def left(g: GramTable, data: Samples) -> Array:
    """The first member as [shared…, N, mine…, c]."""
    x = padded(data[g.first], list(g.axes[: len(g.shared) + len(g.mine)]))
    order = [*(k + 1 for k, _ in g.shared), 0, *(k + 1 for k in g.mine), x.ndim - 1]
    return np.ascontiguousarray(x.transpose(order))


def right(g: GramTable, data: Samples) -> Array:
    """The second member as [shared…, theirs…, N, c]."""
    count = data[g.second].ndim - 2
    axes: list[Axis] = [Axis(0, 0)] * count
    for k, j in g.shared:
        axes[j] = g.axes[k]
    for j, axis in zip(g.theirs, g.axes[len(g.shared) + len(g.mine) :], strict=True):
        axes[j] = axis
    x = padded(data[g.second], axes)
    order = [*(j + 1 for _, j in g.shared), *(j + 1 for j in g.theirs), 0, x.ndim - 1]
    return np.ascontiguousarray(x.transpose(order))


def block(
    g: GramTable, one: Array, two: Array, rows: slice, columns: slice, dtype: Any = None, room: Array | None = None
) -> Array:
    """[shared…, i, mine…, theirs…, j] for a block of pairs; in ``room``, a flat array, where there is one."""
    s = len(g.shared)
    a = one[(slice(None),) * s + (rows,)]
    b = two[(slice(None),) * (s + len(g.theirs)) + (columns,)]
    if dtype is not None:
        a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    ahead, c = a.shape[:s], a.shape[-1]
    flat_a, flat_b = a.reshape(*ahead, -1, c), b.reshape(*ahead, -1, c)
    shape = (*ahead, flat_a.shape[-2], flat_b.shape[-2])
    out = None if room is None else room[: prod(shape)].reshape(shape)
    product = np.matmul(flat_a, np.swapaxes(flat_b, -1, -2), out=out)
    return product.reshape(*a.shape[:-1], *b.shape[s:-1])


def alone(g: GramTable, data: Samples, rows: slice) -> Array:
    """[first's slots…, theirs…, n]: a sample with itself, in double precision."""
    part = {name: np.asarray(data[name][rows], dtype=np.float64) for name in (g.first, g.second)}
    a = left(g, part)
    b = a if g.alike else right(g, part)
    s, t = len(g.shared), len(g.theirs)
    if not g.mine and not g.theirs:
        return np.einsum("...c,...c->...", a, b)
    b = np.moveaxis(b, s + t, s)  # [shared…, n, theirs…, c]
    ahead, c = a.shape[: s + 1], a.shape[-1]
    product = np.matmul(a.reshape(*ahead, -1, c), np.swapaxes(b.reshape(*ahead, -1, c), -1, -2))
    product = product.reshape(*a.shape[:-1], *b.shape[s + 1 : -1])  # [shared…, n, mine…, theirs…]
    slots = sorted(range(s + len(g.mine)), key=lambda x: (*[k for k, _ in g.shared], *g.mine)[x])
    positions = [x if x < s else x + 1 for x in slots]
    rest = range(s + 1 + len(g.mine), product.ndim)
    return np.ascontiguousarray(product.transpose(*positions, *rest, s))


def coordinates(data: Array, axes: tuple[Axis, ...]) -> Array:
    """An input's coordinates as [indices…, N], with slots beyond zero boundaries."""
    pads = [(0, 0), *((0, int(a.mode == "zero")) for a in axes)]
    return np.ascontiguousarray(np.moveaxis(np.pad(data, pads), 0, -1))
