"""Linear programs exactly: a Z is a combination of independent Gaussian letters, an array of its coefficients.

Where every vector is a linear combination of others, with scalars as coefficients, and every average is of a product of two,
E[Z Z′] is the inner product of coefficients: the infinite-width limit *is* the program run in the finite space of its letters.
These are the innovations of :mod:`tp.readings.evaluate`, so that one more set of nodes is all there is to it. Linear depth,
convolution, recurrence, tied and transposed weights need nothing of their own.

After T steps on B samples there are K = O(T B) letters for every matrix and direction. Time O(K²) for a step and sample and
every matrix, memory 8 K bytes for every vector member.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 6 and appendix on deep linear networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.program.ir import MatMul, Moment, Nonlin, OuterNonlin, Program, Ref, Simple
from tp.readings.indexing import Key
from tp.readings.nodes import Sobol
from tp.transform.backprop import flat

Array = NDArray[np.float64]


@dataclass
class Letters(Sobol):
    """One column for every letter, those of different groups side by side; the inner product is the expectation."""

    log2: int = 0
    rng: np.random.Generator = field(default_factory=np.random.default_rng)  # never drawn from

    @property
    def columns(self) -> int:
        return max(1, max(self.layout.sizes.values(), default=1)) if self.layout is not None else 1

    @property
    def weight(self) -> float:
        return 1.0

    def _points(self, block: Array, keys: Sequence[Key]) -> None:
        block[:] = 0
        block[[self.rows[key][1] for key in keys], range(len(keys))] = 1

    def fresh(self, key: Key, size: float) -> Array:
        return self[key]

    def mean(self, group: Key, values: Array) -> float:
        return float(np.sum(values))


def is_linear(program: Program) -> bool:
    """Whether every vector of a leading-order program is linear and homogeneous in vectors, and every average bilinear."""
    vectors = _vectors(program)
    if any(w.mean != 0 for w in program.weights if w.ref.name in vectors):
        return False
    for ins, _ in flat(program.body):
        if isinstance(ins, MatMul):
            continue
        if isinstance(ins, OuterNonlin):
            return False
        degree = degrees(ins.expr, vectors)
        allowed = {2, 0} if isinstance(ins, Moment) else {1} if _is_vector(ins) else {0}
        if degree is None or not degree <= allowed or len(degree) > 1:
            return False
    return True


def is_polynomial(program: Program) -> bool:
    """Whether every vector and every average is a polynomial in vectors, and every scalar in scalars."""
    names = _vectors(program) | {ins.out.name for ins, _ in flat(program.body)}
    return all(
        isinstance(ins, MatMul) or (not isinstance(ins, OuterNonlin) and degrees(ins.expr, names) is not None)
        for ins, _ in flat(program.body)
    )


def _vectors(program: Program) -> set[str]:
    found = {w.ref.name for w in program.weights if w.rows is not None and w.cols is None}
    return found | {ins.out.name for ins, _ in flat(program.body) if isinstance(ins, MatMul) or _is_vector(ins)}


def _is_vector(ins: Simple) -> bool:
    return isinstance(ins, Nonlin) and ins.space is not None


def degrees(expr: sp.Basic, vectors: Iterable[str] | Mapping[str, int]) -> set[int] | None:
    """The degrees of the terms of a polynomial in vectors; None for what is no polynomial. Zero has none."""
    names = vectors if isinstance(vectors, Mapping) else dict.fromkeys(vectors, 1)
    if expr == 0:
        return set()
    if isinstance(expr, Ref):
        return {names.get(expr.name, 0)}
    if not any(r.name in names for r in expr.atoms(Ref)):
        return {0}
    parts = [degrees(a, names) for a in (expr.args[:1] if isinstance(expr, (sp.Sum, sp.Pow)) else expr.args)]
    known = [p for p in parts if p is not None]
    if len(known) < len(parts):
        return None
    match expr:
        case sp.Add():
            return set().union(*known)
        case sp.Mul():
            total = {0}
            for part in known:
                total = {a + b for a in total for b in part}
            return total
        case sp.Pow(exp=power) if power.is_Integer and power > 0:
            total = {0}
            for _ in range(int(power)):
                total = {a + b for a in total for b in known[0]}
            return total
        case sp.Sum():
            return known[0]
        case _:
            return None
