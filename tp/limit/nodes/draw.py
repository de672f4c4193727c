"""A plan carried out on scrambled Sobol points: every vector is an array [samples, nodes], of all samples on the same nodes.

What one matrix makes of its arguments x₁, x₂, … is Gaussian with the covariance σ² E[x_k x_l], means over the nodes: each call is
a combination of earlier ones and of an independent rest, of which the directions that vary most come first and get the first,
best coordinates of the points. A kernel is then a Gram matrix of arrays over the nodes, so that it is positive semidefinite.

What reads arrays goes through them in blocks of nodes that a cache holds; products of matrices are BLAS's, on one thread of each
scrambling, so that no figure depends on how many cores there are.

Source: Yang 2020, *Tensor Programs III*, Definition E.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian.scrambled import SCRAMBLINGS, normals
from tp.kernel.blas import one_thread
from tp.kernel.threads import default_threads, run
from tp.limit.equations import Entry, I, J, Value
from tp.limit.nodes.named import Second
from tp.limit.nodes.plan import Formula, Function, Initial, Input, Plan, Product, Source, Step
from tp.program.ir import Ref
from tp.progress import bar
from tp.readings.indexing import Key

Array = NDArray[np.float64]
BLOCK = 1 << 15
"""Numbers of an array that are worked on together, about: some such arrays stay in a cache."""
TOGETHER = 1 << 22
"""Numbers of second moments that are held together, about."""
INDEPENDENT = 1e-11
"""Part of a variance, relative to it, from which on a direction is one of its own."""


@dataclass
class Span:
    """Arguments x₁, …, x_k that matrices have met in this order, as combinations of independent directions.

    What several matrices make of the same arguments, as the gates of a cell do, has one such law. ``row`` holds the coefficients
    of the last argument, [samples, directions] for each of k; ``further`` the spans with one argument more.
    """

    arguments: list[Array] = field(default_factory=list)
    rows: list[list[Array]] = field(default_factory=list)
    rests: list[tuple[Array, Array, Array]] = field(default_factory=list)  # scale of samples, directions, roots
    further: dict[Any, Span] = field(default_factory=dict)

    @property
    def row(self) -> list[Array]:
        return self.rows[-1]

    def joined(self, a: Array) -> Span:
        """With the argument ``a``, [samples, anything], whose covariance is a aᵀ, and with earlier ones a bᵀ."""
        row: list[Array] = []
        for b, (scale, directions, roots) in enumerate(self.rests):
            if not len(roots):
                row.append(np.empty((len(a), 0)))
                continue
            left = a @ self.arguments[b].T
            for mine, its in zip(row, self.rows[b][:-1], strict=True):
                left -= mine @ its.T
            row.append((left / scale) @ (directions / roots))
        square = np.einsum("ij,ij->i", a, a)
        scale = np.sqrt(np.where(square > 0.0, square, 1.0))
        rest = (a @ a.T - sum((r @ r.T for r in row), np.zeros((len(a), len(a))))) / np.outer(scale, scale)
        values, vectors = np.linalg.eigh(rest)
        keep = values > INDEPENDENT
        directions, roots = vectors[:, keep][:, ::-1], np.sqrt(values[keep][::-1])
        row.append(scale[:, None] * directions * roots)
        return Span([*self.arguments, a], [*self.rows, row], [*self.rests, (scale, directions, roots)])


@dataclass
class Calls:
    """The calls of a source so far, and what is independent in each: [directions, nodes]."""

    span: Span
    innovations: list[Array] = field(default_factory=list)


@dataclass
class Draw:
    """One scrambling. ``data`` has every coordinate of the inputs as [samples]."""

    plan: Plan
    data: Mapping[Key, Array]
    samples: int
    log2: int
    rng: np.random.Generator
    tick: Callable[[], None] = lambda: None
    arrays: dict[sp.Basic, Array] = field(default_factory=dict)
    calls: dict[Source, Calls] = field(default_factory=dict)
    span: Span = field(default_factory=Span)
    sides: dict[int, Array] = field(default_factory=dict)
    products: dict[Entry, tuple[Array, Array]] = field(default_factory=dict)
    used: int = 0

    @property
    def nodes(self) -> int:
        return 2**self.log2

    def kernels(self) -> list[Array]:
        """[samples, samples] for every formula."""
        self.points = normals(rows(self.plan, self.samples), self.log2, self.rng)
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
                return self.gaussian(step, step.variance**0.5)
            case Input():
                return self.gaussian(step, 1.0)
            case Function():
                found = self.at(step.formula)
                return found if step.factor is None else self.at(step.factor) * found.mean(axis=1, keepdims=True)
        raise AssertionError(step)

    def argument(self, step: Product | Input) -> Array:
        """[samples, anything]: x/√nodes, or what an input has of each member of a weight family."""
        count = self.count(step)
        if isinstance(step, Product):
            return np.ascontiguousarray(np.broadcast_to(self.nodes**-0.5 * self.at(step.x), (count, self.nodes)))
        columns = self.plan.columns[step.source]
        found = np.zeros((count, len(columns)))
        for k, place in enumerate(columns):
            if place in step.terms:
                found[:, k] = self.at(step.terms[place])[:, 0]
        return found

    def count(self, step: Step) -> int:
        return self.samples if step.sampled else 1

    def at(self, formula: Formula) -> Array:
        """[samples or 1, nodes or 1], block by block."""
        names = {name: self.named(name) for name in formula.reads}
        wide = [name for name, array in names.items() if array.shape[1] > 1]
        if not wide:
            return np.asarray(np.atleast_2d(formula.code(names)), dtype=np.float64)
        count = max(map(len, names.values()))
        found = np.empty((count, self.nodes))
        for block in self.blocks(count):
            found[:, block] = formula.code({**names, **{name: names[name][:, block] for name in wide}})
        return found

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

    def gaussian(self, step: Product | Input, std: float) -> Array:
        """What a source makes of an argument: covariances are ``std`` squared times those of arguments."""
        calls = self.calls.setdefault(step.source, Calls(self.span))
        key = told_apart(step)
        if key not in calls.span.further:
            a = self.argument(step)
            if not np.isfinite(np.einsum("ij,ij->i", a, a)).all():
                return np.full((len(a), self.nodes), np.nan)  # which is refused at its line
            calls.span.further[key] = calls.span.joined(a)
        calls.span = calls.span.further[key]
        row = [std * coefficients for coefficients in calls.span.row]
        calls.innovations.append(self.fresh(row[-1].shape[1]))
        found = np.empty((len(row[-1]), self.nodes))
        for block in self.blocks(len(found)):
            here = found[:, block]
            np.matmul(row[0], calls.innovations[0][:, block], out=here)
            for coefficients, xi in zip(row[1:], calls.innovations[1:], strict=True):
                here += coefficients @ xi[:, block]
        return found

    def blocks(self, count: int) -> list[slice]:
        """Nodes by which arrays [count, nodes] are gone through."""
        length = min(self.nodes, 2 ** max(5, int(math.log2(BLOCK / count))))
        return [slice(start, start + length) for start in range(0, self.nodes, length)]

    # ------------------------------------------------------------ second moments

    def formula(self, formula: Formula) -> Array:
        """[samples, samples], which is symmetric: by blocks, of which one side of the diagonal is computed."""
        found = np.empty((self.samples, self.samples))
        several = parts(formula, self.samples)
        for k, rows in enumerate(several):
            for columns in several[k:]:
                found[rows, columns] = formula.code(self.entries(formula, rows, columns))
                if rows != columns:
                    found[columns, rows] = found[rows, columns].T
        return found

    def entries(self, formula: Formula, rows: slice, columns: slice) -> dict[sp.Basic, Array]:
        """What a formula reads, at some pairs of samples. E[b a] of the same samples on both sides is the transpose of E[a b]."""
        found: dict[sp.Basic, Array] = {}
        known: dict[tuple[int, int], Array] = {}
        for name in formula.reads:
            if isinstance(name, Second):
                a, b = self.plan.moments[name]
                if rows == columns and (b, a) in known:
                    found[name] = known[b, a].T
                else:
                    found[name] = known[a, b] = _some(self.side(a), rows) @ _some(self.side(b), columns).T / self.nodes
            elif isinstance(name, Entry):
                one, two = self.inputs(name)
                found[name] = one[rows] @ two[columns].T
            else:
                found[name] = _some(_some(self.named(name), rows).T, columns).T
        return found

    def side(self, k: int) -> Array:
        """One side of second moments, [samples or 1, nodes]."""
        if k not in self.sides:
            formula = self.plan.sides[k]
            if formula.expr not in self.arrays:
                self.arrays[formula.expr] = self.at(formula)
                self.tick()
            found = self.arrays[formula.expr]
            self.sides[k] = np.broadcast_to(found, (len(found), self.nodes))
        return self.sides[k]

    def inputs(self, e: Entry) -> tuple[Array, Array]:
        """[samples, coordinates] of the two inputs of an inner product."""
        if e not in self.products:
            one, two = self.coordinates(e.a), self.coordinates(e.b)
            self.products[e] = one, two
        return self.products[e]

    def coordinates(self, ref: Ref) -> Array:
        """[samples, coordinates] of an input."""
        last = sorted({key[-1] for key in self.data if key[0] == ref.name})
        return np.stack([self.coordinate(Ref(ref.name, *ref.index, c)) for c in last], axis=1)


def _some(array: Array, rows: slice) -> Array:
    """Some rows; of what is the same for all samples that one."""
    return array[rows] if len(array) > 1 else array


def parts(formula: Formula, samples: int) -> list[slice]:
    """Samples by which a formula is gone through."""
    length = min(samples, max(32, math.isqrt(TOGETHER // max(1, len(formula.reads)))))
    return [slice(start, min(start + length, samples)) for start in range(0, samples, length)]


def told(step: Step) -> str:
    """What a step makes, in names of the spec."""
    return f"`{step.source[0]}` times its input" if isinstance(step, Input) else f"`{step.out.a}`"


def told_apart(step: Product | Input) -> Any:
    """What an argument is made of: equal ones are the same."""
    if isinstance(step, Product):
        return step.sampled, step.x.expr
    return step.sampled, tuple((place, term.expr) for place, term in sorted(step.terms.items()))


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


def sides(plan: Plan) -> set[sp.Expr]:
    """What second moments are of beside what steps make."""
    return {f.expr for f in plan.sides} - plan.kept


def memory(plan: Plan, samples: int, log2: int) -> int:
    """Bytes that a scrambling holds at most: points, arguments of matrices, arrays that are still to be read, and results."""
    held, live, most = samples * len(sides(plan)), dict[sp.Basic, int](), 0
    met, arguments = dict[Source, tuple[Any, ...]](), set[tuple[Any, ...]]()
    for k, step in enumerate(plan.steps):
        count = samples if step.sampled else 1
        if isinstance(step, Product):
            met[step.source] = (*met.get(step.source, ()), told_apart(step))
            held += count * (met[step.source] not in arguments)
            arguments.add(met[step.source])
        live[step.out] = count
        most = max(most, held + sum(live.values()) + count)
        for name in step.reads:
            if plan.last[name] == k:
                live.pop(name, None)
    moments = max((len(f.reads) * parts(f, samples)[0].stop ** 2 for f in plan.formulas), default=0)
    return 8 * (2**log2 * (rows(plan, samples) + most) + len(plan.formulas) * 9 * samples**2 + 2 * moments)


def drawn(plan: Plan, data: Mapping[Key, Array], samples: int, log2: int, seed: int, limit: int, progress: bool | None) -> Array:
    """[scramblings, formulas, samples, samples]: side by side on the cores there are, as far as ``limit`` bytes allow."""
    side_by_side = max(1, min(default_threads(), limit // memory(plan, samples, log2)))
    lock, total = Lock(), SCRAMBLINGS * (len(plan.steps) + len(sides(plan)))
    with bar(f"drawing on 2^{log2} nodes", total, " vectors", progress) as advance, one_thread():

        def tick() -> None:
            with lock:
                advance(1)

        def one(k: int) -> list[Array]:
            return Draw(plan, data, samples, log2, np.random.default_rng((seed, k)), tick).kernels()

        return np.array(run(one, range(SCRAMBLINGS), side_by_side, None))
