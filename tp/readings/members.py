"""A program written out member by member: what is needed for given scalars, and which vectors ever meet.

Two things follow that a program over families does not show. Members that nothing wanted depends on are left out (the
backward pass of the last step, samples outside a batch, whose adjoints are 0), and a member that only repeats another is that
other. And the vectors of one width space fall
into groups, such that all expectations are over vectors of one group: the two sides of a hidden matrix, typically. An
array over quadrature nodes needs only the dimensions of its group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sympy as sp

from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, OuterNonlin, Program, Ref, Simple
from tp.progress import tick
from tp.readings.expression import Compiler
from tp.readings.families import product
from tp.readings.indexing import Edge, Env, Key, resolve
from tp.readings.ops import Add, Call, Const, Frame, Mul, Op, Outers, Over, Power, Read, Select, SumOver
from tp.readings.parity import EVEN, Parity, function_of, total, vanishing
from tp.readings.parity import product as product_of
from tp.readings.tape import lanes

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """One instruction at one point: what it makes and what it reads, in order. ``zero``: it is 0 whatever it reads.

    ``argument`` is the x of an OuterNonlin, ``sides`` what its entry reads of the rows' space and of the columns'.
    """

    out: Key
    ins: Simple
    point: Env
    reads: tuple[Key, ...]
    zero: bool
    matrix: Key | None = None
    argument: Key | None = None
    sides: tuple[tuple[Key, ...], tuple[Key, ...]] = ((), ())


@dataclass
class Plan:
    """The members to be computed, in order, and the group of every vector."""

    members: list[Member]
    known: Mapping[Key, bool]  # every member there is, and whether it is 0 for certain
    group: dict[Key, Key]
    sizes: dict[Key, int]  # Gaussian dimensions of each group, at most
    alias: Mapping[Key, Key] = field(default_factory=dict)  # vectors that repeat another
    certain: frozenset[Key] = frozenset()  # members that are 0 at every width, where that was asked for

    def find(self, key: Key, edges: tuple[Edge, ...] = ()) -> Key | None:
        """The member that a read of ``key`` means; None for what is 0 for certain."""
        found = resolve(key, self.known, edges)
        return None if found is None or self.known[found] else self.alias.get(found, found)

    def dimensions(self) -> int:
        """Gaussian dimensions of the largest group, at most."""
        return max(self.sizes.values(), default=0)


@dataclass
class _Walk:
    compiler: Compiler
    edges: Mapping[str, tuple[Edge, ...]]
    zero: dict[Key, bool]
    vectors: frozenset[str]
    parity: dict[Key, Parity]
    members: list[Member] = field(default_factory=list)
    sides: tuple[dict[Key, None], dict[Key, None]] = ({}, {})
    alias: dict[Key, Key] = field(default_factory=dict)
    pairs: dict[Instruction, tuple[Ref, Ref] | None] = field(default_factory=dict)
    certain: set[Key] | None = None  # what is 0 at every width; None where nobody asks
    wanted: frozenset[Key] = frozenset()  # all, when there are none

    def read(self, key: Key) -> None:
        """An expression's values are not known here: conditions on indices alone are."""
        raise AssertionError(key)

    def body(self, body: Iterable[Instruction], env: Env) -> None:
        for ins in body:
            if isinstance(ins, Loop):
                values = self.compiler.interval(ins.range, env)
                for value in reversed(values) if ins.reverse else values:
                    self.body(ins.body, {**env, ins.range.index.name: value})
                continue
            pair = self.pair(ins)
            if pair is not None:
                self.products(ins, env, *pair)
                continue
            for point in self.compiler.points(ins.domain, env):
                self.member(ins, point)

    def pair(self, ins: Instruction) -> tuple[Ref, Ref] | None:
        """The vectors of an average of a product of two."""
        if ins not in self.pairs:
            found = None
            if isinstance(ins, Moment):
                found = product(sp.expand_mul(ins.coeff * ins.expr), self.vectors.__contains__)
            self.pairs[ins] = None if found is None else found[1:]
        return self.pairs[ins]

    def products(self, ins: Instruction, env: Env, x: Ref, y: Ref) -> None:
        """Updates need very many of these, and most are 0: each side is looked up once for all products that it stands in."""
        assert isinstance(ins, Moment)
        owner, at = lanes(ins.domain, self.compiler, [env])
        outs = self.compiler.columns(ins.out, at, len(owner))
        (left, one), (right, two) = (self.side(ref, at, len(owner)) for ref in (x, y))
        pairs, which = distinct([one, two], len(owner))
        table = [self.vanish(left[a], right[b]) for a, b in zip(one[pairs].tolist(), two[pairs].tolist(), strict=True)]
        zero = np.array(table, bool)[which]
        self.zero.update(zip(outs, zero.tolist(), strict=True))
        if self.certain is not None:
            sure = [np.array([key is None or key in self.certain for key in side], bool) for side in (left, right)]
            self.certain.update(outs[k] for k in np.flatnonzero(sure[0][one] | sure[1][two]).tolist())
        found = range(len(outs)) if self.answers(ins) else np.flatnonzero(~zero).tolist()
        for k in found:
            read = (left[one[k]], right[two[k]])
            point = {r.index.name: int(np.broadcast_to(at[r.index.name], len(owner))[k]) for r in ins.domain}
            reads = () if zero[k] else tuple(key for key in read if key is not None)
            self.members.append(Member(outs[k], ins, {**env, **point}, reads, bool(zero[k])))
        tick(len(outs))

    def side(self, ref: Ref, at: Mapping[str, Any], count: int) -> tuple[list[Key | None], Array]:
        """The different members that ``ref`` means, and which of them it means in each lane."""
        first, which = distinct([np.broadcast_to(self.compiler.value(e, at), count) for e in ref.index], count)
        few = {name: value[first] if isinstance(value, np.ndarray) else value for name, value in at.items()}
        return [self.resolve(key) for key in self.compiler.columns(ref, few, len(first))], which

    def vanish(self, x: Key | None, y: Key | None) -> bool:
        """Whether an average of a product of two vectors is 0."""
        if x is None or y is None or self.zero[x] or self.zero[y]:
            return True
        return vanishing(self.parity.get(x, EVEN), self.parity.get(y, EVEN))

    def answers(self, ins: Moment) -> bool:
        """Whether some of what is made may be wanted though it is 0."""
        return not self.wanted or any(key[0] == ins.out.name for key in self.wanted)

    def asked(self, out: Key, zero: bool) -> bool:
        """Whether a member may be needed: nothing reads what is 0."""
        return not zero or not self.wanted or out in self.wanted

    def member(self, ins: Simple, point: Env) -> None:
        tick()
        if self.certain is not None and self.vanishes(ins, point):
            self.certain.add(self.compiler.key(ins.out, point))
        if isinstance(ins, OuterNonlin):
            self.outer(ins, point)
            return
        out = self.compiler.key(ins.out, point)
        found: dict[Key, None] = {}
        matrix = None
        if isinstance(ins, MatMul):
            x = self.resolve(self.compiler.key(ins.x, point))
            matrix = self.compiler.key(ins.W, point)
            parity = self.parity.get(matrix, EVEN).times(EVEN if x is None else self.parity.get(x, EVEN))
            zero = x is None or self.zero[x] or matrix not in self.zero
            found = {} if zero or x is None else {x: None}
        else:
            op = self.compiler.op(ins.expr if isinstance(ins, Nonlin) else ins.coeff * ins.expr)
            of_all = self.expression(op, Frame(point, self, vector=True), found)
            zero = of_all is None or (isinstance(ins, Moment) and of_all.vanishes)
            parity = of_all or EVEN
            if isinstance(op, Read) and isinstance(ins, Nonlin) and op.ref.name in self.vectors and not zero:
                (self.alias[out],) = found
        self.zero[out] = zero
        if out[0] in self.vectors and not parity.even:
            self.parity[out] = parity
        if self.asked(out, zero):
            self.members.append(Member(out, ins, point, () if zero else tuple(found), zero, matrix))

    def outer(self, ins: OuterNonlin, point: Env) -> None:
        out, x = self.compiler.key(ins.out, point), self.resolve(self.compiler.key(ins.x, point))
        self.sides = ({}, {})
        found: dict[Key, None] = {}
        entry = None
        if x is not None and not self.zero[x]:
            entry = self.expression(self.compiler.op(ins.entry), Frame(point, self, vector=True), found)
        zero = entry is None
        self.zero[out] = zero
        if entry is not None and x is not None:
            self.parity[out] = entry.times(self.parity.get(x, EVEN))
        reads = () if zero or x is None else tuple({**found, x: None})
        self.members.append(Member(out, ins, point, reads, zero, None, x, (tuple(self.sides[0]), tuple(self.sides[1]))))

    def outers(self, op: Outers, at: Frame, found: dict[Key, None]) -> Parity | None:
        """None where all of its terms are 0."""
        terms: list[Parity | None] = []
        for env in self.compiler.points(op.ranges, at.env):
            inner = Frame(env, self, vector=True)
            pair = [self.resolve(read.key(inner)) for read in (op.u, op.v)]
            if any(key is None or self.zero[key] for key in pair) or self.expression(op.coefficient, inner, {}) is None:
                continue
            for key, side in zip(pair, self.sides, strict=True):
                assert key is not None
                side[key] = found[key] = None
            terms.append(product_of(self.parity.get(key, EVEN) for key in pair if key is not None))
        return self.sum(terms)

    def vanishes(self, ins: Simple, point: Env) -> bool:
        """Whether what an instruction makes is 0 at every width, not in the limit alone."""
        assert self.certain is not None
        if isinstance(ins, (MatMul, OuterNonlin)):
            x = self.resolve(self.compiler.key(ins.x, point))
            if x is None or x in self.certain:
                return True
        if isinstance(ins, MatMul):
            return False
        of = ins.entry if isinstance(ins, OuterNonlin) else ins.coeff * ins.expr if isinstance(ins, Moment) else ins.expr
        return self.nothing(self.compiler.op(of), Frame(point, self, vector=True))

    def nothing(self, op: Op, at: Frame) -> bool:
        """Whether an expression is 0 at every width."""
        assert self.certain is not None
        match op:
            case Read():
                key = self.resolve(op.key(at))
                return key is None or key in self.certain
            case Outers():
                frames = (Frame(env, self, vector=True) for env in self.compiler.points(op.ranges, at.env))
                return all(any(self.nothing(part, inner) for part in (op.coefficient, op.u, op.v)) for inner in frames)
            case Mul(factors=factors):
                return any(self.nothing(f, at) for f in factors)
            case Add(terms=terms):
                return all(self.nothing(t, at) for t in terms)
            case SumOver(body=body):
                return all(self.nothing(body, inner) for inner in op.frames(at))
            case Select() if not any(side.active for side in op.compared):
                return all(self.nothing(branch, at) for _, branch in op.open(at))
            case Call(args=(arg,)):
                return self.nothing(arg, at) and bool(op.fn.value(np.float64(0)) == 0)
            case Power(base=base, exponent=Const(number=exponent)):
                return bool(exponent > 0) and self.nothing(base, at)
        return not op.active and bool(at.value(op) == 0)

    def resolve(self, key: Key) -> Key | None:
        found = resolve(key, self.zero, self.edges.get(key[0], ()))
        return None if found is None else self.alias.get(found, found)

    def expression(self, op: Op, at: Frame, found: dict[Key, None]) -> Parity | None:
        """None where ``op`` is 0 because a factor is, else its parity; what it reads then goes to ``found``."""
        match op:
            case Read():
                key = self.resolve(op.key(at))
                if key is None or self.zero[key]:
                    return None
                found[key] = None
                return self.parity.get(key, EVEN)
            case Outers():
                return self.outers(op, at, found)
            case Mul(factors=factors):
                inside: dict[Key, None] = {}
                parities = []
                for factor in factors:
                    parity = self.expression(factor, at, inside)
                    if parity is None:
                        return None
                    parities.append(parity)
                found |= inside
                return product_of(parities)
            case Add(terms=terms):
                return self.sum([self.expression(t, at, found) for t in terms])
            case SumOver(body=body):
                return self.sum([self.expression(body, inner, found) for inner in op.frames(at)])
            case Select() if not any(side.active for side in op.compared):
                return self.sum([self.expression(branch, at, found) for _, branch in op.open(at)])
        if not op.active:
            return None if at.value(op) == 0 else EVEN
        if isinstance(op, Over):
            parts = [self.expression(op.body, inner, found) for inner in op.frames(at)]
        else:
            parts = [self.expression(part, at, found) for part in op.parts()]
        return function_of(op, [EVEN if p is None else p for p in parts])

    @staticmethod
    def sum(parts: list[Parity | None]) -> Parity | None:
        """None where all terms are 0."""
        kept = [p for p in parts if p is not None]
        return total(kept) if kept else None


