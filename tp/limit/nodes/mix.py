"""Random orthogonal matrices between 2^m nodes, which act in m 2^m operations: three times random signs and Hadamard's matrix.

Images of a vector keep its norm, and the products of several; over the signs their entries are uncorrelated, and Gaussian but for
1/2^m of the fourth cumulant. Source: Yu et al. 2016, *Orthogonal Random Features*, section 5.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TIMES = 3
DIGIT = 5
"""Bits of a place that one product takes: of larger ones processors do more operations, of smaller ones more passes."""
BLOCK = 1 << 15
"""Numbers that are worked on together, about: some such arrays stay in a cache."""


def signs(count: int, nodes: int, rng: np.random.Generator) -> Array:
    """Those of ``count`` matrices, [count, 3, nodes]."""
    return np.where(rng.integers(0, 2, (count, TIMES, nodes), dtype=np.int8) > 0, 1.0, -1.0)


def mixed(x: Array, of: Array) -> Array:
    """√nodes Q x, [samples, nodes], of vectors [samples, places], as many places as matrices ``of`` have in a row, or fewer."""
    blocks, _, nodes = of.shape
    if x.shape[1] != blocks * nodes:
        x = np.pad(x, ((0, 0), (0, blocks * nodes - x.shape[1])))
    found = np.zeros((len(x), nodes))
    few = max(1, BLOCK // nodes)
    for rows in (slice(start, start + few) for start in range(0, len(x), few)):
        for k, turns in enumerate(of):
            part = x[rows, k * nodes : (k + 1) * nodes]
            for turn in turns:
                part = hadamard(part * turn)
            found[rows] += part
    found *= nodes**0.5
    return found


def hadamard(x: Array) -> Array:
    """Hadamard's matrix of the length 2^m of rows, orthonormal, on each; some bits of a place at a time."""
    count, nodes = x.shape
    left = nodes.bit_length() - 1
    while left:
        bits = min(DIGIT, left)
        x = (_matrix(bits) @ x.reshape(count, 2**bits, -1)).swapaxes(1, 2).reshape(count, nodes)
        left -= bits
    return x


@lru_cache(DIGIT)
def _matrix(bits: int) -> Array:
    found = np.ones((1, 1))
    for _ in range(bits):
        found = np.block([[found, found], [found, -found]]) * 0.5**0.5
    return found
