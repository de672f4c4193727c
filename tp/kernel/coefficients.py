"""Coefficient vectors: expansions of the functions of one sample, as long as the precision asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tp.kernel.call import Array, Call, Side


def add_coefficients(call: Call, sides: Sequence[Side]) -> None:
    """Tables of coefficient vectors [slots…, N, K] from the site tables; tables that are multiplied have one length K."""
    lengths: dict[str, int] = {}
    for name, root in call.plan.lengths.items():
        for side in sides:
            lengths[root] = max(lengths.get(root, 1), _count(call, side, name))
    for name, axes in call.plan.coefficients.items():
        for side in sides:
            out = np.zeros((*(a.size for a in axes), side.count, lengths[call.plan.lengths[name]]))
            _fill(call, side, name, out)
            side.sites[name] = out


def columns(vectors: Array, enough: bool) -> Array:
    """Coefficient vectors [slots…, N, K] as [slots…, K, N]; their tails are the largest of all samples, or 0 if ``enough``."""
    found = np.ascontiguousarray(np.swapaxes(vectors, -1, -2))
    found[..., -2:, :] = 0.0 if enough else found[..., -2:, :].max(-1, keepdims=True)
    return found


def enough(call: Call, *sides: Side) -> bool:
    """Whether there are as many terms as were asked for: then no pair needs more."""
    tails = [s.sites[c][..., -2:].max(initial=0.0) for s in sides for c in call.plan.coefficients]
    return bool(max(tails, default=0.0) ** 2 <= call.precise)


def _count(call: Call, side: Side, name: str) -> int:
    """Terms that a table's functions take."""
    function = f"count_{name}"
    arrays = {**side.sites, **call.constants}
    used = (arrays[a] for a in call.plan.functions[function])
    return int(getattr(call.module, function)(call.integers, call.floats, side.count, *used, call.precise))


def _fill(call: Call, side: Side, name: str, out: Array) -> None:
    """One table of coefficient vectors, [slots…, N, K]: some samples at a time."""
    function = f"fill_{name}"
    step = -(-side.count // (8 * call.threads))

    def work(start: int) -> None:
        part = np.zeros_like(out[..., start : start + step, :])
        mine = {n: np.ascontiguousarray(side.sites[n][..., start : start + step]) for n in call.plan.sites}
        arrays = {**mine, **call.constants}
        used = (arrays[a] for a in call.plan.functions[function])
        getattr(call.module, function)(call.integers, call.floats, part.shape[-2], *used, part)
        out[..., start : start + step, :] = part

    call.run(work, list(range(0, side.count, step)), "coefficients")
