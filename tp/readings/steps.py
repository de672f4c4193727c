"""A plan as steps: what one instruction makes at one time, for all samples and coordinates together.

A step is worked out once and carried out on many node sets. Averages of products of two families are one matrix product,
sums over earlier updates another, and the coefficients of these are a few operations on arrays of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.program.ir import MatMul, Moment, Nonlin, OuterNonlin, Program, Ref, Simple
from tp.readings.expression import Compiler
from tp.readings.families import Terms, product, split
from tp.readings.indexing import Edge, Env, Key
from tp.readings.members import Member, Plan
from tp.readings.ops import Add, Mul, Op, Outers, Over, SumOver
from tp.readings.tape import Leaf, Tape, Unrecorded, lanes, record, record_product, stacked

Array = NDArray[np.float64]
Places = NDArray[np.intp]
DENSE = 0.2
"""Share of wanted entries from which a whole table of products is computed."""


@dataclass(frozen=True, slots=True)
class Scalars:
    """``slots`` take the values of expressions in scalars."""

    members: tuple[Member, ...]
    slots: Places
    tapes: tuple[Tape, ...]  # one, in lanes, or one each


@dataclass(frozen=True, slots=True)
class Averages:
    """``slots`` take E[expression] over vectors of the group."""

    members: tuple[Member, ...]
    slots: Places
    tapes: tuple[Tape, ...]
    groups: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Products:
    """``slots`` take c E[a b]: the entries ``at`` of the table of ``rows`` and ``cols``."""

    members: tuple[Member, ...]
    slots: Places
    factor: float
    rows: tuple[Key, ...]
    cols: tuple[Key, ...]
    at: tuple[Places, Places]


@dataclass(frozen=True, slots=True)
class Combination:
    """Σ coefficient · vector: the tapes give the coefficients, at the places ``at`` of a table [members, rows]."""

    tapes: tuple[Tape, ...]
    at: tuple[Places, Places]
    rows: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors given by expressions, plus combinations of families."""

    members: tuple[Member, ...]
    tapes: tuple[Tape, ...]
    sums: tuple[Combination, ...]


@dataclass(frozen=True, slots=True)
class MatMuls:
    """Calls of one matrix in one direction; none of them depends on another."""

    members: tuple[Member, ...]
    ins: MatMul
    matrix: Key


@dataclass(frozen=True, slots=True)
class Entry:
    """A term of a matrix's entry: ``factor``, a number, times what ``tape`` gives, the same wherever ``name`` is.

    ``own`` are the vectors of the output's space that it reads, ``other`` those of the argument's.
    """

    name: Key
    factor: Tape
    tape: Tape
    own: tuple[Key, ...]
    other: tuple[Key, ...]

    @property
    def several(self) -> bool:
        """Whether it is a function of several vectors of both spaces."""
        return len(self.own) > 1 and len(self.other) > 1


@dataclass(frozen=True, slots=True)
class Updates:
    """One matrix of entries, or its transpose, times the arguments of the members."""

    members: tuple[Member, ...]
    ins: OuterNonlin
    entries: tuple[Entry, ...]


Step = Scalars | Averages | Products | Vectors | MatMuls | Updates


def paired(steps: Iterable[Step]) -> int:
    """How many updates are functions of several vectors of both of their spaces: they take pairs of nodes."""
    return len({entry.name for step in steps if isinstance(step, Updates) for entry in step.entries if entry.several})


