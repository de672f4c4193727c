"""A program's instructions at a few representative indices, so that depth costs nothing.

Of a loop over l in 2..L the members 2, 3 and L are kept; a read elsewhere goes to the nearest representative. Indices that
nothing recurs over (positions, tokens, coordinates of finite axes) are alike, and one or two of them are kept, and one of those
that are written apart (:mod:`tp.readings.scale.parts`).
A bound that was left symbolic counts as 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product as product_of
from typing import Any

import sympy as sp

from tp.errors import NOWHERE, LimitError, Message
from tp.program.ir import Domain, Instruction, Loop, MatMul, Moment, Nonlin, Program, Range, Ref, Simple, Space, Sum, Weight
from tp.program.reads import flat as simple
from tp.program.reads import plain
from tp.readings.scale.concrete import Block, Concrete, Matrix, MatrixUse, Member, Standing, VectorWeight
from tp.readings.scale.depth import Depth, carried
from tp.readings.scale.expressions import Compiler, Env, Op, Widths
from tp.readings.scale.forms import Leaves
from tp.readings.scale.hoist import product
from tp.readings.scale.parts import represent
from tp.transform.backprop import backprop
from tp.transform.parametrize import parameters

SYMBOLIC_BOUND = 8


def concrete(program: Program, growth: dict[str, Fraction], depth: Depth | None = None) -> Concrete:
    """``program`` with its backward pass from the sum of its outputs; with a ``depth``, blocks stand for many like them."""
    total = _fresh("total", program)
    outputs = []
    domains = {}
    for ins, domain in _flat(program.body, ()):
        domains[ins.out.name] = domain
    for output in program.outputs:
        ranges = [r for r in domains[output.name] if r.index in output.free_symbols]
        term: sp.Expr = output
        for r in ranges:
            term = Sum(term, (r.index, r.lo, r.hi))
        outputs.append(term)
    last = Nonlin(Ref(total), sp.Add(*outputs), None, ())
    whole = Program(**{**_fields(program), "body": (*program.body, last), "outputs": (Ref(total),)})
    backward = backprop(whole, Ref(total), sp.S.One)
    return _Writer(program, backward, growth, total, depth).run()


def _fields(program: Program) -> dict[str, Any]:
    return {name: getattr(program, name) for name in Program.__dataclass_fields__}


def _fresh(name: str, program: Program) -> str:
    taken = {i.out.name for i in simple(program.body)} | {w.ref.name for w in program.weights}
    taken |= {d.ref.name for d in program.data}
    while name in taken:
        name += "_"
    return name


def _flat(body: Sequence[Instruction], outer: Domain) -> Iterable[tuple[Simple, Domain]]:
    for ins in body:
        if isinstance(ins, Loop):
            yield from _flat(ins.body, (*outer, ins.range))
        else:
            yield ins, (*outer, *ins.domain)


@dataclass
class _Writer:
    program: Program
    backward: Any
    growth: dict[str, Fraction]
    total: str
    depth: Depth | None = None
    keys: dict[str, dict[tuple[int, ...], int]] = field(default_factory=dict)
    matrix_keys: dict[str, dict[tuple[int, ...], int]] = field(default_factory=dict)
    representatives: dict[str, list[int]] = field(default_factory=dict)

    def run(self) -> Concrete:
        symbol = self.depth.symbol if self.depth else None
        self.made = Concrete(Leaves(), depth=symbol)
        self.widths = Widths(self.growth, symbol)
        self.streams, self.through = carried(self.backward.program) if self.depth else (frozenset(), frozenset())
        self.member_of: dict[int, Member] = {}
        self.fresh_matrices: set[int] = set()
        self.fresh_letters: dict[int, int] = {}  # slot of a block's own vector weight: its letter
        self.bounds = {s.name: SYMBOLIC_BOUND for s in self.program.constants}
        given = frozenset({d.ref.name for d in self.program.data} | set(self.program.tables))
        self.compiler = Compiler(
            self.made.leaves, self.widths, self._slot, self._values, self._stands, given, self._crowd if self.depth else None
        )
        self.forward = {i.out.name for i in simple(self.program.body)}
        self.edges = self.backward.program.boundary
        body = simple(self.backward.program.body)
        self.indices = self._named_slots(body)
        self._choose()
        self.made.parameters = parameters(self.program)
        for name, w in self.made.parameters.items():
            self._weight(name, w)
        self.vector_slots = {v.slot for v in self.made.vectors}
        self._body(self.backward.program.body, dict(self.bounds))
        for use in self.backward.uses:
            self._use(use)
        self._gradients()
        self.made.outputs = {s for ref in self.program.outputs for s in self.keys.get(ref.name, {}).values()}
        self.made.constants = tuple(self.widths.unknowns)
        self.made.deep_constants = tuple(self.widths.deep_unknowns)
        own = {name for name, w in self.made.parameters.items() if self._grows(w.domain)}
        shared = {self.made.matrices[use.matrix].parameter for use in self.made.uses if use.block >= 0}
        self.made.inside = frozenset(own | shared)
        self.made.ways = self.streams | self.through
        self.made.standing = tuple(self._standing())
        averages = (m for m in self.made.members if m.kind == "moment" and m.out[0] in self.program.temps)
        self.made.divisors = frozenset().union(*(m.op.divisors() for m in self.made.members))
        self.made.passing = frozenset(m.slot for m in averages) - self.made.outputs
        return self.made

    def _named_slots(self, body: Iterable[Simple]) -> dict[str, list[str]]:
        """Per family the index in each slot, for bounds of a slot may use other slots; of adjoints also those of the family."""
        found: dict[str, list[str]] = {}
        for ins in body:
            names = found.setdefault(ins.out.name, [""] * len(ins.out.index))
            found[ins.out.name] = [n or (e.name if e.is_Symbol else "") for n, e in zip(names, ins.out.index, strict=True)]
        for name, adjoint in self.backward.adjoint.items():
            if name in found and adjoint in found:
                found[adjoint] = [a or b for a, b in zip(found[adjoint], found[name], strict=True)]
        return found

    # ------------------------------------------------------------ representatives

    def _choose(self) -> None:
        """Per index name: first, second and last of a loop; the middle of what is parallel, two if matrices differ."""
        loops = self.loops = {r.index.name for b in (self.program.body, self.backward.program.body) for r in _loops(b)}
        weights = {r.index.name for w in self.program.weights if w.cols is not None for r in w.domain}
        ranges = [r for _, domain in _flat(self.program.body, ()) for r in domain]
        ranges += [r for w in self.program.weights for r in w.domain]
        constants = set(self.program.constants)
        ranges_ = [*ranges, *(r for b in (self.program.body, self.backward.program.body) for r in _loops(b))]
        self.symbolic = {r.index.name: r.hi.name for r in ranges_ if r.hi in constants}
        for r in ranges:
            name = r.index.name
            if (r.lo.free_symbols | r.hi.free_symbols) - set(self.program.constants):
                continue
            lo, hi = (self.compiler.integer(e, self.bounds) for e in (r.lo, r.hi))
            chosen = [lo, lo + 1, hi] if name in loops else [lo, hi] if name in weights else [(lo + hi + 1) // 2]
            kept = self.representatives.setdefault(name, [])
            kept.extend(v for v in chosen if lo <= v <= hi and v not in kept)
            kept.sort()
        self._reach()
        body, declared = _flat(self.backward.program.body, ()), self.program.weights
        self.apart = represent(body, self.backward.adjoint, declared, loops, self._known, self.representatives)

    def _reach(self) -> None:
        """A range that ends at another index, s in 1..t-1, has a representative where that index has one."""
        for _, domain in _flat(self.backward.program.body, ()):
            for r in domain:
                names = {s.name for s in r.lo.free_symbols | r.hi.free_symbols} - self.bounds.keys()
                kept = self.representatives.get(r.index.name.rstrip("_*'"))
                if not names or kept is None or not names <= self.representatives.keys():
                    continue
                for values in product_of(*(self.representatives[n] for n in sorted(names))):
                    env = {**self.bounds, **dict(zip(sorted(names), values, strict=True))}
                    lo, hi = (self.compiler.integer(e, env) for e in (r.lo, r.hi))
                    if lo <= hi and not any(lo <= v <= hi for v in kept):
                        kept.append((lo + hi + 1) // 2)
                        kept.sort()

    def _standing(self) -> Iterator[Standing]:
        """What every representative stands for, of the indices of the network's own variables."""
        families: dict[str, set[str]] = {}
        ends: dict[str, tuple[list[int], list[int]]] = {}
        for ins, domain in _flat(self.program.body, ()):
            for r in (r for r in domain if r.index in ins.out.index and not r.index.name.startswith("j_")):
                families.setdefault(r.index.name, set()).add(ins.out.name)
                los, his = ends.setdefault(r.index.name, ([], []))
                los += [v] if (v := self._known(r.lo)) is not None else []
                his += [v] if (v := self._known(r.hi)) is not None else []
        for name, found in families.items():
            kept, (los, his) = self.representatives.get(name, []), ends[name]
            for k, value in enumerate(kept if los and his else ()):
                first = min(value, *los) if k == 0 else value
                last = kept[k + 1] - 1 if k + 1 < len(kept) else max(value, *his)
                bound = {SYMBOLIC_BOUND: f"{self.symbolic.get(name)}", SYMBOLIC_BOUND - 1: f"{self.symbolic.get(name)}-1"}
                at, lo, hi = (bound.get(v, str(v)) if name in self.symbolic else str(v) for v in (value, first, last))
                yield Standing(name, at, lo, hi, frozenset(found))

    def _known(self, expr: sp.Expr) -> int | None:
        """The value of a bound; None where it depends on other indices."""
        return None if {s.name for s in expr.free_symbols} - set(self.bounds) else self.compiler.integer(expr, self.bounds)

    def _stands(self, index: str, at: int) -> int:
        """The representative of the value ``at`` of an index."""
        kept = self.representatives.get(index.rstrip("_*'")) or [at]
        return max((v for v in kept if v <= at), default=kept[0])

    def _values(self, index: sp.Symbol, lo: int, hi: int) -> list[int]:
        name = index.name.rstrip("_*'")
        chosen = self.representatives.get(index.name) or self.representatives.get(name) or [lo, lo + 1, hi]
        return [v for v in chosen if lo <= v <= hi] or ([hi] if lo <= hi else [])

    def _points(self, domain: Domain, env: Env) -> list[dict[str, int]]:
        if not domain:
            return [dict(env)]
        own = {r.index for r in domain}
        head = next(r for r in domain if not (r.lo.free_symbols | r.hi.free_symbols) & own)
        rest = tuple(r for r in domain if r is not head)
        return [p for v in self._interval(head, env) for p in self._points(rest, {**env, head.index.name: v})]

    def _interval(self, r: Range, env: Env) -> list[int]:
        return self._values(r.index, self.compiler.integer(r.lo, env), self.compiler.integer(r.hi, env))

    def _slot(self, name: str, index: tuple[int, ...]) -> int | None:
        edges = self.edges.get(name, ())
        env = {**self.bounds, **dict(zip(self.indices.get(name, ()), index, strict=False))} if edges else {}
        for (mode, lo, hi), at in zip(edges, index, strict=False):
            if mode == "zero" and not self.compiler.integer(lo, env) <= at <= self.compiler.integer(hi, env):
                return None
        return _nearest(self.keys.get(name, {}), index)

    # ------------------------------------------------------------ blocks

    def _grows(self, domain: Domain) -> bool:
        """Whether a range of ``domain`` ends at the depth."""
        return self.depth is not None and any(s.name == self.depth.symbol for r in domain for s in r.hi.free_symbols)

    def _crowd(self, op: Op) -> Op:
        """``op`` of one block, summed over all blocks that it stands for."""
        return Op("crowd", (op, self._block(op.slots()))) if op.kind != "zero" else op

    def _block(self, slots: Iterable[int]) -> int:
        """The number of the block whose matrices and vectors are read on the way back to a stream."""
        matrices: set[int] = set()
        letters, seen, front = 0, set(), list(slots)
        while front:
            slot = front.pop()
            if slot in seen:
                continue
            seen.add(slot)
            letters |= self.fresh_letters.get(slot, 0)
            m = self.member_of.get(slot)
            if m is None or m.out[0] in self.streams:
                continue
            if m.matrix in self.fresh_matrices:
                matrices.add(m.matrix)
            front += m.op.slots() if m.x is None else (m.x,)
        block = Block(tuple(sorted(matrices)), letters)
        if block not in self.made.blocks:
            self.made.blocks.append(block)
        return self.made.blocks.index(block)

    def _streamed(self, op: Op, name: str) -> Op:
        """x[l] = x[l-1] + …: what is added, by the blocks that this one stands for."""
        carry, added = self._split(op, name)
        return Op("add", (*carry, self._crowd(_added(added)))) if carry and added else op

    def _split(self, op: Op, name: str) -> tuple[list[Op], list[Op]]:
        carry: list[Op] = []
        added: list[Op] = []
        for part in op.args if op.kind == "add" else (op,):
            m = self.member_of.get(part.args[0]) if part.kind == "read" else None
            if m is not None and m.out[0] == name:
                carry.append(part)
            elif m is not None and m.out[0] in self.through:
                inner, more = self._split(m.op, name)
                carry += inner
                added += more if inner else [part]
            else:
                added.append(part)
        return carry, added

    # ------------------------------------------------------------ weights

    def _half(self, space: Space | None) -> int:
        if space is None:
            return 0
        size = self.widths.size(space.size, NOWHERE)
        return self.made.leaves.leaf(_halved(size))

    def _weight(self, name: str, w: Weight) -> None:
        for point in self._points(w.domain, self.bounds):
            index = tuple(self.compiler.integer(e, point) for e in w.ref.index)
            if w.cols is not None:
                self.matrix_keys.setdefault(w.ref.name, {})[index] = len(self.made.matrices)
                if self._grows(w.domain):
                    self.fresh_matrices.add(len(self.made.matrices))
                self.made.matrices.append(Matrix((w.ref.name, *index), name, self._half(w.rows), self._half(w.cols)))
                continue
            constant = w.variance == 0
            letter = (0, 0) if constant else (1 << self.made.letters, 0)
            self.made.letters += not constant
            slot = self._new(w.ref.name, index)
            if self._grows(w.domain):
                self.fresh_letters[slot] = letter[0]
            self.made.vectors.append(VectorWeight((w.ref.name, *index), name, slot, letter, None, self._half(w.rows)))

    def _new(self, name: str, index: tuple[int, ...]) -> int:
        slot = self.made.slots
        self.made.slots += 1
        self.keys.setdefault(name, {})[index] = slot
        return slot

    def _gradients(self) -> None:
        found = []
        for v in self.made.vectors:
            family = self.backward.adjoint.get(v.key[0])
            slot = _nearest(self.keys.get(family, {}), v.key[1:]) if family else None
            found.append(VectorWeight(v.key, v.parameter, v.slot, v.letter, slot, v.half))
        self.made.vectors = found

    def _use(self, use: Any) -> None:
        for point in self._points(use.domain, self.bounds):
            matrix = self._at(use.W, point, self.matrix_keys)
            x, out = self._at(use.x, point, self.keys), self._at(use.d_out, point, self.keys)
            if matrix is not None and x is not None and out is not None:
                shared = self._grows(use.domain) and matrix not in self.fresh_matrices
                block = self._block((out, x)) if shared else -1
                item = MatrixUse(matrix, out, x, use.transpose, block)
                if item not in self.made.uses:
                    self.made.uses.append(item)

    def _at(self, ref: Ref, env: Env, keys: dict[str, dict[tuple[int, ...], int]]) -> int | None:
        index = tuple(self.compiler.integer(e, env) for e in ref.index)
        return self._slot(ref.name, index) if keys is self.keys else _nearest(keys.get(ref.name, {}), index)

    # ------------------------------------------------------------ instructions

    def _body(self, body: Sequence[Instruction], env: Env) -> None:
        for ins in body:
            if isinstance(ins, Loop):
                values = self._interval(ins.range, env)
                for v in reversed(values) if ins.reverse else values:
                    self._body(ins.body, {**env, ins.range.index.name: v})
                continue
            for point in self._points(ins.domain, env):
                self._instruction(plain(ins, "scaling"), point)

    def _instruction(self, ins: MatMul | Nonlin | Moment, env: Env) -> None:
        index = tuple(self.compiler.integer(e, env) for e in ins.out.index)
        out, forward = (ins.out.name, *index), ins.out.name in self.forward
        alike = tuple(k for k, e in enumerate(ins.out.index) if isinstance(e, sp.Symbol) and e.name not in self.loops)
        alike = tuple(k for k in alike if (ins.out.index[k].name, index[k]) not in self.apart)
        if isinstance(ins, MatMul):
            matrix, x = self._at(ins.W, env, self.matrix_keys), self._at(ins.x, env, self.keys)
            if matrix is None:
                raise LimitError(Message(ins.span, f"`{ins.W}` is no matrix of this program", heading="no scaling rule"))
            factors = (ins.W, ins.x)
            slot = self._new(ins.out.name, index)
            item = Member(
                slot,
                out,
                "matmul",
                ins.span,
                forward,
                True,
                matrix=matrix,
                transpose=ins.transpose,
                x=x,
                parallel=alike,
                **self._named(ins, index),
                **self._spelled(factors, env, ins.transpose),
            )
            self._add(item)
            return
        averaged = isinstance(ins, Moment)
        expr = ins.coeff * ins.expr if isinstance(ins, Moment) else ins.expr
        op = self.compiler.op(expr, env, ins.span)
        if ins.out.name in self.streams:
            op = self._streamed(op, ins.out.name)
        reads = tuple(s for s in op.slots() if s in self.vector_slots) if forward else ()
        half = self._half(ins.space) if averaged else 0
        slot = self._new(ins.out.name, index)
        vector = not averaged and ins.space is not None
        kind = "moment" if averaged else "nonlin"
        named = self._named(ins, index)
        found = product(ins.expr) if ins.out.name in self.backward.program.temps else None
        text = self._spelled(found, env) if found else {}
        more = {"half": half, "weights": reads, "parallel": alike, **named, **text}
        self._add(Member(slot, out, kind, ins.span, forward, vector, op, **more))

    def _named(self, ins: MatMul | Nonlin | Moment, index: tuple[int, ...]) -> dict[str, Any]:
        """What people call a member: by the symbol where an index is at a bound that is one, and without a finite axis's."""
        shown, last, inner = [str(v) for v in index], [], []
        for k, (e, v) in enumerate(zip(ins.out.index, index, strict=True)):
            bound = self.symbolic.get(e.name) if isinstance(e, sp.Symbol) else None
            if v == SYMBOLIC_BOUND and (bound or e.free_symbols & set(self.program.constants)):
                shown[k] = bound or str(e)
                last.append(k)
            elif bound:
                inner.append(k)
        middle = [str(e) if k in inner else v for k, (v, e) in enumerate(zip(shown, ins.out.index, strict=True))]
        shown = [v for v, e in zip(shown, ins.out.index, strict=True) if not str(e).startswith("j_")]
        name = f"{ins.out.name}[{', '.join(shown)}]" if shown else ins.out.name
        return {"name": name, "last": tuple(last), "inner": f"{ins.out.name}[{', '.join(middle)}]" if inner else ""}

    def _spelled(self, factors: tuple[Ref, Ref], env: Env, transpose: bool = False) -> dict[str, Any]:
        """A product as it is written, and with its indices; a bound that is a symbol stands for its value."""
        at = {sp.Symbol(i, integer=True): sp.Symbol(b) for i, b in self.symbolic.items() if env.get(i) == SYMBOLIC_BOUND}
        named = [Ref(r.name, *(self._numbered(e, at, env) for e in r.index)) for r in factors]
        texts = (f"{W}{'.T' if transpose else ''} @ {x}" for W, x in (factors, named))
        return dict(zip(("text", "place"), texts, strict=True))

    def _numbered(self, e: sp.Expr, at: dict[sp.Symbol, sp.Symbol], env: Env) -> sp.Expr:
        return e.subs(at) if e.free_symbols & at.keys() else sp.Integer(self.compiler.integer(e, env))

    def _add(self, m: Member) -> None:
        self.made.members.append(m)
        self.member_of[m.slot] = m


def _refs(ins: MatMul | Nonlin | Moment) -> set[Ref]:
    """What an instruction reads."""
    if isinstance(ins, MatMul):
        return {ins.x}
    return set(ins.expr.atoms(Ref))


def _loops(body: Sequence[Instruction]) -> Iterable[Range]:
    for ins in body:
        if isinstance(ins, Loop):
            yield ins.range
            yield from _loops(ins.body)


def _nearest(members: dict[tuple[int, ...], int], index: tuple[int, ...]) -> int | None:
    """Slot by slot: the largest index that is there and not above, else the smallest."""
    if index in members:
        return members[index]
    candidates = [k for k in members if len(k) == len(index)]
    for place, at in enumerate(index):
        values = {k[place] for k in candidates}
        if not values:
            return None
        below = [v for v in values if v <= at]
        chosen = max(below) if below else min(values)
        candidates = [k for k in candidates if k[place] == chosen]
    return members[candidates[0]] if candidates else None


def _added(ops: list[Op]) -> Op:
    return ops[0] if len(ops) == 1 else Op("add", tuple(ops))


def _halved(form: Any) -> Any:
    return type(form)().plus(form, Fraction(1, 2))
