"""Functions of :mod:`tp.gaussian.planes` in array code: coefficients by products of matrices, sums for thousands of pairs.

With R = P diag(s₁, s₂) Q, P and Q rotations, Γ_k(R) = Γ_k(P) diag(s₁^{k−j} s₂^j) Γ_k(Q). A rotation turns the coefficients of
degree k by phases e^{imφ}, |m| = k, k−2, …, in a basis that is the same for all pairs (Itô 1952, *Complex multiple Wiener
integral*): it comes from h_{k−j}(x) h_j(y) by the symmetric orthogonal matrix Γ_k([[1, 1], [1, −1]]/√2) and powers of i. So a
pair takes phases and two products with matrices that all pairs share; ``planes.together`` makes a matrix of its own for each.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.forks import waited_for
from tp.gaussian import planes
from tp.kernel.lanewise import Vectors

Array = NDArray[Any]

NUMBERS = 1 << 17
"""Numbers of a table that lanes have at a time: it stays in a core's cache."""

KEPT = 160
"""Degrees whose matrices are kept."""

SMALL = 400
"""Nodes a side of grids that are kept."""


# ---------------------------------------------------------------- coefficients of a side


class _Grid:
    """The nodes of ``planes.at_step`` within its circle, their weights, and which of them lie at its edge."""

    def __init__(self, step: float, top: int) -> None:
        nodes = 2 * int(13.5 / step) + 1
        x = (np.arange(nodes) - 0.5 * (nodes - 1)) * step
        radii = np.add.outer(x * x, x * x)
        table = waves(x, step, top)
        self.even, self.odd = table[nodes // 2 :, ::2].copy(), table[nodes // 2 :, 1::2].copy()
        self.even[0] *= 0.5
        self.inside = radii < 182.25
        self.x, self.y = (np.broadcast_to(a, radii.shape)[self.inside] for a in (x[:, None], x))
        self.weights = np.multiply.outer(table[:, 0], table[:, 0])[self.inside]
        self.edge = radii[self.inside] > 156.25

    def project(self, values: Array) -> Array:
        """[degree in x, degree in y] of a function with these values."""
        whole = np.zeros(self.inside.shape)
        whole[self.inside] = values
        return self.along(self.along(whole).T).T

    def along(self, values: Array) -> Array:
        """By degree in the last variable; its even part has even degrees only."""
        middle = values.shape[1] // 2
        right, left = values[:, middle:], values[:, middle::-1]
        found = np.empty((len(values), self.even.shape[1] + self.odd.shape[1]))
        found[:, ::2] = (right + left) @ self.even
        found[:, 1::2] = (right - left) @ self.odd
        return found


def waves(x: Array, step: float, top: int) -> Array:
    """``planes.waves`` at these nodes, a degree at a time."""
    found = np.empty((len(x), top + 1))
    root = np.exp(-0.25 * x * x)
    before, now = np.zeros_like(x), root * root * (step * 0.3989422804014327)
    for k in range(top + 1):
        found[:, k] = now
        before, now = now, (x * now - math.sqrt(k) * before) / math.sqrt(k + 1.0)
    return found


_small_grid = lru_cache(8)(_Grid)


def _grid(step: float, top: int) -> _Grid:
    return _small_grid(step, top) if SMALL * step > 27.0 else _Grid(step, top)


@lru_cache(64)
def _places(top: int) -> tuple[Array, Array]:
    """Degrees of the first variable and of the second, by place in a vector of coefficients."""
    second = np.concatenate([np.arange(k + 1) for k in range(top + 1)])
    return np.repeat(np.arange(top + 1), np.arange(1, top + 2)) - second, second


def at_step(phi: Callable[..., Any]) -> Callable[..., bool]:
    """``planes.at_step`` of a function of arrays, all nodes at a time."""

    def at_step(l11: float, l21: float, l22: float, step: float, top: int, found: Array, *params: float) -> bool:
        grid, size = _grid(step, top), (top + 1) * (top + 2) // 2
        blocks = found.reshape(-1, size + 2)
        values = np.empty((len(blocks), len(grid.x)))
        phi(l11 * grid.x, l21 * grid.x + l22 * grid.y, values, *params)
        fine = True
        for row, block in zip(values, blocks, strict=True):
            squares = row * row * grid.weights
            total = float(squares.sum())
            block[:size] = grid.project(row)[_places(top)]
            left = abs(total - float(block[:size] @ block[:size]))
            block[size] = math.sqrt(max(left, 1e-15 * total) / total) if total > 0.0 else 0.0
            block[size + 1] = math.sqrt(total) if total >= 0.0 else math.nan
            fine = fine and bool(squares[grid.edge].max() <= 1e-22 * total) and total < math.inf
        return fine

    return np.errstate(all="ignore")(at_step)


def apart(found: Array, before: Array, count: int) -> float:
    """``planes.apart``, all coefficients at a time."""
    one = found.reshape(count, -1)
    off = np.abs(one - before.reshape(count, -1))
    off[:, -2] = 0.0
    before[...] = found
    most, norms = off.max(1), one[:, -1]
    if not (most < math.inf).all() or (most[~(norms > 0.0)] > 0.0).any():
        return math.inf
    return float(np.max(most / np.where(norms > 0.0, norms, 1.0)))


def tails(vector: Array, count: int, top: int) -> Array:
    """``planes.tails``."""
    return np.asarray(_tails(vector.reshape(1, count, -1), top)[0])


def _tails(blocks: Array, top: int) -> Array:
    """The same of several samples, [sample, f, number]: [sample, k]."""
    norms, starts = blocks[..., -1], np.arange(top + 1) * np.arange(1, top + 2) // 2
    squares = np.empty((*norms.shape, top + 1))
    for block, row in zip(blocks, squares, strict=True):  # one by one: memory
        np.add.reduceat(block[:, : starts[-1] + top + 1] ** 2, starts, axis=-1, out=row)
    beyond = np.concatenate([squares[..., :0:-1].cumsum(-1)[..., ::-1], np.zeros((*norms.shape, 1))], -1)
    with np.errstate(all="ignore"):
        left = np.sqrt((blocks[..., -2] * norms)[..., None] ** 2 + beyond) / norms[..., None]
    left[norms == 0.0] = 0.0
    left[~(norms < math.inf)] = math.inf
    return np.asarray(left.max(1))


# ---------------------------------------------------------------- sums of pairs


class Table:
    """What pairs read of a table of vectors: tails, and coefficients in the round basis, of as many degrees as were asked for."""

    def __init__(self, blocks: Array) -> None:
        self.tails = _tails(blocks, planes.degree(blocks.shape[-1] - 2))
        self.degrees: list[Array] = []

    def up_to(self, top: int, blocks: Array) -> list[Array]:
        for k, half in enumerate(_halves(top)):
            if k >= len(self.degrees):
                self.degrees.append(_round(blocks, k, half))
        return self.degrees


_tables: dict[tuple[Any, ...], tuple[weakref.ref[Array], Table]] = {}
_asking = waited_for(threading.RLock())


def _table(vectors: Vectors, count: int, top: int = -1) -> Table:
    """The table with these vectors, made once as long as they are there; with degrees up to ``top``."""
    array = vectors.columns.T
    owner = array if array.base is None else array.base
    place = id(owner), array.__array_interface__["data"][0], array.shape, array.strides
    blocks = array.reshape(len(array), count, -1)
    with _asking:
        known = _tables.get(place)
        if known is None or known[0]() is not owner:
            known = _tables[place] = weakref.ref(owner, lambda _: _tables.pop(place, None)), Table(blocks)
        if top >= len(known[1].degrees):
            known[1].up_to(top, blocks)
        return known[1]


def terms(a: Vectors, b: Vectors, rows: int, columns: int, s: Any) -> Array:
    """``planes.terms`` for all lanes."""
    first, second = _table(a, rows).tails, _table(b, columns).tails
    least = np.minimum(np.broadcast_to(s, a.which.shape), 1.0)
    found, top = np.full(len(least), -1), first.shape[1]
    step = max(1, NUMBERS // top)
    for k in range(0, len(found), step):
        part = slice(k, k + step)
        size = first[a.which[part]] * second[b.which[part]] * least[part, None] ** np.arange(1.0, top + 1)
        enough = size <= 8e-12
        found[part] = np.where(enough.any(1), enough.argmax(1), -1)
    return found


def together(
    a: Vectors, b: Vectors, top: Array, r11: Any, r12: Any, r21: Any, r22: Any, rows: int, columns: int
) -> Array:  # fmt: skip
    """``planes.together`` for all lanes, [f, g, lane]."""
    most = int(top.max(initial=-1))
    sides = [_table(x, count, most).degrees for x, count in ((a, rows), (b, columns))]
    r = [np.broadcast_to(x, top.shape) for x in (r11, r12, r21, r22)]
    return sums(sides[0], a.which, sides[1], b.which, top, r, (rows, columns))


def one_pair(
    a: Array, b: Array, top: int, r11: float, r12: float, r21: float, r22: float, rows: int, columns: int
) -> Array:  # fmt: skip
    """``planes.together``."""
    where, r = np.zeros(1, int), [np.array([x]) for x in (r11, r12, r21, r22)]
    sides = [[_round(x.reshape(1, n, -1), k, half) for k, half in enumerate(_halves(top))] for x, n in ((a, rows), (b, columns))]
    return sums(sides[0], where, sides[1], where, np.array([top]), r, (rows, columns))[..., 0]


def sums(
    first: list[Array], i: Array, second: list[Array], j: Array, top: Array, r: list[Array], shape: tuple[int, int]
) -> Array:  # fmt: skip
    """Σ_k c_kᵀ Γ_k(R) d_k of lane z, c of sample i[z] and d of j[z], up to degree top[z]: [f, g, lane].

    Coefficients are in the round basis, by degree. Lanes are sorted: those which go on beyond a degree are the first.
    """
    found = np.full((*shape, len(i)), math.nan)
    order = np.argsort(-top, kind="stable")[: np.count_nonzero(top >= 0)]
    while len(order):
        step = max(1, NUMBERS // (int(top[order[0]]) + 1))
        z, order = order[:step], order[step:]
        found[..., z] = _summed(first, i[z], second, j[z], top[z], [x[z] for x in r])
    return found


def _summed(first: list[Array], i: Array, second: list[Array], j: Array, top: Array, r: list[Array]) -> Array:
    """The same for some lanes with falling ``top``, of coefficients in the round basis."""
    one, other, s1, s2 = _turned(*r)
    most = int(top[0])
    turns = [np.exp(1j * np.multiply.outer(np.arange(most + 1), angle)) for angle in (-one, other)]
    ratio = np.divide(s2, s1, out=np.zeros_like(s1), where=s1 > 0.0)
    rows = 1 + _matter(float(np.abs(ratio).max()), most)
    ratio = ratio ** np.arange(float(rows))[:, None]
    going = np.searchsorted(-top, -np.arange(most + 1), side="right")  # lanes that have degree k
    total, power = np.zeros((first[0].shape[0], second[0].shape[0], len(i))), np.ones_like(s1)
    for k, (half, n) in enumerate(zip(_halves(most), going, strict=True)):
        parts: tuple[list[Array], list[Array]] = [], []  # of even and of odd degrees in the second variable
        for tables, where, turn in ((first, i, turns[0]), (second, j, turns[1])):
            phases = tables[k].take(where[:n], axis=-1)
            phases *= turn[k::-2, :n]
            parts[0].append(half[:rows:2] @ np.ascontiguousarray(phases.real))
            parts[1].append(half[1:rows:2] @ np.ascontiguousarray(phases.imag))
        for odd, sides in enumerate(parts):
            total[..., :n] += power[:n] * np.einsum("fjz,gjz,jz->fgz", *sides, ratio[odd : k + 1 : 2, :n])
        power *= s1
    return total


def _matter(ratio: float, most: int) -> int:
    """The largest power of s₂/s₁ that is not lost in rounding; gates that share one matrix have s₂ = 0, or nearly."""
    return most if ratio >= 1.0 else min(most, int(math.log(1e-17) / math.log(max(ratio, 1e-17))))


def _turned(r11: Array, r12: Array, r21: Array, r22: Array) -> tuple[Array, Array, Array, Array]:
    """Angles φ and θ and singular values, of which the second has a sign: R = Rot(φ) diag(s₁, s₂) Rot(θ)."""
    e, f, g, h = 0.5 * (r11 + r22), 0.5 * (r11 - r22), 0.5 * (r21 + r12), 0.5 * (r21 - r12)
    even, odd = np.arctan2(h, e), np.arctan2(g, f)
    size, less = np.hypot(e, h), np.hypot(f, g)
    return 0.5 * (even + odd), 0.5 * (even - odd), size + less, size - less


def _round(blocks: Array, k: int, half: Array) -> Array:
    """Coefficients of degree k of [sample, f, number] in the round basis: [f, m = k, k−2, … ≥ 0, sample]; −m counts with m."""
    block = np.moveaxis(blocks[..., k * (k + 1) // 2 : (k + 1) * (k + 2) // 2], 0, -1)
    block = block * np.where(np.arange(k + 1) % 4 < 2, 1.0, -1.0)[:, None]  # powers of i
    twice = np.where(2 * np.arange(k // 2 + 1) == k, 1.0, 2.0)[:, None]
    return np.asarray(twice * (half[::2].T @ block[:, ::2] + 1j * (half[1::2].T @ block[:, 1::2])))


def _halves(top: int) -> Iterator[Array]:
    """The columns m = k, k−2, … ≥ 0 of Γ_k([[1, 1], [1, −1]]/√2), k = 0..top."""
    kept = _kept()
    for k in range(top + 1):
        if k < len(kept):
            now = kept[k]
        else:
            now = _next(now, k)
            with _asking:  # else two threads may keep one degree twice
                if k == len(kept) and k < KEPT:
                    kept.append(now)
        yield now[:, : k // 2 + 1]


@lru_cache(1)
def _kept() -> list[Array]:
    return [np.ones((1, 1))]


def _next(before: Array, k: int) -> Array:
    """Γ_k of Γ_{k−1}."""
    up = np.sqrt(np.arange(k + 1.0))
    down = up[::-1]
    wide = np.zeros((k + 2, k + 2))
    wide[1:-1, 1:-1] = before
    same = down[:, None] * wide[1:, 1:] + up[:, None] * wide[:-1, 1:]
    less = down[:, None] * wide[1:, :-1] - up[:, None] * wide[:-1, :-1]
    return np.asarray((down * same + up * less) * (math.sqrt(0.5) / k))


def values(name: str) -> str:
    """The function whose values a generated ``at_step`` takes; "" where another function goes by that name."""
    return name.replace("at_step_", "phi_") if name.startswith("at_step_") else ""


ALONE: dict[str, Callable[..., Any]] = {"tails": tails, "apart": apart, "together": one_pair}
"""What stands for functions of a generated text that are called for one sample, or one pair."""

ABREAST: dict[str, Callable[..., Any]] = {"terms": terms, "together": together}
"""The same for all lanes."""
