"""A plan carried out on scrambled Sobol points: every vector is an array [samples, nodes], of all samples on the same nodes.

Initial vectors are coordinates of the points; so are the weights that an input meets, of which they make Σ_j c_j ξ_j. What a
matrix makes of its arguments x₁, x₂, … is Gaussian with the covariance σ² E[x_k x_l]: a random orthogonal matrix between the
nodes does that, for it keeps their means of products. Nothing of this depends on what samples are drawn together: kernels are
Gram matrices of arrays over the nodes, and all calls give blocks of one.

Source: Yang 2020, *Tensor Programs III*, Definition E.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian.scrambled import normals
from tp.limit.equations import Entry, I, J, Value
from tp.limit.nodes.mix import TIMES, mixed, signs
from tp.limit.nodes.named import Second
from tp.limit.nodes.plan import Formula, Function, Initial, Input, Plan, Product, Source, Step
from tp.program.ir import Ref
from tp.readings.indexing import Key
from tp.regression import chunks

Array = NDArray[np.float64]
BLOCK = 1 << 15
"""Numbers of an array that are worked on together, about: some such arrays stay in a cache."""
TOGETHER = 1 << 22
"""Numbers of second moments that are held together, about."""
FEW = 64
"""Weights that an input meets, up to which they are coordinates of the points; more of them act as a matrix does."""


class Nodes:
    """One scrambling for a plan: what all samples share."""

    def __init__(self, plan: Plan, log2: int, rng: np.random.Generator) -> None:
        self.plan, self.count = plan, 2**log2
        xi = iter(normals(_coordinates(plan), log2, rng))
        self.initial: dict[sp.Basic, Array] = {}
        self.letters: dict[Source, Array] = {}
        self.signs: dict[Source, Array] = {}
        for step in plan.steps:
            match step:
                case Initial():
                    own = next(xi)
                    self.initial[step.out] = step.std * (np.sign(own) if step.out in plan.signs else own)
                case Input() if step.source not in self.letters and step.source not in self.signs:
                    columns = len(plan.columns[step.source])
                    if columns <= FEW:
                        self.letters[step.source] = np.array([next(xi) for _ in range(columns)])
                    else:
                        self.signs[step.source] = signs(-(-columns // self.count), self.count, rng)
                case Product() if step.source not in self.signs:
                    self.signs[step.source] = signs(1, self.count, rng)


@dataclass
class Draw:
    """What a plan makes of some samples at the nodes of a scrambling. ``data``: every coordinate of the inputs as [samples]."""

    nodes: Nodes
    data: Mapping[Key, Array]
    samples: int
    tick: Callable[[], object] = lambda: None
    arrays: dict[sp.Basic, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plan = self.nodes.plan
        for k, step in enumerate(self.plan.steps):
            with np.errstate(all="ignore"):
                value = self.value(step)
            if not np.isfinite(value).all():
                reason = f"{told(step)} is not finite"
                raise LimitError(Message(step.span, reason, "scale the samples or the weights down", "not finite"))
            self.arrays[step.out] = value
            self.tick()
            for name in step.reads:
                if self.plan.last[name] == k:
                    self.arrays.pop(name, None)
        self.sides = [self.at(side) for side in self.plan.sides]

    # ------------------------------------------------------------ steps

    def value(self, step: Step) -> Array:
        """[samples or 1, nodes or 1]."""
        match step:
            case Initial():
                return self.nodes.initial[step.out][None]
            case Product():
                x = np.broadcast_to(self.at(step.x), (self.count(step), self.nodes.count))
                scale = (step.variance / self.nodes.count) ** 0.5
                return mixed(x * scale, self.nodes.signs[step.source])
            case Input():
                terms = np.zeros((self.count(step), len(self.plan.columns[step.source])))
                for k, place in enumerate(self.plan.columns[step.source]):
                    if place in step.terms:
                        terms[:, k] = self.at(step.terms[place])[:, 0]
                letters = self.nodes.letters.get(step.source)
                return mixed(terms, self.nodes.signs[step.source]) if letters is None else terms @ letters
            case Function():
                found = self.at(step.formula)
                return found if step.factor is None else self.at(step.factor) * found.mean(axis=1, keepdims=True)
        raise AssertionError(step)

    def count(self, step: Step) -> int:
        return self.samples if step.sampled else 1

    def at(self, formula: Formula) -> Array:
        """[samples or 1, nodes or 1], by blocks of nodes."""
        names = {name: self.named(name) for name in formula.reads}
        wide = [name for name, array in names.items() if array.shape[1] > 1]
        if not wide:
            return np.asarray(np.atleast_2d(formula.code(names)), dtype=np.float64)
        count = max(map(len, names.values()))
        found = np.empty((count, self.nodes.count))
        length = min(self.nodes.count, 2 ** max(5, (BLOCK // count).bit_length() - 1))
        for start in range(0, self.nodes.count, length):
            block = slice(start, start + length)
            found[:, block] = formula.code({**names, **{name: names[name][:, block] for name in wide}})
        return found

    def named(self, name: Any) -> Array:
        """A vector or scalar that was made, or a coordinate, [samples or 1, nodes or 1]."""
        own = name.xreplace({J: I})
        if isinstance(own, Value) and own.kind_name == "data":
            return self.coordinate(own.a)[:, None]
        return self.arrays[own]

    def coordinate(self, ref: Ref) -> Array:
        """[samples], by what lies beyond the boundary of an input."""
        member = self.plan.members.find(ref)
        return np.zeros(self.samples) if member is None else self.data[member.name, *map(int, member.index)]

    # ------------------------------------------------------------ what second moments are of

    def side(self, place: int) -> Array:
        """[samples, nodes]."""
        return np.broadcast_to(self.sides[place], (self.samples, self.nodes.count))

    def coordinates(self, ref: Ref) -> Array:
        """All of an input at an index, [samples, coordinates]."""
        last = sorted({key[-1] for key in self.data if key[0] == ref.name})
        return np.stack([self.coordinate(Ref(ref.name, *ref.index, c)) for c in last], axis=1)


def pairs(one: Draw, two: Draw) -> Array:
    """Every kernel of a plan between samples of one draw and of another, [formulas, samples, samples]; with itself symmetric."""
    found = np.empty((len(one.plan.formulas), one.samples, two.samples))
    for f, full in zip(one.plan.formulas, found, strict=True):
        for rows in chunks(one.samples, TOGETHER // (two.samples * max(1, len(f.reads)))):
            full[rows] = f.code({name: _between(name, one, two, rows) for name in f.reads})
        if two is one:
            below = np.tril_indices(one.samples, -1)
            full[below] = full.T[below]
    return _finite(found)


def _between(name: Any, one: Draw, two: Draw, rows: slice) -> Array:
    """What a formula reads: [rows, samples], or 1 where it is the same for all."""
    if isinstance(name, Second):
        a, b = one.plan.moments[name]
        return one.side(a)[rows] @ two.side(b).T / one.nodes.count
    if isinstance(name, Entry):
        return one.coordinates(name.a)[rows] @ two.coordinates(name.b).T
    if name.xreplace({J: I}) != name:
        return two.named(name).T
    own = one.named(name)
    return own[rows] if len(own) > 1 else own


def alone(one: Draw) -> Array:
    """Each sample with itself, [formulas, samples]."""

    def read(name: Any) -> Array:
        if isinstance(name, Second):
            return np.einsum("ij,ij->i", *(one.side(place) for place in one.plan.moments[name])) / one.nodes.count
        if isinstance(name, Entry):
            return np.einsum("ij,ij->i", one.coordinates(name.a), one.coordinates(name.b))
        return one.named(name)[:, 0]

    formulas = one.plan.formulas
    return _finite(np.array([np.broadcast_to(f.code({n: read(n) for n in f.reads}), one.samples) for f in formulas]))


def _finite(found: Array) -> Array:
    if not np.isfinite(found).all():
        raise LimitError(Message(NOWHERE, "the kernel is not finite", "scale the samples or the weights down", "not finite"))
    return found


def told(step: Step) -> str:
    """What a step makes, in names of the spec."""
    return f"`{step.source[0]}` times its input" if isinstance(step, Input) else f"`{step.out.a}`"


# ---------------------------------------------------------------- memory


def _coordinates(plan: Plan) -> int:
    """Independent standard normals that initial vectors and inputs are made of."""
    inputs = (len(columns) for columns in plan.columns.values() if len(columns) <= FEW)
    return sum(isinstance(step, Initial) for step in plan.steps) + sum(inputs)


def shared(plan: Plan, log2: int) -> int:
    """Bytes of what all samples share."""
    matrices = {step.source for step in plan.steps if isinstance(step, Product)}
    inputs = (-(-len(columns) // 2**log2) for columns in plan.columns.values() if len(columns) > FEW)
    return 8 * 2**log2 * (2 * _coordinates(plan) + TIMES * (len(matrices) + sum(inputs)))


def each(plan: Plan, log2: int) -> int:
    """Bytes that a sample takes at most: arrays that are still to be read, what formulas are of, and a few to work with."""
    live, most = dict[sp.Basic, int](), 0
    for k, step in enumerate(plan.steps):
        live[step.out] = 1
        most = max(most, sum(live.values()) + max(4, len(step.reads)))
        for name in step.reads:
            if plan.last[name] == k:
                live.pop(name, None)
    return 8 * 2**log2 * (max(most, sum(live.values()) + 4) + len(plan.sides))
