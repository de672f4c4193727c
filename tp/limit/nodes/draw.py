"""A plan carried out on scrambled Sobol points: every vector is an array [samples, nodes], of all samples on the same nodes.

What one matrix makes of its arguments x₁, x₂, … is Gaussian with the covariance σ² E[x_k x_l], means over the nodes: each call is
a combination of earlier ones and of an independent rest, of which the directions that vary most come first and get the first,
best coordinates of the points. A kernel is then a Gram matrix of arrays over the nodes, so that it is positive semidefinite.

Sources: Yang 2020, *Tensor Programs III*, Definition E.3; Owen 1997, *Scrambled net variance for integrals of smooth functions*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message
from tp.limit.equations import Entry, I, J, Value
from tp.limit.nodes.named import Second
from tp.limit.nodes.plan import Formula, Function, Initial, Input, Plan, Product, Source, Step
from tp.program.ir import Ref
from tp.readings.indexing import Key

Array = NDArray[np.float64]
INDEPENDENT = 1e-11
"""Part of a variance, relative to it, from which on a direction is one of its own."""
COORDINATES = 21201
"""Coordinates of Sobol points at most (Joe & Kuo 2008); others are random."""


@dataclass
class Calls:
    """The calls of a source so far: arguments, coefficients of what is independent in each, and these."""

    arguments: list[Array] = field(default_factory=list)
    rows: list[list[Array]] = field(default_factory=list)
    rests: list[tuple[Array, Array, Array]] = field(default_factory=list)  # scale of samples, directions, roots
    innovations: list[Array] = field(default_factory=list)


@dataclass
class Draw:
    """One scrambling. ``data`` has every coordinate of the inputs as [samples]."""

    plan: Plan
    data: Mapping[Key, Array]
    samples: int
    log2: int
    rng: np.random.Generator
    arrays: dict[sp.Basic, Array] = field(default_factory=dict)
    calls: dict[Source, Calls] = field(default_factory=dict)
    used: int = 0

    @property
    def nodes(self) -> int:
        return 2**self.log2

    def kernels(self) -> list[Array]:
        """[samples, samples] for every formula."""
        self.points = points(rows(self.plan, self.samples), self.log2, self.rng)
        for k, step in enumerate(self.plan.steps):
            with np.errstate(all="ignore"):
                value = self.value(step)
            if not np.isfinite(value).all():
                reason = f"{told(step)} is not finite"
                raise LimitError(Message(step.span, reason, "scale the samples or the weights down", "not finite"))
            self.arrays[step.out] = value
            for name in step.reads:
                if self.plan.last[name] == k:
                    self.arrays.pop(name, None)
        found = [self.formula(f) for f in self.plan.formulas]
        if not np.isfinite(found).all():
            raise LimitError(Message(NOWHERE, "the kernel is not finite", "scale the samples or the weights down", "not finite"))
        return found

    # ------------------------------------------------------------ steps

    def value(self, step: Step) -> Array:
        """[samples or 1, nodes or 1]."""
        match step:
            case Initial():
                xi = self.fresh(1)
                return step.std * (np.sign(xi) if step.out in self.plan.signs else xi)
            case Product():
                x = np.broadcast_to(self.at(step.x), (self.count(step), self.nodes))
                return self.gaussian(step.source, x * (step.variance / self.nodes) ** 0.5)
            case Input():
                terms = np.zeros((self.count(step), len(self.plan.columns[step.source])))
                for k, place in enumerate(self.plan.columns[step.source]):
                    if place in step.terms:
                        terms[:, k] = self.at(step.terms[place])[:, 0]
                return self.gaussian(step.source, terms)
            case Function():
                found = self.at(step.formula)
                return found if step.factor is None else self.at(step.factor) * found.mean(axis=1, keepdims=True)
        raise AssertionError(step)

    def count(self, step: Step) -> int:
        return self.samples if step.sampled else 1

    def at(self, formula: Formula) -> Array:
        names = {name: self.named(name) for name in formula.reads}
        return np.asarray(np.atleast_2d(formula.code(names)), dtype=np.float64)

    def named(self, name: Any) -> Array:
        """A vector or scalar that was made, or a coordinate: at sample i [samples, 1], at j [1, samples]."""
        own = name.xreplace({J: I})
        found = self.coordinate(own.a)[:, None] if isinstance(own, Value) and own.kind_name == "data" else self.arrays[own]
        return found if own == name else found.T

    def coordinate(self, ref: Ref) -> Array:
        """[samples], by what lies beyond the boundary of an input."""
        member = self.plan.members.find(ref)
        return np.zeros(self.samples) if member is None else self.data[member.name, *map(int, member.index)]

    def fresh(self, count: int) -> Array:
        """Independent standard normals that nothing has read."""
        found = self.points[self.used : self.used + count]
        self.used += count
        if len(found) == count:
            return found
        return np.concatenate([found, self.rng.standard_normal((count - len(found), self.nodes))])

    def gaussian(self, source: Source, a: Array) -> Array:
        """The call with argument ``a``, [samples, anything]: covariance a aᵀ, and with earlier ones a bᵀ."""
        calls = self.calls.setdefault(source, Calls())
        row: list[Array] = []
        for b, (scale, directions, roots) in enumerate(calls.rests):
            left = a @ calls.arguments[b].T
            for mine, its in zip(row, calls.rows[b][:-1], strict=True):
                left -= mine @ its.T
            row.append((left / scale) @ (directions / roots))
        square = np.einsum("ij,ij->i", a, a)
        if not np.isfinite(square).all():
            return np.full((len(a), self.nodes), np.nan)  # which is refused at its line
        scale = np.sqrt(np.where(square > 0.0, square, 1.0))
        rest = (a @ a.T - sum((r @ r.T for r in row), np.zeros((len(a), len(a))))) / np.outer(scale, scale)
        values, vectors = np.linalg.eigh(rest)
        keep = values > INDEPENDENT
        directions, roots = vectors[:, keep][:, ::-1], np.sqrt(values[keep][::-1])
        row.append(scale[:, None] * directions * roots)
        calls.arguments.append(a)
        calls.rows.append(row)
        calls.rests.append((scale, directions, roots))
        calls.innovations.append(self.fresh(len(roots)))
        found = np.zeros((len(a), self.nodes))
        for coefficients, xi in zip(row, calls.innovations, strict=True):
            found += coefficients @ xi
        return found

    # ------------------------------------------------------------ second moments

    def formula(self, formula: Formula) -> Array:
        found: dict[sp.Basic, Any] = {}
        for name in formula.reads:
            if isinstance(name, Second):
                found[name] = self.second(name)
            elif isinstance(name, Entry):
                found[name] = self.gram(name)
            else:
                found[name] = self.named(name)
        return np.array(np.broadcast_to(formula.code(found), (self.samples, self.samples)))

    def second(self, e: Second) -> Array:
        """A mean of products over the nodes."""
        return self.side(e.a) @ self.side(e.b).T / self.nodes

    def side(self, side: sp.Expr) -> Array:
        formula = self.plan.sides[side]
        if formula.expr not in self.arrays:
            self.arrays[formula.expr] = self.at(formula)
        found = self.arrays[formula.expr]
        return np.broadcast_to(found, (len(found), self.nodes))

    def gram(self, e: Any) -> Array:
        """Σ_c a[…, c] b[…, c] of an input."""
        last = sorted({key[-1] for key in self.data if key[0] == e.a.name})
        one, two = (np.stack([self.coordinate(Ref(r.name, *r.index, c)) for c in last], axis=1) for r in (e.a, e.b))
        return one @ two.T


def told(step: Step) -> str:
    """What a step makes, in names of the spec."""
    return f"`{step.source[0]}` times its input" if isinstance(step, Input) else f"`{step.out.a}`"


def rows(plan: Plan, samples: int) -> int:
    """Independent standard normals that a plan takes at most."""
    total, inputs = 0, dict[Source, int]()
    for step in plan.steps:
        count = samples if step.sampled else 1
        if isinstance(step, Input):
            most = len(plan.columns[step.source])
            taken = min(count, most - inputs.get(step.source, 0))
            inputs[step.source] = inputs.get(step.source, 0) + taken
            total += taken
        elif isinstance(step, (Initial, Product)):
            total += count
    return total


def memory(plan: Plan, samples: int, log2: int) -> int:
    """Bytes that a scrambling holds at most: points, arguments of matrices, arrays that are still to be read, and results."""
    held, live, most = samples * len({f.expr for f in plan.sides.values()} - plan.kept), dict[sp.Basic, int](), 0
    for k, step in enumerate(plan.steps):
        count = samples if step.sampled else 1
        held += count * isinstance(step, Product)
        live[step.out] = count
        most = max(most, held + sum(live.values()) + count * max(3, len(step.reads)))
        for name in step.reads:
            if plan.last[name] == k:
                live.pop(name, None)
    return 8 * (2**log2 * (rows(plan, samples) + most) + len(plan.formulas) * 9 * samples**2)


def points(count: int, log2: int, rng: np.random.Generator) -> Array:
    """[count, 2^log2] standard normals."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    found = np.empty((count, 2**log2))
    few = min(count, COORDINATES)
    if few:
        found[:few] = qmc.Sobol(few, scramble=True, rng=rng).random_base2(log2).T
        ndtri(np.add(found[:few], 2.0**-31, out=found[:few]), out=found[:few])  # multiples of 2^-30: 0 would be an outlier
    found[few:] = rng.standard_normal((count - few, 2**log2))
    return found
