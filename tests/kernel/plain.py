"""Kernels of specs, and samples for them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

import tp
from tp.kernel.build import build
from tp.kernel.inputs import shape


@lru_cache(maxsize=16)
def derived(text: str, tangent: bool):
    """The limit of a spec, once for the tests that compile it in several ways."""
    net = tp.parse(text)
    return net.ntk() if tangent else net.nngp()


def kernel(text: str, kinds=("K", "Theta"), **options):
    """The kernel of a spec, and its limit."""
    limit = derived(text, "Theta" in kinds)
    return build(limit, kinds, threads=1, progress=False, **options), limit


def data(limit, count: int, seed: int = 0):
    """Random samples of the right shape, a dict where the network has several inputs."""
    rng = np.random.default_rng(seed)
    made = {d.ref.name: rng.standard_normal((count, *shape(d, {}))) for d in limit.program.data}
    return made if len(made) > 1 else next(iter(made.values()))