def written_out(
    program: Program,
    compiler: Compiler,
    edges: Mapping[str, tuple[Edge, ...]],
    env: Env,
    zero: Mapping[Key, bool],
    wanted: Iterable[Key],
    parity: Mapping[Key, Parity],
    certainly: bool = False,
) -> Plan:
    """The plan that computes ``wanted`` (everything, when that is empty).

    ``zero`` says of the given members which are 0, ``parity`` in what weights and matrices are odd: in themselves, if centred.
    ``certainly``: find out what is 0 at every width too.
    """
    walk = _Walk(compiler, edges, dict(zero), vector_names(program), dict(parity), wanted=frozenset(wanted))
    walk.certain = {key for key, given in zero.items() if given} if certainly else None
    walk.body(program.body, env)
    needed = {walk.alias.get(key, key) for key in wanted} or {m.out for m in walk.members}
    kept = []
    for member in reversed(walk.members):
        if member.out in needed and member.out not in walk.alias:
            needed.update(member.reads)
            kept.append(member)
    kept.reverse()
    found = _grouped(program, kept, needed, zero, walk.zero)
    return replace(found, alias=walk.alias, certain=frozenset(walk.certain or ()))


def vector_names(program: Program) -> frozenset[str]:
    """The families of vectors: weights of one width axis, and what is made from them."""
    from tp.transform.backprop import flat

    made = {ins.out.name for ins, _ in flat(program.body) if not isinstance(ins, Moment) and ins.space is not None}
    return frozenset(made | {w.ref.name for w in program.weights if w.cols is None and w.rows is not None})


