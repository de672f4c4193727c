"""Finite-width training of any program, by any optimizer that has a scaling rule.

The run is replayed after every update; gradients come from the reverse pass over the program. A weight's multiplier M and
rate r act as in the spec: the parameter is w, the network uses W = M w, so that SGD moves W by -lr r M² ∂L/∂W and a
normalised optimizer by -lr r M Q(∂L/∂W).

The gradient of a matrix is a sum of few outer products, one per sample and use, and is kept as that: an optimizer's memory
is the list of them, and what it makes of them is formed a few rows at a time and subtracted in place. So one
matrix of the size of the weight is all that training needs, and blocks stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.readings.gradient import Gradient, pullback
from tp.readings.indexing import Key
from tp.readings.scale.optimizers import Optimizer
from tp.readings.simulate import Run, replay

Array = NDArray[np.float64]
MOMENTUM, BETA, BETA2, TINY = 0.9, 0.9, 0.999, 1e-60
LION, BLOCK = 0.99, 2**17  # entries of a block of rows: one megabyte


@dataclass(frozen=True, slots=True)
class Outer:
    """The matrix ``leftᵀ right``, [m, n], from [r, m] and [r, n]."""

    left: Array
    right: Array

    @property
    def zero(self) -> bool:
        return not (self.left.any() and self.right.any())

    def rows(self, some: slice) -> Array:
        return np.asarray(self.left[:, some].T @ self.right)


@dataclass(frozen=True, slots=True)
class Plain:
    """A vector or a scalar; it has no rows to choose from."""

    array: Array

    @property
    def zero(self) -> bool:
        return not self.array.any()

    def rows(self, some: slice) -> Array:
        return self.array


Direction = Callable[[slice], Array]


@dataclass
class Memory:
    """An optimizer's memory: the gradients so far, per weight, each with the step (from 1) at which it came."""

    optimizer: Optimizer
    step: int = 0
    past: dict[Key, list[tuple[int, Outer | Plain]]] = field(default_factory=dict)

    def direction(self, key: Key, g: Outer | Plain) -> Direction | None:
        """Q: what the optimizer makes of ``g`` and of what came before, by rows; None where all of it is zero."""
        past = self.past.setdefault(key, [])
        if not past and g.zero:
            return None
        past.append((self.step, g))
        if isinstance(g, Outer) and self.optimizer.normalised == "spectral":
            return _orthogonal(g).rows
        if isinstance(g, Outer) and self.optimizer.name == "adafactor":
            return _factored(g)
        return lambda some: self._entries([(self.step - s, h.rows(some)) for s, h in past])

    def _entries(self, past: list[tuple[int, Array]]) -> Array:
        """Entry by entry, from the gradients and how many steps ago they came."""
        name, g = self.optimizer.name, past[-1][1]
        if name == "sgd":
            return g
        if name == "sign":
            return np.sign(g)
        if name in ("momentum", "nesterov"):
            mean = _sum((MOMENTUM**age, h) for age, h in past)
            return mean if name == "momentum" else g + MOMENTUM * mean
        if name == "lion":
            return np.sign(_sum(((1 - BETA) if age == 0 else BETA * (1 - LION) * LION ** (age - 1), h) for age, h in past))
        beta = 0.0 if name == "rmsprop" else BETA
        mean = _sum(((1 - beta) / (1 - beta**self.step) * beta**age, h) for age, h in past)
        square = _sum(((1 - BETA2) / (1 - BETA2**self.step) * BETA2**age, h * h) for age, h in past)
        np.sqrt(square, out=square)
        square += TINY
        mean /= square
        return mean


def _sum(terms: Any) -> Array:
    """Σ weight · array, in one array."""
    total: Any = None
    for weight, array in terms:
        if total is None:
            total = weight * array
        elif weight:
            total += weight * array
    return np.asarray(total)


def _orthogonal(g: Outer) -> Outer:
    """U Vᵀ of g = U S Vᵀ, over the singular directions that g has."""
    (q, a), (p, b) = (np.linalg.qr(side.T) for side in (g.left, g.right))
    u, s, v = np.linalg.svd(a @ b.T)
    kept = s > 1e-7 * s[0] if len(s) else s > 0
    rank = len(s)
    return Outer((q @ u[:, :rank][:, kept]).T, v[:rank][kept] @ p.T)


def _factored(g: Outer) -> Direction:
    """g over √(mean square of its row · that of its column / mean of all)."""
    rows = np.einsum("ra,rs,sa->a", g.left, g.right @ g.right.T, g.left, optimize=True) / g.right.shape[1]
    cols = np.einsum("rb,rs,sb->b", g.right, g.left @ g.left.T, g.right, optimize=True) / g.left.shape[1]
    rows, cols = np.maximum(rows, 0.0), np.maximum(cols, 0.0)
    overall = rows.mean() + TINY
    return lambda some: np.asarray(g.rows(some) / np.sqrt(rows[some, None] * cols / overall + TINY))


def trained(run: Run, optimizer: Optimizer, targets: Mapping[Key, Array], lr: float, steps: int) -> Iterator[Run]:
    """``run`` and its successors after 1, 2, …, ``steps`` updates on ½(f - y)², all samples in a batch.

    The weights are updated in place, those of ``run`` included; what was computed from them stays in each run.
    """
    memory = Memory(optimizer)
    yield run
    for _ in range(steps):
        memory.step += 1
        cotangents = {k: (run[k] - y) / run.samples for k, y in targets.items()}
        moved = _update(run, pullback(run, cotangents), memory, lr)
        run = replay(run, {k: run.values[k] for k in moved})
        yield run


def _update(run: Run, gradient: Gradient, memory: Memory, lr: float) -> list[Key]:
    """The weights that it moved."""
    moved = []
    for key, drawn in run.weights.items():
        if drawn.weight.frozen or (key not in gradient.dense and key not in gradient.factors):
            continue
        direction = memory.direction(key, batch_gradient(run, gradient, key))
        if direction is None:
            continue
        step = lr * drawn.rate * abs(drawn.multiplier) ** memory.optimizer.degree  # normalised: M Q(M g) = |M| Q(g)
        array = run.values[key]
        block = max(1, BLOCK // array.shape[-1]) if key in gradient.factors else len(array)
        for start in range(0, len(array), block):
            some = slice(start, start + block)
            array[some] -= step * direction(some)
        moved.append(key)
    return moved


def batch_gradient(run: Run, gradient: Gradient, key: Key) -> Outer | Plain:
    """∂L/∂W, summed over samples."""
    if key in gradient.factors:
        lefts, rights = zip(*gradient.factors[key], strict=True)
        return Outer(np.concatenate(lefts), np.concatenate(rights))
    g: Any = gradient.dense[key]
    return Plain(np.asarray(g.sum(axis=0) if np.shape(g)[0] == run.samples else g[0]))
