"""Coefficient vectors: expansions of the functions of one sample, as long as the precision asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from tp.gaussian.tabulate import Site, coefficients
from tp.kernel import sizes
from tp.kernel.blas import one_thread
from tp.kernel.call import EPS, Array, Call, Side
from tp.kernel.memory import check_vectors, two_variables


def add_coefficients(call: Call, sides: Sequence[Side]) -> None:
    """Tables of coefficient vectors [slots…, N, blocks × K] from the site tables; those that are multiplied have one length K.

    Tables that have functions in common are made together, so that these are integrated at the same few norms.
    """
    rows = {name: np.concatenate([_rows(call, side, name) for side in sides]) for name in call.plan.coefficients}
    lengths: dict[str, int] = {}
    for name, root in call.plan.lengths.items():
        terms = _length_of_planes if two_variables(call.plan, name) else _length
        lengths[root] = max(lengths.get(root, 1), terms(call, call.plan.makers[name], rows[name]))
    long = {name: call.plan.blocks[name] * lengths[root] for name, root in call.plan.lengths.items()}
    numbers = sum(len(rows[n]) * long[n] for n in rows if two_variables(call.plan, n))
    check_vectors(call.plan, numbers, call.memory, sides[0].count, sides[-1].count)
    alike: dict[tuple[str, int], list[str]] = {}  # tables made by the same functions, of the same length
    for name, maker in call.plan.makers.items():
        alike.setdefault((maker, long[name]), []).append(name)
    for (maker, length), names in alike.items():
        with one_thread():
            found = _vectors(call, maker, np.concatenate([rows[name] for name in names]), length)
        parts = [(side, name) for name in names for side in sides]
        shapes = [(*(a.size for a in call.plan.coefficients[name]), side.count, length) for side, name in parts]
        ends = np.cumsum([prod(shape[:-1]) for shape in shapes])
        for (side, name), shape, part in zip(parts, shapes, np.split(found, ends[:-1]), strict=True):
            side.sites[name] = part.reshape(shape)


def columns(vectors: Array, enough: bool) -> Array:
    """Coefficient vectors [slots…, N, K] as [slots…, K, N + 16]; their tails are the largest of all samples, or 0 if ``enough``.

    The last column bounds |b_k| relative to (Σ j b_j²)^½, of which a few terms are taken. Sixteen keep rows of vectors aligned.
    """
    *slots, count, length = vectors.shape
    found = np.zeros((*slots, length, count + sizes.VECTOR))
    inner = found[..., :count]
    inner[...] = np.swapaxes(vectors, -1, -2)
    inner[..., -2:, :] = 0.0 if enough else inner[..., -2:, :].max(-1, keepdims=True)
    head = min(16, length - 2)
    least = np.einsum("...kn,...kn,k->...n", inner[..., :head, :], inner[..., :head, :], np.arange(float(head))).min(-1)
    with np.errstate(divide="ignore"):
        found[..., -1] = np.maximum(inner.max(-1), -inner.min(-1)) / np.sqrt(least)[..., None]
    return found


def enough(call: Call, *sides: Side) -> bool:
    """Whether there are as many terms as were asked for: then no pair needs more."""
    tails = [s.sites[c][..., -2:].max(initial=0.0) for s in sides for c in call.plan.coefficients]
    return bool(max(tails, default=0.0) ** 2 <= call.precise)


def _rows(call: Call, side: Side, name: str) -> Array:
    """What the functions of a table take, [slots × samples, argument]."""
    function, slots = f"arguments_{name}", tuple(a.size for a in call.plan.coefficients[name])
    arrays = {**side.sites, **call.constants}
    rows = np.zeros((*slots, side.count, call.plan.arguments[name]))
    getattr(call.module, function)(
        call.integers, call.floats, side.count, *(arrays[a] for a in call.plan.functions[function]), rows
    )
    return rows.reshape(-1, rows.shape[-1])


MOST = 8
"""Different functions of a table that are asked for their number of terms."""


def _length(call: Call, name: str, rows: Array) -> int:
    """Terms that a table's functions take: the largest variance decides, of each function where they are few."""
    largest_first = rows[np.argsort(-rows[:, 0], kind="stable")]
    if rows.shape[1] == 1:
        asked = largest_first[:1]
    else:
        _, first = np.unique(largest_first[:, 1:], axis=0, return_index=True)
        asked = largest_first[np.sort(first)[:MOST]]
    return int(getattr(call.module, f"count_{name}")(asked, call.precise))


def _length_of_planes(call: Call, name: str, rows: Array) -> int:
    """Terms that functions of two variables take where these vary most; in single precision no fewer."""
    distinct = np.unique(rows, axis=0)
    first, second = distinct[:, 0], distinct[:, 2]
    most = np.concatenate([np.argsort(-size, kind="stable")[: MOST // 2] for size in (first + second, first, second)])
    length, eps = sizes.VECTORS + 1, EPS["float64"]  # none is known yet
    while length * call.plan.blocks[name] * len(rows) > sizes.VECTORS and eps < 1e-2:
        length = int(getattr(call.module, f"count_{name}")(distinct[np.unique(most)], eps))
        eps *= 100.0
    return length


def _vectors(call: Call, name: str, rows: Array, length: int) -> Array:
    """The vectors at these rows: some interpolated, or each of those that differ computed."""
    fill = getattr(call.module, f"fill_{name}")

    def run(work: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        return call.run(work, tasks, "coefficients")

    if not two_variables(call.plan, name):
        site = Site(fill, getattr(call.module, f"squares_{name}"), run)
        site.parts(rows[:1], np.zeros((1, length)))  # which a rehearsal, where no variance is known, would not see
        return coefficients(site, rows, length, 0.01 * call.precise)
    distinct, where = np.unique(rows, axis=0, return_inverse=True)
    return _of_planes(call, name, Site(fill, None, run), distinct, length)[where.reshape(-1)]


LADDER = (24, 32, 42, 56, 74, 98, 130, 172, 228, 302)
"""Degrees to which functions of two variables are expanded where that is enough for a sample; or else to what is asked for."""


def _of_planes(call: Call, name: str, site: Site, rows: Array, length: int) -> Array:
    """Vectors of functions of two variables, each computed as far as its own tail asks for; what follows is 0."""
    blocks = call.plan.blocks[name]
    size, count = length // blocks, getattr(call.module, f"count_{name}")
    wish = np.array(site.run(lambda k: int(count(rows[k : k + 1], EPS["float64"])), range(len(rows))))
    found = np.zeros((len(rows), blocks, size))
    steps = [n for n in ((k + 1) * (k + 2) // 2 + 2 for k in LADDER) if n < size]
    which = np.searchsorted(steps, wish)
    for k, n in enumerate([*steps, size]):
        if len(mine := np.flatnonzero(which == k)):
            part = site.vectors(rows[mine], blocks * n).reshape(len(mine), blocks, n)
            found[mine, :, : max(0, n - 2)], found[mine, :, -2:] = part[..., :-2], part[..., -2:]
    return found.reshape(len(rows), length)
