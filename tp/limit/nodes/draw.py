"""A plan carried out on scrambled Sobol points: every vector is an array [samples, nodes], of all samples on the same nodes.

Initial vectors are coordinates of the points; so are the weights that an input meets, of which they make Σ_j c_j ξ_j. What a
matrix makes of its arguments x₁, x₂, … is Gaussian with the covariance σ² E[x_k x_l]: a random orthogonal matrix between the
nodes does that, for it keeps their means of products. Nothing of this depends on what samples are drawn together: kernels are
Gram matrices of arrays over the nodes, and all calls give blocks of one.

Nodes for some samples alone are better ones: what a matrix makes of their arguments is made of further coordinates of the points,
the directions that vary most first. With few samples errors of NNGP kernels then fall like nodes^(−3/4), not nodes^(−1/2).

Source: Yang 2020, *Tensor Programs III*, Definition E.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian.scrambled import normals
from tp.limit.equations import Entry, I, J, Value
from tp.limit.nodes.mix import TIMES, Isometry, signs
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
"""Directions of a source that are coordinates of the points, at most. An input of no more weights has one for each."""


class Nodes:
    """One scrambling for a plan: what samples share. ``samples``: how many it is for, drawn jointly; 0 for any, one by one."""

    def __init__(self, plan: Plan, log2: int, rng: np.random.Generator, samples: int = 0) -> None:
        self.plan, self.count = plan, 2**log2
        self.initial: dict[sp.Basic, Array] = {}
        self.maps: dict[Source, Isometry] = {}
        points, used = normals(_coordinates(plan, samples), log2, rng), 0

        def fresh(count: int) -> Array:
            nonlocal used
            used += count
            return points[used - count : used]

        for step in plan.steps:
            match step:
                case Initial():
                    (own,) = fresh(1)
                    self.initial[step.out] = step.std * (np.sign(own) if step.out in plan.signs else own)
                case Input() | Product() if step.source not in self.maps:
                    room = _directions(plan, samples)[step.source]
                    known = np.eye(0 if samples else room, len(plan.columns.get(step.source, range(self.count))))
                    turns = signs(_blocks(plan, step.source, self.count), self.count, rng)
                    self.maps[step.source] = Isometry(known, fresh(len(known)), turns, room - len(known), fresh)


@dataclass
class Draw:
    """What a plan makes of some samples at the nodes of a scrambling. ``data``: every coordinate of the inputs as [samples]."""

    nodes: Nodes
    data: Mapping[Key, Array]
    samples: int
    tick: Callable[[], object] = lambda: None
    arrays: dict[sp.Basic, Array] = field(default_factory=dict)
    inputs: dict[Ref, Array] = field(default_factory=dict)

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
                return self.nodes.maps[step.source](x * (step.variance / self.nodes.count) ** 0.5)
            case Input():
                terms = np.zeros((self.count(step), len(self.plan.columns[step.source])))
                for k, place in enumerate(self.plan.columns[step.source]):
                    if place in step.terms:
                        terms[:, k] = self.at(step.terms[place])[:, 0]
                return self.nodes.maps[step.source](terms)
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
        if wide == [formula.expr]:
            return names[wide[0]]
        count = max(map(len, names.values()))
        found = np.empty((count, self.nodes.count))
        length = min(self.nodes.count, 2 ** max(5, (BLOCK // count).bit_length() - 1))
        for start in range(0, self.nodes.count, length):
            block = slice(start, start + length)
            found[:, block] = formula.code({**names, **{name: names[name][:, block] for name in wide}})
        return found

    def named(self, name: Any) -> Array:
        """A vector or scalar that was made, or a coordinate, [samples or 1, nodes or 1]."""
        own = at_i(name)
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
        if ref not in self.inputs:
            last = sorted({key[-1] for key in self.data if key[0] == ref.name})
            self.inputs[ref] = np.stack([self.coordinate(Ref(ref.name, *ref.index, c)) for c in last], axis=1)
        return self.inputs[ref]


def pairs(one: Draw, two: Draw) -> Array:
    """Every kernel of a plan between samples of one draw and of another, [formulas, samples, samples]; with itself symmetric."""
    found = np.empty((len(one.plan.formulas), one.samples, two.samples))
    for f, full in zip(one.plan.formulas, found, strict=True):
        length = max(1, math.isqrt(TOGETHER // max(1, len(f.reads))))
        for rows in chunks(one.samples, length):
            for columns in chunks(two.samples, length):
                if two is one and columns.start < rows.start:
                    full[rows, columns] = full[columns, rows].T
                else:
                    full[rows, columns] = f.code(_between(f, one, two, rows, columns))
        if two is one:
            below = np.tril_indices(one.samples, -1)
            full[below] = full.T[below]
    return _finite(found)


def _between(f: Formula, one: Draw, two: Draw, rows: slice, columns: slice) -> dict[sp.Basic, Array]:
    """What a formula reads, [rows, columns], or 1 where it is the same for all. E[b a] of the same samples is E[a b]ᵀ."""
    found: dict[sp.Basic, Array] = {}
    known: dict[tuple[int, int], Array] = {}
    for name in f.reads:
        if isinstance(name, Second):
            a, b = one.plan.moments[name]
            if two is one and rows == columns and (b, a) in known:
                found[name] = known[b, a].T
            else:
                found[name] = known[a, b] = one.side(a)[rows] @ two.side(b)[columns].T / one.nodes.count
        elif isinstance(name, Entry):
            found[name] = one.coordinates(name.a)[rows] @ two.coordinates(name.b)[columns].T
        elif at_i(name) != name:
            own = two.named(name)
            found[name] = (own[columns] if len(own) > 1 else own).T
        else:
            own = one.named(name)
            found[name] = own[rows] if len(own) > 1 else own
    return found


def alone(one: Draw) -> Array:
    """Each sample with itself, [formulas, samples]."""
    known: dict[tuple[int, int], Array] = {}

    def second(a: int, b: int) -> Array:
        key = min(a, b), max(a, b)
        if key not in known:
            known[key] = np.einsum("ij,ij->i", one.side(a), one.side(b)) / one.nodes.count
        return known[key]

    def read(name: Any) -> Array:
        if isinstance(name, Second):
            return second(*one.plan.moments[name])
        if isinstance(name, Entry):
            return np.einsum("ij,ij->i", one.coordinates(name.a), one.coordinates(name.b))
        return one.named(name)[:, 0]

    formulas = one.plan.formulas
    return _finite(np.array([np.broadcast_to(f.code({n: read(n) for n in f.reads}), one.samples) for f in formulas]))


@lru_cache(4096)
def at_i(name: Any) -> Any:
    """What a formula reads of sample j, as it is called for sample i."""
    return name.xreplace({J: I})


def _finite(found: Array) -> Array:
    if not np.isfinite(found).all():
        raise LimitError(Message(NOWHERE, "the kernel is not finite", "scale the samples or the weights down", "not finite"))
    return found


def told(step: Step) -> str:
    """What a step makes, in names of the spec."""
    return f"`{step.source[0]}` times its input" if isinstance(step, Input) else f"`{step.out.a}`"


# ---------------------------------------------------------------- memory


def _directions(plan: Plan, samples: int) -> dict[Source, int]:
    """How many directions of its arguments a source gives coordinates of the points; for any samples those of a small input."""
    if not samples:
        few = {source: len(columns) for source, columns in plan.columns.items() if len(columns) <= FEW}
        return {source: few.get(source, 0) for source in _sources(plan)}
    found = dict.fromkeys(_sources(plan), 0)
    for step in plan.steps:
        if isinstance(step, (Product, Input)):
            found[step.source] += samples if step.sampled else 1
    return {source: min(count, FEW, len(plan.columns.get(source, range(FEW)))) for source, count in found.items()}


def _sources(plan: Plan) -> list[Source]:
    return list(dict.fromkeys(step.source for step in plan.steps if isinstance(step, (Product, Input))))


def _blocks(plan: Plan, source: Source, nodes: int) -> int:
    """Orthogonal matrices side by side that take what is left of arguments."""
    columns = len(plan.columns.get(source, range(nodes)))
    return 0 if source in plan.columns and columns <= FEW else -(-columns // nodes)


def _coordinates(plan: Plan, samples: int) -> int:
    """Independent standard normals that initial vectors and directions of arguments are made of."""
    return sum(isinstance(step, Initial) for step in plan.steps) + sum(_directions(plan, samples).values())


def shared(plan: Plan, log2: int, samples: int = 0) -> int:
    """Bytes of what samples share; of so many that are drawn jointly."""
    turns = TIMES * sum(_blocks(plan, source, 2**log2) for source in _sources(plan))
    joint = sum(count for source, count in _directions(plan, samples).items() if source not in plan.columns)
    return 8 * 2**log2 * (2 * _coordinates(plan, samples) + 2 * joint + turns)


def each(plan: Plan, log2: int) -> int:
    """Bytes that a sample takes at most: arrays that are still to be read, what formulas are of, and a few to work with."""
    live, most = dict[sp.Basic, int](), 0
    for k, step in enumerate(plan.steps):
        live[step.out] = 1
        most = max(most, sum(live.values()) + max(4, len(step.reads)))
        for name in step.reads:
            if plan.last[name] == k:
                live.pop(name, None)
    others = sum(side.reads != [side.expr] for side in plan.sides)  # arrays that are a step's are there
    return 8 * 2**log2 * (max(most, sum(live.values()) + 4) + others)