def _grouped(
    program: Program, members: list[Member], needed: set[Key], given: Mapping[Key, bool], known: Mapping[Key, bool]
) -> Plan:
    names = {w.ref.name for w in program.weights if w.cols is None and w.rows is not None}
    vectors = {key for key in given if key[0] in names and key in needed}
    vectors |= {m.out for m in members if not isinstance(m.ins, Moment) and m.ins.space is not None}
    union = _Union()
    for member in members:
        for together in _meeting(member, vectors):
            union.join(together)
    group = {v: union.find(v) for v in vectors}
    sizes: dict[Key, int] = {}
    for key in [k for k in vectors if k in given] + [m.out for m in members if m.matrix is not None and not m.zero]:
        sizes[group[key]] = sizes.get(group[key], 0) + 1
    return Plan(members, known, group, sizes)


def _meeting(member: Member, vectors: set[Key]) -> list[list[Key]]:
    """Vectors that share expectations by ``member``; ("rows", W) and ("cols", W) stand for the sides of a matrix."""
    ins = member.ins
    if isinstance(ins, MatMul):
        own, other = ("cols", "rows") if ins.transpose else ("rows", "cols")
        matrix = member.matrix or ()
        return [[(own, *matrix), member.out], [(other, *matrix), *member.reads]]
    if isinstance(ins, OuterNonlin):
        rows, cols = member.sides
        argument = [member.argument] if member.argument is not None and not member.zero else []
        return [[*rows, *argument], [*cols, member.out]] if ins.transpose else [[*rows, member.out], [*cols, *argument]]
    together = [r for r in member.reads if r in vectors]
    return [[*together, member.out] if member.out in vectors else together]


def distinct(columns: list[Array], count: int) -> tuple[Array, Array]:
    """Of rows with these columns one lane for each different one, and for each lane which it is."""
    code = np.zeros(count, np.intp)
    for column in columns:
        values, at = np.unique(column, return_inverse=True)
        code = np.unique(code * len(values) + at, return_inverse=True)[1]
    return np.unique(code, return_index=True, return_inverse=True)[1:]


class _Union:
    """Disjoint sets."""

    def __init__(self) -> None:
        self.parent: dict[Key, Key] = {}

    def find(self, key: Key) -> Key:
        root = key
        while self.parent.get(root, root) != root:
            root = self.parent[root]
        while self.parent.get(key, key) != root:
            self.parent[key], key = root, self.parent[key]
        return root

    def join(self, keys: list[Key]) -> None:
        for key in keys[1:]:
            self.parent[self.find(key)] = self.find(keys[0])
