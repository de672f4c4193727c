"""Coefficient vectors: expansions of the functions of one sample, as long as the precision asks for."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tp.gaussian.tabulate import Site, coefficients
from tp.kernel import sizes
from tp.kernel.blas import one_thread
from tp.kernel.call import Array, Call, Side


def add_coefficients(call: Call, sides: Sequence[Side]) -> None:
    """Tables of coefficient vectors [slots…, N, K] from the site tables; tables that are multiplied have one length K."""
    rows = {name: np.concatenate([_rows(call, side, name) for side in sides]) for name in call.plan.coefficients}
    lengths: dict[str, int] = {}
    for name, root in call.plan.lengths.items():
        lengths[root] = max(lengths.get(root, 1), _length(call, name, rows[name]))
    for name, axes in call.plan.coefficients.items():
        length, slots = lengths[call.plan.lengths[name]], tuple(a.size for a in axes)
        site = _site(call, name)
        site.parts(rows[name][:1], np.zeros((1, length)))  # which a rehearsal, where no variance is known, would not see
        with one_thread():
            found = coefficients(site, rows[name], length, 0.01 * call.precise)
        ends = np.cumsum([prod(slots) * side.count for side in sides])
        for side, part in zip(sides, np.split(found, ends[:-1]), strict=True):
            side.sites[name] = part.reshape(*slots, side.count, length)


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


def _site(call: Call, name: str) -> Site:
    """A table's functions, on the call's threads."""
    return Site(
        getattr(call.module, f"fill_{name}"),
        getattr(call.module, f"squares_{name}"),
        lambda work, tasks: call.run(work, tasks, "coefficients"),
    )
