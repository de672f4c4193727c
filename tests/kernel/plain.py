"""Kernels of specs, and samples for them."""

from __future__ import annotations

import numpy as np

import tp
from tp.kernel.build import build
from tp.kernel.inputs import shape


def kernel(text: str, kinds=("K", "Theta"), **options):
    """The kernel of a spec, and its limit."""
    net = tp.parse(text)
    limit = net.ntk() if "Theta" in kinds else net.nngp()
    return build(limit, kinds, threads=1, progress=False, **options), limit


def data(limit, count: int, seed: int = 0):
    """Random samples of the right shape, a dict where the network has several inputs."""
    rng = np.random.default_rng(seed)
    made = {d.ref.name: rng.standard_normal((count, *shape(d, {}))) for d in limit.program.data}
    return made if len(made) > 1 else next(iter(made.values()))
