"""Arrays over the axes sample, earlier step, other sample (and letter): products, sums and averages along them at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.program.ir import Ref
from tp.readings.indexing import Key
from tp.transform.train import EARLIER, OTHER, SAMPLE, STEP

Array = NDArray[np.float64]
AXES = {SAMPLE.name: 0, EARLIER.name: 1, OTHER.name: 2}


@dataclass(frozen=True)
class Axis:
    """An index that stands for all its values 0…length − 1."""

    number: int
    length: int


@dataclass(frozen=True)
class Value:
    """An array over (sample, earlier, other), and over letters where it is a vector."""

    array: Array
    vector: bool

    def __add__(self, other: Value) -> Value:
        if self.vector != other.vector:  # only 0 is both
            return self if self.vector else other
        return Value(self.array + other.array, self.vector)


@dataclass
class Family:
    """Arrays of a family by their small indices; ``slots`` says which index is the step ``t`` or a sample ``i``."""

    slots: str
    vector: bool
    arrays: dict[Key, Array] = field(default_factory=dict)


def slots_of(ref: Ref) -> str:
    """Which indices are steps and samples."""
    return "".join("t" if e in (STEP, EARLIER) else "i" if e in (SAMPLE, OTHER) else "-" for e in ref.index)


def lengths(out: Ref, at: Mapping[str, Any]) -> list[int]:
    """The lengths of the axes of a left side."""
    found = [1, 1, 1]
    for e in out.index:
        if isinstance(e, sp.Symbol) and isinstance(at.get(e.name), Axis):
            found[at[e.name].number] = at[e.name].length
    return found


def matched(pattern: tuple[sp.Expr, ...], index: list[Any]) -> dict[str, Any] | None:
    """The indices of a clause's left side by name, where it is about these."""
    bound = {}
    for e, k in zip(pattern, index, strict=True):
        if isinstance(e, sp.Symbol):
            bound[e.name] = k
        elif isinstance(k, Axis) or int(e) != k:
            return None
    return bound


def inner(vectors: list[Array]) -> Array:
    """E[a b] along all axes of both; 1 for no vectors."""
    if not vectors:
        return np.ones((1, 1, 1))
    a, b = vectors
    if all(m == 1 or n == 1 for m, n in zip(a.shape[:3], b.shape[:3], strict=True)):
        table = a.reshape(-1, a.shape[3]) @ b.reshape(-1, b.shape[3]).T
        shape = [d for pair in zip(a.shape[:3], b.shape[:3], strict=True) for d in pair]
        table = table.reshape([*a.shape[:3], *b.shape[:3]]).transpose(0, 3, 1, 4, 2, 5).reshape(shape)
        return table.reshape([m * n for m, n in zip(a.shape[:3], b.shape[:3], strict=True)])
    return np.asarray(np.einsum("isok,isok->iso", *np.broadcast_arrays(a, b)))


def contracted(scalars: Array, vector: Array, axes: tuple[int, ...]) -> Array:
    """Σ over axes of scalars · vector."""
    if vector.shape[0] == 1 and 0 not in axes and set(axes) >= {k for k in (1, 2) if max(scalars.shape[k], vector.shape[k]) > 1}:
        past = vector.shape[1:3]
        weights = np.broadcast_to(scalars, (scalars.shape[0], *past)) if scalars.shape[1:] != past else scalars
        return np.asarray(weights.reshape(len(weights), -1) @ vector.reshape(-1, vector.shape[3]))[:, None, None, :]
    return np.asarray((scalars[..., None] * vector).sum(axis=axes, keepdims=True))