@dataclass
class Stepper:
    """Writes a plan's members as steps. ``slot`` says where the scalars are; slot 0 holds 0."""

    program: Program
    plan: Plan
    compiler: Compiler
    edges: Mapping[str, tuple[Edge, ...]]
    vectors: frozenset[str]
    slot: Mapping[Key, int]

    def __post_init__(self) -> None:
        self.stored = set(self.plan.group)
        self.factors: dict[Op, tuple[tuple[Op, ...], Op]] = {}
        self.splits: dict[sp.Expr, tuple[tuple[Terms, ...], sp.Expr]] = {}

    def steps(self) -> Iterator[Step]:
        for ins, members in groupby((m for m in self.plan.members if not m.zero), key=lambda m: m.ins):
            for together in _independent(tuple(members)):
                yield from self.step(ins, together)

    def step(self, ins: Simple, members: tuple[Member, ...]) -> Iterator[Step]:
        match ins:
            case MatMul():
                for matrix in dict.fromkeys(m.matrix for m in members):
                    assert matrix is not None
                    yield MatMuls(tuple(m for m in members if m.matrix == matrix), ins, matrix)
            case OuterNonlin():
                yield from self.updates(ins, members)
            case Nonlin(space=None):
                yield Scalars(members, self.slots(members), self.together(self.compiler.op(ins.expr), members))
            case Nonlin():
                yield self.nonlin(ins, members)
            case Moment():
                pair = product(sp.expand_mul(ins.coeff * ins.expr), self.vectors.__contains__)
                if pair is not None:
                    yield from self.products(members, pair[0])
                    return
                op = self.compiler.op(ins.coeff * ins.expr)
                tapes = tuple(record(op, m.point, self.find) for m in members)
                groups = tuple(next((self.plan.group[k] for k in tape.keys), ()) for tape in tapes)
                yield Averages(members, self.slots(members), tapes, groups)

    def slots(self, members: Sequence[Member]) -> Places:
        return np.array([self.slot[m.out] for m in members], np.intp)

    def together(self, op: Op, members: tuple[Member, ...]) -> tuple[Tape, ...]:
        """One tape for all points, where they have the same form."""
        points = [m.point for m in members]
        return self.tapes(op, stacked(points), len(points))

    def tapes(self, op: Op, env: Mapping[str, Any], count: int) -> tuple[Tape, ...]:
        """``op`` in lanes; where that cannot be, lane by lane."""
        try:
            return (record(op, env, self.find),)
        except (Unrecorded, TypeError, ValueError):  # the latter: an index rounded or compared
            if count == 1:
                raise
        every = ({n: v[k] if isinstance(v, np.ndarray) else v for n, v in env.items()} for k in range(count))
        return tuple(record(op, point, self.find) for point in every)

    def find(self, ref: Ref, env: Mapping[str, Any]) -> Leaf:
        index = [self.compiler.value(e, env) for e in ref.index]
        lanes = max((np.size(i) for i in index if isinstance(i, np.ndarray)), default=0)
        edges = self.edges.get(ref.name, ())
        if lanes:
            at = np.array([self._slot(key, edges) for key in self.compiler.columns(ref, env, lanes)], np.intp)
            return Leaf(at, False, at == 0)
        key = self.plan.find(self.compiler.key(ref, env), edges)
        if ref.name in self.vectors:
            return Leaf(key, True, key not in self.stored)
        slot = 0 if key is None else self.slot.get(key, 0)
        return Leaf(slot, False, slot == 0)

    def _slot(self, key: Key, edges: tuple[Edge, ...]) -> int:
        found = self.plan.find(key, edges)
        return 0 if found is None else self.slot.get(found, 0)

    def updates(self, ins: OuterNonlin, members: tuple[Member, ...]) -> Iterator[Updates]:
        """Members with the same matrix of entries together."""
        op, indices = self.compiler.op(ins.entry), sorted(s.name for s in ins.entry.free_symbols)
        together: dict[Key, list[Member]] = {}
        for member in members:
            together.setdefault(tuple(member.point[name] for name in indices), []).append(member)
        for same in together.values():
            entries = (self.entry(ins, term, env) for term, env in _added(op, same[0].point))
            alive = (e for e in entries if not np.all(e.tape.zero) and not np.all(e.factor.zero))
            yield Updates(tuple(same), ins, tuple(alive))

    def entry(self, ins: OuterNonlin, op: Op, env: Env) -> Entry:
        """A term, with the numbers that multiply it apart."""
        if op not in self.factors:
            self.factors[op] = _factors(op)
        numbers, rest = self.factors[op]
        tape = record(rest, env, self.find)
        pairs = [pair for _, leaf in tape.leaves if leaf.wide for pair in leaf.at]
        rows, cols = (tuple(dict.fromkeys(pair[side] for pair in pairs)) for side in (1, 2))
        name = (ins.out.name, rest, *(env[index] for index in sorted(rest.free)))
        factor = record_product(numbers, env, self.find)
        return Entry(name, factor, tape, *((cols, rows) if ins.transpose else (rows, cols)))

    # ------------------------------------------------------------ products with families

    def products(self, members: tuple[Member, ...], factor: float) -> Iterator[Products]:
        pairs = [m.reads for m in members]
        rows, cols = (tuple(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
        if len(pairs) < DENSE * len(rows) * len(cols) and len(members) > 1:
            one = 0 if len(rows) <= len(cols) else 1
            chosen: dict[Key, list[Member]] = {}
            for pair, member in zip(pairs, members, strict=True):
                chosen.setdefault(pair[one], []).append(member)
            for some in chosen.values():
                yield from self.products(tuple(some), factor)
            return
        place = ({key: k for k, key in enumerate(rows)}, {key: k for k, key in enumerate(cols)})
        at = tuple(np.array([place[side][pair[side]] for pair in pairs], np.intp) for side in (0, 1))
        yield Products(members, self.slots(members), factor, rows, cols, (at[0], at[1]))

    def nonlin(self, ins: Nonlin, members: tuple[Member, ...]) -> Vectors:
        if ins.expr not in self.splits:
            self.splits[ins.expr] = split(ins.expr, self.vectors.__contains__)
        sums, rest = self.splits[ins.expr]
        tapes = tuple(record(self.compiler.op(rest), m.point, self.find) for m in members)
        found = (self.combination(terms, members) for terms in sums)
        return Vectors(members, tapes, tuple(c for c in found if c is not None))

    def combination(self, terms: Terms, members: tuple[Member, ...]) -> Combination | None:
        """The terms that are not 0 for certain."""
        owner, env = lanes(terms.ranges, self.compiler, [m.point for m in members])
        if not len(owner):
            return None
        op = self.compiler.op(terms.coefficient)
        edges = self.edges.get(terms.vector.name, ())
        keys = [self.plan.find(key, edges) for key in self.compiler.columns(terms.vector, env, len(owner))]
        alive = np.array([key in self.stored for key in keys])
        tapes = self.tapes(op, env, len(owner))
        alive &= np.broadcast_to(
            [~np.asarray(t.zero) for t in tapes] if len(tapes) > 1 else ~np.asarray(tapes[0].zero), len(owner)
        )
        if not alive.any():
            return None
        if not alive.all():
            env = {n: value[alive] if isinstance(value, np.ndarray) else value for n, value in env.items()}
            owner, keys = owner[alive], [key for key, lives in zip(keys, alive, strict=True) if lives]
            tapes = self.tapes(op, env, len(owner))
        rows = tuple(dict.fromkeys(key for key in keys if key is not None))
        place = {key: k for k, key in enumerate(rows)}
        return Combination(tapes, (owner, np.array([place[key] for key in keys if key is not None], np.intp)), rows)


def _independent(members: tuple[Member, ...]) -> Iterator[tuple[Member, ...]]:
    """Runs of members none of which reads what another of the run makes."""
    run: list[Member] = []
    made: set[Key] = set()
    for member in members:
        if not made.isdisjoint(member.reads):
            yield tuple(run)
            run, made = [], set()
        run.append(member)
        made.add(member.out)
    yield tuple(run)


def _added(op: Op, env: Env) -> Iterator[tuple[Op, Env]]:
    """The terms of an expression at a point, each with its indices."""
    match op:
        case SumOver(body=body):
            for k in op.indexer.interval(op.range, env):
                yield from _added(body, {**env, op.range.index.name: k})
        case Add(terms=parts):
            for part in parts:
                yield from _added(part, env)
        case _:
            yield op, env


def _factors(op: Op) -> tuple[tuple[Op, ...], Op]:
    """The factors of a product that are numbers, and the rest."""
    if not isinstance(op, Mul):
        return (), op
    numbers = tuple(f for f in op.factors if not _reads_outers(f))
    rest = tuple(f for f in op.factors if f not in numbers)
    free = frozenset().union(*(f.free for f in rest))
    return numbers, rest[0] if len(rest) == 1 else Mul(rest, free=free, active=True)


def _reads_outers(op: Op) -> bool:
    match op:
        case Outers():
            return True
        case Mul(factors=parts) | Add(terms=parts):
            return any(map(_reads_outers, parts))
        case Over(body=body):
            return _reads_outers(body)
    return any(map(_reads_outers, op.parts()))
