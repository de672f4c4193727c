"""What a random matrix makes of vectors at 2^m nodes: Gaussian vectors at the same nodes that have the products of these.

Some directions, few, go to coordinates of quasi-random points. All others take a random orthogonal matrix between the nodes, in
m 2^m operations: three times random signs and Hadamard's matrix. Images of a vector keep its norm, and the products of several;
over the signs their entries are uncorrelated, and Gaussian but for 1/2^m of the fourth cumulant.
Source: Yu et al. 2016, *Orthogonal Random Features*, section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TIMES = 3
DIGIT = 6
"""Bits of a place that one product takes at most: of more processors do more operations, of fewer more passes."""
BLOCK = 1 << 15
"""Numbers that are worked on together, about: some such arrays stay in a cache."""
INDEPENDENT = 1e-11
"""Part of a vector's square from which on it has a direction of its own."""


@dataclass
class Isometry:
    """A linear map from vectors of some places to arrays over the nodes.

    ``directions``, orthonormal [k, places], go to ``coordinates`` [k, nodes]; what is left of a vector is mixed by ``signs``.
    While there is ``room`` for more directions, those of all vectors that come are added, the largest of them first, and none is
    mixed: so a vector always has the same image. ``fresh(k)`` are coordinates that nothing has read.
    """

    directions: Array
    coordinates: Array
    signs: Array
    room: int = 0
    fresh: Callable[[int], Array] | None = None

    def __call__(self, x: Array) -> Array:
        """[vectors, nodes] of [vectors, places]."""
        if not len(self.directions) and not self.room:
            return mixed(x, self.signs)
        squares = np.einsum("ij,ij->i", x, x)
        found, rest = self._known(x)
        if self.room and np.isfinite(squares).all():
            self._add(rest / np.sqrt(np.where(squares > 0.0, squares, 1.0))[:, None])
            found, rest = self._known(x)
        left = ~(np.einsum("ij,ij->i", rest, rest) <= len(x) * INDEPENDENT * squares)
        if left.any() and len(self.signs):
            found[left] += mixed(rest[left], self.signs)
        return found

    def _known(self, x: Array) -> tuple[Array, Array]:
        """The image of what lies in the directions, and what is left."""
        along = x @ self.directions.T
        return along @ self.coordinates, x - along @ self.directions

    def _add(self, rest: Array) -> None:
        values, vectors = np.linalg.eigh(rest @ rest.T)
        keep = np.flatnonzero(values > INDEPENDENT)[::-1][: self.room]
        if len(keep):
            assert self.fresh is not None
            self.room -= len(keep)
            more = (vectors[:, keep] / np.sqrt(values[keep])).T @ rest
            self.directions = np.concatenate([self.directions, more])
            self.coordinates = np.concatenate([self.coordinates, self.fresh(len(keep))])


def signs(count: int, nodes: int, rng: np.random.Generator) -> Array:
    """Those of ``count`` matrices, [count, 3, nodes]."""
    return np.where(rng.integers(0, 2, (count, TIMES, nodes), dtype=np.int8) > 0, 1.0, -1.0)


def mixed(x: Array, of: Array) -> Array:
    """√nodes Q x, [samples, nodes], of vectors [samples, places], as many places as matrices ``of`` have in a row, or fewer."""
    blocks, _, nodes = of.shape
    if x.shape[1] != blocks * nodes:
        x = np.pad(x, ((0, 0), (0, blocks * nodes - x.shape[1])))
    found = np.zeros((len(x), nodes)) if blocks > 1 else np.empty((len(x), nodes))
    few = max(1, BLOCK // nodes)
    for rows in (slice(start, start + few) for start in range(0, len(x), few)):
        for k, (*turns, last) in enumerate(of):
            part = x[rows, k * nodes : (k + 1) * nodes]
            for turn in (*turns, last * nodes**0.5):
                part = hadamard(part * turn)
            if blocks > 1:
                found[rows] += part
            else:
                found[rows] = part
    return found


def hadamard(x: Array) -> Array:
    """Hadamard's matrix of the length 2^m of rows, orthonormal, on each; some bits of a place at a time, the last ones first."""
    shape = x.shape
    left, done = shape[1].bit_length() - 1, 0
    while left:
        bits = -(-left // -(-left // DIGIT))
        one = _matrix(bits)
        x = one @ x.reshape(-1, 2**bits, 2**done) if done else x.reshape(-1, 2**bits) @ one
        left, done = left - bits, done + bits
    return x.reshape(shape)


@lru_cache(DIGIT)
def _matrix(bits: int) -> Array:
    found = np.ones((1, 1))
    for _ in range(bits):
        found = np.block([[found, found], [found, -found]]) * 0.5**0.5
    return found
