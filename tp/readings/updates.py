"""Finite-width training of any program, by any optimizer that has a scaling rule.

The run is replayed after every update; gradients come from the reverse pass over the program. A weight's multiplier M and
rate r act as in the spec: the parameter is w, the network uses W = M w, so that SGD moves W by -lr r M² ∂L/∂W and a
normalised optimizer by -lr r M Q(∂L/∂W).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


@dataclass
class Memory:
    """An optimizer's state: running means of the gradient and of its square, per weight."""

    optimizer: Optimizer
    step: int = 0
    first: dict[Key, Array] = field(default_factory=dict)
    second: dict[Key, Array] = field(default_factory=dict)

    def direction(self, key: Key, g: Array) -> Array:
        """Q: what the optimizer makes of the gradient ``g`` of one weight; ``step`` counts from 1."""
        name = self.optimizer.name
        if name == "sgd":
            return g
        if name in ("momentum", "nesterov"):
            self.first[key] = m = MOMENTUM * self.first.get(key, np.zeros_like(g)) + g
            return m if name == "momentum" else g + MOMENTUM * m
        if name == "sign":
            return np.sign(g)
        if name == "lion":
            m = self.first.get(key, np.zeros_like(g))
            self.first[key] = 0.99 * m + 0.01 * g
            return np.sign(BETA * m + (1 - BETA) * g)
        if self.optimizer.normalised == "spectral" and g.ndim == 2:
            return _orthogonal(g)
        if name == "adafactor" and g.ndim == 2:
            square = g**2
            rows, cols = square.mean(axis=1, keepdims=True), square.mean(axis=0, keepdims=True)
            return np.asarray(g / np.sqrt(rows * cols / (rows.mean() + TINY) + TINY))
        return self._adam(key, g, 0.0 if name == "rmsprop" else BETA)

    def _adam(self, key: Key, g: Array, beta: float) -> Array:
        self.first[key] = m = beta * self.first.get(key, np.zeros_like(g)) + (1 - beta) * g
        self.second[key] = v = BETA2 * self.second.get(key, np.zeros_like(g)) + (1 - BETA2) * g**2
        scale = np.sqrt(v / (1 - BETA2**self.step)) + TINY
        return np.asarray(m / (1 - beta**self.step) / scale)


def _orthogonal(g: Array) -> Array:
    """U Vᵀ of g = U S Vᵀ, over the singular directions that g has."""
    u, s, v = np.linalg.svd(g, full_matrices=False)
    kept = s > 1e-7 * s[0] if len(s) else s > 0
    return np.asarray(u[:, kept] @ v[kept])


def trained(run: Run, optimizer: Optimizer, targets: Mapping[Key, Array], lr: float, steps: int) -> Iterator[Run]:
    """``run`` and its successors after 1, 2, …, ``steps`` updates on ½(f - y)², all samples in a batch."""
    memory = Memory(optimizer)
    yield run
    for _ in range(steps):
        memory.step += 1
        cotangents = {k: (run[k] - y) / run.samples for k, y in targets.items()}
        run = replay(run, _updated(run, pullback(run, cotangents), memory, lr))
        yield run


def first_update(run: Run, optimizer: Optimizer, targets: Mapping[Key, Array], lr: float) -> dict[Key, Array]:
    """The weights after one update, those that it changes."""
    cotangents = {k: (run[k] - y) / run.samples for k, y in targets.items()}
    return _updated(run, pullback(run, cotangents), Memory(optimizer, 1), lr)


def _updated(run: Run, gradient: Gradient, memory: Memory, lr: float) -> dict[Key, Array]:
    changed = {}
    for key, drawn in run.weights.items():
        if drawn.weight.frozen or (key not in gradient.dense and key not in gradient.factors):
            continue
        g = batch_gradient(run, gradient, key)
        power = memory.optimizer.degree
        if not np.any(g):
            continue
        step = lr * drawn.rate * drawn.multiplier**power
        changed[key] = run[key] - step * memory.direction(key, g)
    return changed


def batch_gradient(run: Run, gradient: Gradient, key: Key) -> Array:
    """∂L/∂W, summed over samples."""
    if key in gradient.factors:
        return np.asarray(sum(left.T @ right for left, right in gradient.factors[key]))
    g: Any = gradient.dense[key]
    return np.asarray(g.sum(axis=0)) if np.shape(g)[0] == run.samples else np.asarray(g)[0]
