"""An expression at one point, or at many points at once, as a straight list of array operations.

A plan is carried out again and again, on finer grids and other scramblings: indices are worked out and boundaries resolved
once, here, and what is left is arithmetic. Points of scalars lie side by side ("lanes"), so that the thousands of
coefficients of a trained matrix are a handful of operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

import numpy as np

from tp.errors import SpecError
from tp.program.ir import Range, Ref
from tp.readings.expression import Compiler
from tp.readings.indexing import Key
from tp.readings.ops import (
    Add,
    Call,
    Const,
    Delta,
    Extreme,
    Frame,
    LogSumExp,
    Mul,
    Name,
    Op,
    Outers,
    Power,
    Read,
    Select,
    SumOver,
    power,
)

Lanes = Any
"""A bool, or one for every lane."""


class Unrecorded(Exception):
    """An expression that differs in form from point to point."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A member that is read. ``at`` is a vector's key, or the slots of scalars; ``zero`` says where it is 0 for certain.

    In entries of a matrix, ``at`` is a sum of outer products: their coefficients and the keys of their vectors.
    """

    at: Any
    wide: bool
    zero: Lanes = False


@dataclass(frozen=True, slots=True)
class Tape:
    """``code``: (place, function, places of its arguments, places not needed afterwards); ``zero``: the value is 0 there."""

    template: tuple[Any, ...]
    leaves: tuple[tuple[int, Leaf], ...]
    code: tuple[tuple[int, Callable[..., Any], tuple[int, ...], tuple[int, ...]], ...]
    out: int
    zero: Lanes

    def run(self, read: Callable[[Leaf], Any]) -> Any:
        """The value, with that of every leaf given by ``read``."""
        values = list(self.template)
        for place, leaf in self.leaves:
            values[place] = read(leaf)
        for place, function, arguments, done in self.code:
            values[place] = function(*[values[k] for k in arguments])
            for k in done:
                values[k] = None
        return values[self.out]

    def values(self, places: Sequence[int], read: Callable[[Leaf], Any]) -> list[float]:
        """The numbers at ``places``, which no vector is needed for."""
        known: dict[int, Any] = dict.fromkeys(places)
        if any(self.template[k] is None for k in places):
            known |= {place: read(leaf) for place, leaf in self.leaves if not leaf.wide}
        known |= {k: self.template[k] for k in places if self.template[k] is not None}
        if any(known[k] is None for k in places):
            for place, function, arguments, _ in self.code:
                if all(known.get(k, self.template[k]) is not None for k in arguments):
                    known[place] = function(*[known.get(k, self.template[k]) for k in arguments])
        return [float(np.squeeze(known[k])) for k in places]

    @property
    def keys(self) -> tuple[Key, ...]:
        """The vectors that are read."""
        return tuple(leaf.at for _, leaf in self.leaves if leaf.wide)


Find = Callable[[Ref, Mapping[str, Any]], Leaf]
"""The member that a reference means under given indices, which are integers or arrays of them."""


def record(op: Op, env: Mapping[str, Any], find: Find) -> Tape:
    """``op`` at the point ``env``, or in lanes where indices are arrays. Raises ``Unrecorded``."""
    recorder = _Recorder(env, find)
    return recorder.tape(recorder.visit(op, {}))


def record_product(ops: Iterable[Op], env: Mapping[str, Any], find: Find) -> Tape:
    """The product of some expressions at one point."""
    recorder = _Recorder(env, find)
    return recorder.tape(recorder.product([recorder.visit(op, {}) for op in ops]))


@dataclass(slots=True)
class _Node:
    place: int
    wide: bool
    zero: Lanes


@dataclass
class _Recorder:
    env: Mapping[str, Any]
    find: Find
    template: list[Any] = field(default_factory=list)
    leaves: dict[int, Leaf] = field(default_factory=dict)
    code: list[tuple[int, Callable[..., Any], tuple[int, ...]]] = field(default_factory=list)
    memo: dict[Any, _Node] = field(default_factory=dict)

    def tape(self, out: _Node) -> Tape:
        """What ``out`` is made of: what stands beside a factor that is 0 is not read, and may live on other nodes."""
        needed = {out.place}
        for place, _, arguments in reversed(self.code):
            if place in needed:
                needed.update(arguments)
        kept = [operation for operation in self.code if operation[0] in needed]
        last = {k: step for step, (_, _, arguments) in enumerate(kept) for k in arguments}
        made = {place for place, _, _ in kept} - {out.place}
        code = tuple(
            (place, function, arguments, tuple(k for k in set(arguments) if last[k] == step and k in made))
            for step, (place, function, arguments) in enumerate(kept)
        )
        leaves = tuple((place, leaf) for place, leaf in self.leaves.items() if place in needed)
        return Tape(tuple(self.template), leaves, code, out.place, out.zero)

    def visit(self, op: Op, bound: Mapping[str, int]) -> _Node:
        key = (op, *((n, v) for n, v in bound.items() if n in op.free))
        if key not in self.memo:
            self.memo[key] = self._visit(op, bound)
        return self.memo[key]

    def _visit(self, op: Op, bound: Mapping[str, int]) -> _Node:
        match op:
            case Const():
                return self.constant(op.number)
            case Name():
                return self.constant(np.asarray({**self.env, **bound}[op.name], float)[()])
            case Read():
                return self.leaf(op, bound)
            case Outers():
                return self.outers(op, bound)
            case Add():
                return self.sum([self.visit(t, bound) for t in op.terms])
            case Mul():
                return self.product([self.visit(f, bound) for f in op.factors])
            case SumOver():
                return self.sum([self.visit(op.body, inner) for inner in self.frames(op, bound)])
            case Delta():
                left, right = (op.indexer.value(e, {**self.env, **bound}) for e in (op.left, op.right))
                return self.constant(np.asarray(left == right, float)[()])
            case Power() if isinstance(op.exponent, Const):
                return self.emit(partial(raised, float(op.exponent.number)), [self.visit(op.base, bound)])
            case Power():
                return self.emit(power, [self.visit(op.base, bound), self.visit(op.exponent, bound)])
            case Call():
                return self.emit(op.fn.value, [self.visit(a, bound) for a in op.args])
            case Extreme():
                return self.emit(partial(extreme, op.pick), [self.visit(a, bound) for a in op.args])
            case LogSumExp():
                return self.emit(_logsumexp, [self.visit(op.body, inner) for inner in self.frames(op, bound)])
            case Select() if not any(side.active for side in op.compared):
                return self.select(op, bound)
            case Select():
                return self.emit(partial(_select, op), [self.visit(a, bound) for a in op.parts()])
        raise Unrecorded

    def select(self, op: Select, bound: Mapping[str, int]) -> _Node:
        """The branch that indices decide for, if it is one for all lanes; ``Unrecorded`` where others are undefined in some."""
        nothing: Any = None  # no member is read
        at = Frame({**self.env, **bound}, nothing, vector=False)
        for branch, condition in zip(op.branches, op.conditions, strict=True):
            here = np.asarray(condition(at))
            if here.all():
                return self.visit(branch, bound)
            if here.any():
                break
        try:
            return self.emit(partial(_select, op), [self.visit(a, bound) for a in op.parts()])
        except SpecError:
            raise Unrecorded from None

    def frames(self, op: SumOver | LogSumExp, bound: Mapping[str, int]) -> list[dict[str, int]]:
        env = {**self.env, **bound}
        lo, hi = (np.asarray(op.indexer.value(e, env)) for e in (op.range.lo, op.range.hi))
        if lo.size == 0 or (lo != lo.flat[0]).any() or (hi != hi.flat[0]).any():
            raise Unrecorded
        name = op.range.index.name
        return [{**bound, name: k} for k in range(int(lo.flat[0]), int(hi.flat[0]) + 1)]

    def add(self, value: Any, wide: bool, zero: Lanes) -> _Node:
        self.template.append(value)
        return _Node(len(self.template) - 1, wide, zero)

    def constant(self, value: Any) -> _Node:
        return self.add(value, False, value == 0)

    def leaf(self, op: Read, bound: Mapping[str, int]) -> _Node:
        leaf = self.find(op.ref, {**self.env, **bound} if bound else self.env)
        if leaf.zero is True:
            return self.constant(np.float64(0))
        node = self.add(None, leaf.wide, leaf.zero)
        self.leaves[node.place] = leaf
        return node

    def outers(self, op: Outers, bound: Mapping[str, int]) -> _Node:
        """A sum of outer products, with numbers as coefficients."""
        pairs = []
        for env in op.indexer.points(op.ranges, {**self.env, **bound}):
            inner = {**bound, **{r.index.name: env[r.index.name] for r in op.ranges}}
            c = self.template[self.visit(op.coefficient, inner).place]
            u, v = (self.find(read.ref, env) for read in (op.u, op.v))
            if c is None:
                raise Unrecorded
            if c != 0 and u.zero is not True and v.zero is not True:
                pairs.append((float(c), u.at, v.at))
        if not pairs:
            return self.constant(np.float64(0))
        node = self.add(None, True, False)
        self.leaves[node.place] = Leaf(tuple(pairs), True)
        return node

    def emit(self, function: Callable[..., Any], arguments: list[_Node], zero: Lanes = False) -> _Node:
        node = self.add(None, any(a.wide for a in arguments), zero)
        self.code.append((node.place, function, tuple(a.place for a in arguments)))
        return node

    def sum(self, terms: list[_Node]) -> _Node:
        kept = sorted((t for t in terms if not _all(t.zero)), key=lambda t: t.wide)
        if not kept:
            return self.constant(np.float64(0))
        return reduce(lambda a, b: self.emit(np.add, [a, b], a.zero & b.zero), kept)

    def product(self, factors: list[_Node]) -> _Node:
        """Numbers first: one pass over an array for all of them."""
        if any(_all(f.zero) for f in factors):
            return self.constant(np.float64(0))
        kept = [f for f in sorted(factors, key=lambda f: f.wide) if not self.is_one(f)]
        if not kept:
            return self.constant(np.float64(1))
        return reduce(lambda a, b: self.emit(np.multiply, [a, b], a.zero | b.zero), kept)

    def is_one(self, node: _Node) -> bool:
        value = self.template[node.place]
        return np.ndim(value) == 0 and value is not None and bool(value == 1)


def _all(zero: Lanes) -> bool:
    return bool(np.all(zero))


def raised(exponent: float, base: Any) -> Any:
    return power(base, exponent)


def added(*values: Any) -> Any:
    return reduce(np.add, values)


def multiplied(*values: Any) -> Any:
    return reduce(np.multiply, values)


def extreme(pick: Callable[..., Any], *values: Any) -> Any:
    return reduce(pick, values)


@dataclass(frozen=True, slots=True)
class _Known:
    """Values of expressions, for the conditions of a Piecewise to read."""

    values: dict[Op, Any]

    def value(self, op: Op) -> Any:
        return self.values[op]


def _select(op: Select, *values: Any) -> Any:
    at: Any = _Known(dict(zip(op.parts(), values, strict=True)))
    result: Any = np.float64(np.nan)
    for branch, condition in zip(reversed(op.branches), reversed(op.conditions), strict=True):
        result = np.where(condition(at), at.value(branch), result)
    return result


def _logsumexp(*logits: Any) -> Any:
    """log Σ exp, the largest logit subtracted first."""
    top = reduce(np.maximum, logits)
    return top + np.log(sum(np.exp(z - top) for z in logits))


def lanes(
    ranges: tuple[Range, ...], compiler: Compiler, points: list[Mapping[str, Any]]
) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """All points of ``ranges``, the outer ones first, for each of ``points``: whose they are, and their indices as arrays."""
    owner, env = np.arange(len(points)), stacked(points)
    try:
        for r in ranges:
            lo, hi = (np.broadcast_to(compiler.value(e, env), len(owner)) for e in (r.lo, r.hi))
            count = np.maximum(hi - lo + 1, 0)
            which = np.repeat(np.arange(len(owner)), count)
            offset = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
            env = {name: value[which] if isinstance(value, np.ndarray) else value for name, value in env.items()}
            env[r.index.name] = lo[which] + offset
            owner = owner[which]
    except (TypeError, ValueError):  # a bound is rounded or compared
        every = [(k, inner) for k, point in enumerate(points) for inner in compiler.points(ranges, point)]
        return np.array([k for k, _ in every], np.intp), stacked([inner for _, inner in every])
    return owner, env


def stacked(points: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Indices that differ from point to point as arrays; what all share stays as it is."""
    first = points[0] if points else {}
    return {
        name: value if all(p[name] == value for p in points) else np.array([p[name] for p in points])
        for name, value in first.items()
    }
