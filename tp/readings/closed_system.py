"""Linear training exactly: a Z is a combination of independent Gaussian letters, an array of its coefficients.

Where every vector is a linear combination of others, with scalars as coefficients, and every average is of a product of two,
E[Z Z′] is the inner product of coefficients: the infinite-width limit *is* the program run in the finite space of its letters.
There a matrix is a multiple of an isometry: of the span of its arguments onto fresh letters (the hats), plus the adjoint of the
isometry of its transpose (the dot parts). Linear depth, convolution, recurrence, tied and transposed weights need nothing else.

Arrays have the axes sample, earlier step, other sample, letter, of length 1 where nothing depends on them: all samples go
together, and a sum over the past is one matrix product. After T steps on B samples there are at most K = O(T B) letters for every
product with a matrix. Time O(B K²) for a step and product, memory 8 K bytes for every vector. Rounding alone is an error.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 6 and appendix on deep linear networks; Yang 2020, *Tensor Programs III*,
Definition E.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, LimitError, Message, Span
from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, OuterNonlin, Program, Ref
from tp.readings.axes import AXES, Axis, Family, Value, contracted, inner, lengths, matched, slots_of
from tp.readings.elementwise import TABLE
from tp.readings.expression import Compiler
from tp.readings.indexing import Key, edges_of, resolve
from tp.transform.backprop import flat
from tp.transform.train import EARLIER, OTHER, SAMPLE, STEP

Array = NDArray[np.float64]
DEPENDENT = 1e-12
"""What an argument may be longer than its projection on earlier ones, relatively, without a letter of its own."""
REMEDY = "take fewer steps, smaller batches, or give memory=…"
COMMAND = "take fewer --steps, a smaller --batch, or give --memory"


@dataclass
class Isometry:
    """Orthonormal arguments of a matrix in one direction, and the letter of each."""

    basis: Array
    letters: list[int] = field(default_factory=list)


@dataclass
class System:
    """A leading-order training program, and what is known of it so far."""

    program: Program
    steps: int
    samples: int
    memory: int
    columns: int = 64
    compiler: Compiler = field(default_factory=Compiler)
    families: dict[str, Family] = field(default_factory=dict)
    inside: dict[str, list[Moment]] = field(default_factory=dict)
    edges: dict[str, Any] = field(default_factory=dict)
    isometries: dict[tuple[Key, bool], Isometry] = field(default_factory=dict)
    laws: dict[Key, tuple[float, float]] = field(default_factory=dict)  # of matrices: variance times columns, and times rows
    used: int = 0

    def __getitem__(self, key: Key) -> float:
        """A scalar member."""
        name, *index = key
        family = self.families[name]
        big = tuple(k for k, s in zip(index, family.slots, strict=True) if s != "-")
        return float(family.arrays[tuple(k for k, s in zip(index, family.slots, strict=True) if s == "-")][big])

    @property
    def bytes(self) -> int:
        """Of all arrays."""
        return 8 * sum(a.size for family in self.families.values() for a in family.arrays.values())

    # ------------------------------------------------------------ the program

    def run(self, data: Mapping[Key, float]) -> None:
        sizes = {s.name: 1 for s in self.program.spaces}
        self.edges.update(edges_of(self.program, self.compiler.integer, sizes))
        for key, value in data.items():
            self.given(key, value)
        for w in self.program.weights:
            for point in self.compiler.points(w.domain, sizes):
                if w.cols is not None:
                    assert w.rows is not None
                    square, ratio = (self.number(e, point) for e in (w.multiplier**2 * w.variance, w.rows.size / w.cols.size))
                    self.laws[self.compiler.key(w.ref, point)] = square, square * ratio
                else:
                    name, *rest = self.compiler.key(w.ref, point)
                    multiplier, variance = (self.number(e, point) for e in (w.multiplier, w.variance))
                    place = self.letter() if w.rows is not None and variance else 0
                    array = np.zeros(self.columns if w.rows is not None else ())
                    if w.rows is None:
                        array += multiplier * self.number(w.mean, point)
                    elif variance:
                        array[place] = multiplier * np.sqrt(variance)
                    self.families.setdefault(name, Family("", w.rows is not None)).arrays[tuple(rest)] = array
        with np.errstate(all="ignore"):
            self.body(self.program.body, sizes)

    def given(self, key: Key, value: float) -> None:
        """A number of the data or of a table."""
        name, *index = key
        if name not in self.families:
            domain = next((d.domain for d in self.program.data if d.ref.name == name), None)
            ranges = self.program.tables[name][0] if domain is None else domain
            slots = "".join("t" if r.index in (STEP, EARLIER) else "i" if r.index in (SAMPLE, OTHER) else "-" for r in ranges)
            self.families[name] = Family(slots, False)
        family = self.families[name]
        big = tuple(k for k, s in zip(index, family.slots, strict=True) if s != "-")
        rest = tuple(k for k, s in zip(index, family.slots, strict=True) if s == "-")
        if rest not in family.arrays:
            family.arrays[rest] = np.zeros([self.steps + 1 if s == "t" else self.samples for s in family.slots if s != "-"])
        family.arrays[rest][big] = value

    def letter(self) -> int:
        if self.used == self.columns:
            self._grow()
        self.used += 1
        return self.used - 1

    def _grow(self) -> None:
        """Twice as many letters."""
        vectors = [family for family in self.families.values() if family.vector]
        needed = 8 * sum(2 * a.size for family in vectors for a in family.arrays.values())
        if needed > self.memory:
            reason = f"the coefficients of {self.used:,} letters and more need {needed / 2**30:.1f} GiB"
            raise LimitError(Message(NOWHERE, reason, REMEDY, "too large", COMMAND))
        for family in vectors:
            for key, array in family.arrays.items():
                family.arrays[key] = np.concatenate([array, np.zeros_like(array)], axis=-1)
        self.columns *= 2

    def body(self, body: Iterable[Instruction], env: Mapping[str, Any]) -> None:
        for ins in body:
            if isinstance(ins, Loop):
                values = self.compiler.interval(ins.range, env)
                for value in reversed(values) if ins.reverse else values:
                    self.body(ins.body, {**env, ins.range.index.name: value})
            elif isinstance(ins, Moment) and any(r.index == EARLIER for r in ins.domain):
                if ins not in self.inside.setdefault(ins.out.name, []):
                    self.inside[ins.out.name].append(ins)
            else:
                self.instruction(ins, env)

    def instruction(self, ins: Any, env: Mapping[str, Any]) -> None:
        assert not isinstance(ins, OuterNonlin)
        small = tuple(r for r in ins.domain if r.index.name not in AXES)
        axes = {r.index.name: Axis(AXES[r.index.name], self.samples) for r in ins.domain if r.index.name in AXES}
        for point in self.compiler.points(small, env):
            at = {**point, **axes}
            if isinstance(ins, MatMul):
                value = self.matmul(ins, at)
            elif isinstance(ins, Moment):
                value = self.mean(sp.expand_mul(ins.coeff * ins.expr), at, ins.span)
            else:
                value = self.value(ins.expr, at, ins.span)
            self.keep(ins, at, value)

    def keep(self, ins: Nonlin | Moment | MatMul, at: Mapping[str, Any], value: Value) -> None:
        vector = isinstance(ins, MatMul) or (isinstance(ins, Nonlin) and ins.space is not None)
        slots = slots_of(ins.out)
        family = self.families.setdefault(ins.out.name, Family(slots, vector))
        rest = tuple(self.compiler.integer(e, at) for e, s in zip(ins.out.index, slots, strict=True) if s == "-")
        if rest not in family.arrays:
            shape = [self.steps + 1 if s == "t" else self.samples for s in slots if s != "-"]
            family.arrays[rest] = np.zeros([*shape, self.columns] if vector else shape)
        if not np.isfinite(value.array).all():
            step = f" at step {at[STEP.name]}" if STEP.name in at else ""
            remedy = "lower the learning rate or the number of steps"
            raise LimitError(Message(ins.span, f"`{ins.out.name}` is not finite{step}", remedy, "diverges"))
        target = family.arrays[rest]
        if slots.startswith("t"):
            target = target[at[STEP.name]]
        target = target[..., : self.used] if vector else target
        full = np.broadcast_to(value.array, (*[max(n, 1) for n in lengths(ins.out, at)], *value.array.shape[3:]))
        target[...] = full.reshape(target.shape) if value.vector == vector else 0.0

    # ------------------------------------------------------------ matrices

    def matmul(self, ins: MatMul, at: Mapping[str, Any]) -> Value:
        """Ẑ + Ż of ``W x`` (``Wᵀ x``) for all samples."""
        W = self.compiler.key(ins.W, at)
        there, back = (self.laws[W][t] for t in (ins.transpose, not ins.transpose))
        x = self.value(ins.x, at, ins.span)
        if not x.vector:
            return x
        X = x.array.reshape(-1, self.used)
        own, opposite = (
            self.isometries.setdefault((W, t), Isometry(np.zeros((0, 0)))) for t in (ins.transpose, not ins.transpose)
        )
        coefficients = self.onto(own, X)
        found = np.zeros((len(X), self.used))
        found[:, own.letters] = np.sqrt(there) * coefficients
        if opposite.letters:
            basis = opposite.basis
            found[:, : basis.shape[1]] += there / np.sqrt(back) * X[:, opposite.letters] @ basis
        return Value(found[:, None, None, :], True)

    def onto(self, own: Isometry, X: Array) -> Array:
        """Coefficients of the rows of X in the basis of earlier arguments, which grows by what is new in them."""
        basis = np.zeros((len(own.basis), X.shape[1]))
        basis[:, : own.basis.shape[1]] = own.basis
        rows, coefficients = list(basis), np.zeros((len(X), len(basis) + len(X)))
        left = X.copy()
        for _ in range(2):  # once more, for rounding
            part = left @ basis.T
            left -= part @ basis
            coefficients[:, : len(basis)] += part
        for k, x in enumerate(left):
            for _ in range(2):
                for j in range(len(basis), len(rows)):
                    c = rows[j] @ x
                    x -= c * rows[j]
                    coefficients[k, j] += c
            length = float(np.linalg.norm(x))
            if length > DEPENDENT * float(np.linalg.norm(X[k])):
                coefficients[k, len(rows)] = length
                rows.append(x / length)
                own.letters.append(self.letter())
        own.basis = np.array(rows) if rows else np.zeros((0, X.shape[1]))
        return coefficients[:, : len(rows)]

    # ------------------------------------------------------------ expressions

    def number(self, expr: sp.Expr, at: Mapping[str, Any]) -> float:
        return float(self.value(sp.sympify(expr), at, NOWHERE).array.squeeze())

    def mean(self, expr: sp.Expr, at: Mapping[str, Any], span: Span) -> Value:
        """E of a sum of products of two vectors."""
        total = Value(np.zeros((1, 1, 1)), False)
        for term in sp.Add.make_args(expr):
            if isinstance(term, sp.Sum):
                for frame, _ in self.points(term, at):
                    total += self.mean(sp.expand_mul(term.function), frame, span)
                continue
            scalars, vectors = self.factors(term, at, span)
            if vectors is not None and scalars.any():  # a vector beyond its range is the number 0
                total += Value(scalars * inner(vectors), False)
        return total

    def factors(self, term: sp.Expr, at: Mapping[str, Any], span: Span) -> tuple[Array, list[Array] | None]:
        """The product of a term's scalars, and its vectors; None where a factor is 0."""
        scalars, vectors = np.ones((1, 1, 1)), []
        rest = []
        for factor in sp.Mul.make_args(term):
            if isinstance(factor, sp.KroneckerDelta):
                if self.compiler.integer(factor.args[0], at) != self.compiler.integer(factor.args[1], at):
                    return scalars, None
            elif isinstance(factor, sp.Pow) and factor.exp == 2:
                rest += [factor.base, factor.base]
            else:
                rest.append(factor)
        for factor in rest:
            value = self.value(factor, at, span)
            if value.vector:
                vectors.append(value.array)
            else:
                scalars = scalars * value.array
        return scalars, vectors

    def value(self, expr: sp.Expr, at: Mapping[str, Any], span: Span) -> Value:
        match expr:
            case sp.Number() | sp.NumberSymbol():
                return Value(np.full((1, 1, 1), float(expr)), False)
            case sp.Symbol():
                return Value(np.full((1, 1, 1), float(at[expr.name])), False)
            case Ref():
                return self.read(expr, at, span)
            case sp.Add():
                total = self.value(expr.args[0], at, span)
                for a in expr.args[1:]:
                    total += self.value(a, at, span)
                return total
            case sp.Mul():
                scalars, vectors = self.factors(expr, at, span)
                if vectors is None:
                    return Value(np.zeros((1, 1, 1)), False)
                return Value(scalars[..., None] * vectors[0], True) if vectors else Value(scalars, False)
            case sp.Pow():
                return Value(self.value(expr.base, at, span).array ** float(expr.exp), False)
            case sp.KroneckerDelta():
                one, two = (self.compiler.integer(e, at) for e in expr.args)
                return Value(np.full((1, 1, 1), float(one == two)), False)
            case sp.Sum():
                return self.sum(expr, at, span)
        return Value(np.asarray(self.function(expr, at, span)), False)

    def function(self, expr: sp.Expr, at: Mapping[str, Any], span: Span) -> Any:
        """A function of scalars."""
        name = type(expr).__name__
        if name not in TABLE:
            reason = f"`{name}` of scalars is not known to the exact method"
            raise LimitError(Message(span, reason, 'use method="sobol"', "no exact limit", "use --method sobol"))
        return TABLE[name].value(*(self.value(a, at, span).array for a in expr.args))

    def points(self, total: sp.Sum, at: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], tuple[int, ...]]]:
        """The frames of a sum: small indices one by one, samples and steps as axes, which are returned; none if it is empty."""
        ranges, axes, frame = [], [], dict(at)
        for index, lo, hi in total.limits:
            first, last = self.compiler.integer(lo, at), self.compiler.integer(hi, at)
            if index.name in AXES:
                if last < first:
                    return
                assert first == 0
                axes.append(AXES[index.name])
                frame[index.name] = Axis(AXES[index.name], last + 1)
            else:
                ranges.append([(index.name, k) for k in range(first, last + 1)])
        for point in product(*ranges):
            yield {**frame, **dict(point)}, tuple(axes)

    def sum(self, expr: sp.Sum, at: Mapping[str, Any], span: Span) -> Value:
        total = Value(np.zeros((1, 1, 1)), False)
        for frame, axes in self.points(expr, at):
            for term in sp.Add.make_args(sp.expand_mul(expr.function)):
                scalars, vectors = self.factors(term, frame, span)
                if vectors is None:
                    continue
                if vectors:
                    total += Value(contracted(scalars, vectors[0], axes), True)
                else:
                    along = {v.number: v.length for v in frame.values() if isinstance(v, Axis) and v.number in axes}
                    shape = np.broadcast_shapes(scalars.shape, tuple(along.get(k, 1) for k in range(3)))
                    total += Value(np.broadcast_to(scalars, shape).sum(axis=axes, keepdims=True), False)
        return total

    def index(self, e: sp.Expr, at: Mapping[str, Any]) -> Any:
        bound = at.get(e.name) if isinstance(e, sp.Symbol) else None
        return bound if isinstance(bound, Axis) else self.compiler.integer(e, at)

    def read(self, ref: Ref, at: Mapping[str, Any], span: Span) -> Value:
        """A member, or all members along axes; an average over the past is worked out when it is read."""
        index = [self.index(e, at) for e in ref.index]
        for ins in self.inside.get(ref.name, ()):
            bound = matched(ins.out.index, index)
            if bound is not None:
                return self.mean(sp.expand_mul(ins.coeff * ins.expr), {**at, **bound}, ins.span)
        family = self.families.get(ref.name) or Family(slots_of(ref), False)
        places = list(zip(index, family.slots or "-" * len(index), strict=True))
        rest = tuple(k for k, s in places if s == "-")
        edges = tuple(e for e, (_, s) in zip(self.edges.get(ref.name, ()), places, strict=False) if s == "-")
        found = resolve((ref.name, *rest), {(ref.name, *k): None for k in family.arrays}, edges, span)
        if found is None:
            return Value(np.zeros((1, 1, 1)), False)
        array, axes = family.arrays[found[1:]], []
        taken: list[Any] = []
        for k, s in places:
            if s == "-":
                continue
            if isinstance(k, Axis):
                axes.append(k.number)
                taken.append(slice(0, k.length))
            else:
                taken.append(k)
        array = array[tuple(taken)]
        array = array[..., : self.used] if family.vector else array
        order = sorted(range(len(axes)), key=axes.__getitem__)
        array = array.transpose([*order, *range(len(axes), array.ndim)])
        shape = [1, 1, 1]
        for position, k in enumerate(order):
            shape[axes[k]] = array.shape[position]
        return Value(array.reshape([*shape, *array.shape[len(axes) :]]), family.vector)


def closed_system(program: Program, data: Mapping[Key, float], memory: int) -> System:
    """A linear program (:func:`tp.readings.degrees.is_linear`) carried out; ``system[f, t, i]`` is a scalar of it.

    Raises ``LimitError`` where it diverges, and where its arrays need more than ``memory`` bytes.
    """
    domains = [r for ins, domain in flat(program.body) for r in (*domain, *ins.domain)]
    ranges = [r for d in program.data for r in d.domain] + domains
    steps, samples = (max((int(r.hi) for r in ranges if r.index == index), default=0) for index in (STEP, SAMPLE))
    system = System(program, steps, samples + 1, memory)
    system.run(data)
    return system
