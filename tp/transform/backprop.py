"""``backprop``: a program becomes the program of its gradients; a loop's backward pass is a loop.

For a scalar ``f`` and a scale ``N`` every variable v gets an adjoint ``d_v = N · ∂f/∂v`` (vectors; the paper's dv with
N = n^ω such that the last one is Θ(1)) or ``d_θ = ∂f/∂θ`` (scalars). Adjoints are gathered: the adjoint of ``v[s]`` sums
over all instructions and indices that read ``v`` at ``s``.

- ``y = W x``: ``d_x += Wᵀ d_y``;
- ``y = φ(x; θ)``: ``d_x += ∂φ/∂x · d_y``,  ``d_θ += (n/N) avg(∂φ/∂θ · d_y)``;
- ``θ = coeff · avg(ψ(x))``: ``d_x += N coeff/n · d_θ · ∂ψ/∂x``.

Gradients of the weights are not formed: ``∂f/∂W = (1/N) Σ_uses d_y xᵀ``, and the uses are listed.

Source: Yang 2020, *Tensor Programs II*, section 7 (backpropagation as a Netsor⊤ program).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp

from tp.errors import LimitError, Message, Span
from tp.program.affine import affine
from tp.program.derivative import derivative
from tp.program.ir import (
    Domain,
    Instruction,
    Loop,
    MatMul,
    Moment,
    Nonlin,
    Plain,
    Program,
    Range,
    Ref,
    Simple,
    Softmax,
    Space,
    Sum,
)
from tp.program.reads import plain
from tp.program.schedule import Clause, LoopStep, Read, Step, schedule
from tp.program.schedule import inside as within
from tp.transform.stretches import begun, bound, equal, inside, resolved, solvable, stretches


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a matrix: ``out = W x`` (or its transpose), with the adjoint of ``out``; d_W += d_out xᵀ / N."""

    W: Ref
    x: Ref
    d_out: Ref
    transpose: bool
    domain: Domain


@dataclass(frozen=True, slots=True)
class Backward:
    """A program extended by its adjoints. ``adjoint[name]`` is the name of the family d_name."""

    program: Program
    adjoint: dict[str, str]
    uses: tuple[Use, ...]


@dataclass(frozen=True, slots=True)
class _Flow:
    """A contribution to the adjoint of ``ref``: ``value`` for all of ``ranges``."""

    ref: Ref
    value: sp.Expr
    ranges: Domain


def backprop(program: Program, output: Ref, scale: sp.Expr) -> Backward:
    """The program with adjoints of everything ``output`` depends on, vectors scaled by ``scale``.

    ``output`` is one member of a scalar family. Expects a checked program; the forward part is unchanged.
    Raises ``LimitError`` for a function without a derivative.
    """
    return _Reverse(program, output, scale).run()


def flat(body: Sequence[Instruction], outer: Domain = ()) -> Iterator[tuple[Simple, Domain]]:
    """Instructions with the ranges of the loops around them and their own."""
    for ins in body:
        if isinstance(ins, Loop):
            yield from flat(ins.body, (*outer, ins.range))
        else:
            own = {r.index for r in ins.domain}
            yield ins, (*(r for r in outer if r.index not in own), *ins.domain)


@dataclass
class _Reverse:
    program: Program
    output: Ref
    scale: sp.Expr
    spaces: dict[str, Space | None] = field(default_factory=dict)
    domains: dict[str, list[tuple[Ref, Domain]]] = field(default_factory=dict)
    new: list[Plain] = field(default_factory=list)
    flows: dict[str, list[_Flow]] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instructions = [(plain(ins, "a backward pass"), domain) for ins, domain in flat(self.program.body)]
        for ins, domain in self.instructions:
            self.spaces[ins.out.name] = None if isinstance(ins, Moment) else ins.space
            self.domains.setdefault(ins.out.name, []).append((ins.out, domain))
        for w in self.program.weights:
            if w.cols is None:
                self.spaces[w.ref.name] = w.rows
                self.domains.setdefault(w.ref.name, []).append((w.ref, w.domain))
        self.taken = set(self.domains) | {d.ref.name for d in self.program.data} | {w.ref.name for w in self.program.weights}
        self.reached = self._reached()
        self.adjoint = {name: self._fresh(f"d_{name}") for name in self.domains if name in self.reached}

    def _fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def _reached(self) -> set[str]:
        """Names the output depends on."""
        reads: dict[str, set[str]] = {}
        for ins, _ in self.instructions:
            found = {ins.x.name} if isinstance(ins, MatMul) else {r.name for r in ins.expr.atoms(Ref)}
            if isinstance(ins, Moment):
                found |= {r.name for r in ins.coeff.atoms(Ref)}
            reads.setdefault(ins.out.name, set()).update(found)
        seen, stack = set(), [self.output.name]
        while stack:
            name = stack.pop()
            if name not in seen:
                seen.add(name)
                stack.extend(reads.get(name, ()))
        return seen

    # ------------------------------------------------------------ the reverse pass

    def run(self) -> Backward:
        for ins, domain in self.instructions:
            if ins.out.name in self.reached:
                self._instruction(ins, domain)
        for name in self.adjoint:
            self._gather(name)
        edges = {self.adjoint[n]: self._edges(n) for n in self.adjoint}
        edges |= {ins.out.name: self._zero_edges(ins) for ins in self.new if ins.out.name not in edges}
        body = arranged([*self.instructions, *((ins, ins.domain) for ins in self.new)], {**self.program.boundary, **edges})
        temps = self.program.temps | {ins.out.name for ins in self.new} - set(self.adjoint.values())
        program = replace(self.program, body=body, boundary={**self.program.boundary, **edges}, temps=temps)
        return Backward(program, self.adjoint, tuple(self.uses))

    def d(self, ref: Ref) -> Ref:
        """The adjoint of a variable at an index."""
        return Ref(self.adjoint[ref.name], *ref.index)

    def _flow(self, ref: Ref, value: sp.Expr, ranges: Domain) -> None:
        if ref.name in self.adjoint and value != 0:
            self.flows.setdefault(ref.name, []).append(_Flow(ref, value, ranges))

    def _instruction(self, ins: Plain, domain: Domain) -> None:
        match ins:
            case MatMul():
                self._matmul(ins, domain)
            case Nonlin(space=None):
                for ref, slope, ranges in partials(ins.expr):
                    self._flow(ref, slope * self.d(ins.out), domain + ranges)
            case Nonlin():
                self._nonlin(ins, domain)
            case Moment():
                self._moment(ins, domain)

    def _matmul(self, ins: MatMul, domain: Domain) -> None:
        index = tuple(r.index for r in domain)
        self.uses.append(Use(ins.W, ins.x, self.d(ins.out), ins.transpose, domain))
        if ins.x.name not in self.adjoint:
            return
        back = Ref(self._fresh(f"b_{ins.out.name}"), *index)
        space = self.spaces[ins.x.name]
        assert space is not None
        self.new.append(MatMul(back, ins.W, self.d(ins.out), not ins.transpose, space, domain, ins.span))
        self._flow(ins.x, back, domain)

    def _nonlin(self, ins: Nonlin, domain: Domain) -> None:
        assert ins.space is not None
        for ref, slope, ranges in partials(ins.expr):
            if ref.name not in self.adjoint:
                continue
            _differentiable(slope, ins.span)
            every = domain + ranges
            if self.spaces[ref.name] is not None:
                self._flow(ref, slope * self.d(ins.out), every)
            else:
                mean = Ref(self._fresh(f"q_{ins.out.name}"), *(r.index for r in every))
                coeff = ins.space.size / self.scale
                self.new.append(Moment(mean, slope * self.d(ins.out), ins.space, coeff, every, ins.span))
                self._flow(ref, mean, every)

    def _moment(self, ins: Moment, domain: Domain) -> None:
        for ref, slope, ranges in partials(ins.expr):
            if ref.name not in self.adjoint:
                continue
            _differentiable(slope, ins.span)
            every = domain + ranges
            if self.spaces[ref.name] is not None:
                self._flow(ref, self.scale * ins.coeff / ins.space.size * self.d(ins.out) * slope, every)
            else:
                mean = Ref(self._fresh(f"q_{ins.out.name}"), *(r.index for r in every))
                self.new.append(Moment(mean, slope, ins.space, ins.coeff, every, ins.span))
                self._flow(ref, mean * self.d(ins.out), every)
        for ref, slope, ranges in partials(ins.coeff):
            if ref.name in self.adjoint:
                every = domain + ranges
                mean = Ref(self._fresh(f"q_{ins.out.name}"), *(r.index for r in every))
                self.new.append(Moment(mean, ins.expr, ins.space, slope, every, ins.span))
                self._flow(ref, mean * self.d(ins.out), every)

    # ------------------------------------------------------------ gathering

    def _gather(self, name: str) -> None:
        """The adjoint of a family, one instruction for each way its members are defined."""
        for out, domain in self.domains[name]:
            total = sp.Add(*(self._meet(flow, out, domain) for flow in self.flows.get(name, ())))
            if name == self.output.name:
                total += sp.Mul(*(equal(e, f) for e, f in zip(out.index, self.output.index, strict=True)))
            for part, binding in stretches(total, domain):
                value = resolved(total.subs(binding), part)
                left = self.d(out).subs(binding)
                self.new.append(Nonlin(left, value, self.spaces[name], part, self._span(name)))

    def _span(self, name: str) -> Span:
        return next((ins.span for ins, _ in self.instructions if ins.out.name == name), self.instructions[0][0].span)

    def _meet(self, flow: _Flow, out: Ref, domain: Domain) -> sp.Expr:
        """Σ over the reader's indices of the contribution, where it reads exactly ``out``: indices are solved for."""
        value, ranges = _apart(flow, domain)
        ref, left = value[0], value[1]
        conditions: list[sp.Expr] = []
        edges = self.program.boundary.get(flow.ref.name, ())
        mapped = [
            mode in ("circular", "reflect") and not _stays(e, low, high, ranges)
            for e, (mode, low, high) in zip(ref.index, edges, strict=False)
        ]
        for k, (slot, e) in enumerate(zip(out.index, ref.index, strict=True)):
            e = ref.index[k]
            solved = solvable(e, slot, ranges)
            if solved is None:
                conditions.append(equal(slot, e))
                continue
            solution = sp.expand(solved.index - sp.expand(e).coeff(solved.index) * (e - slot))
            if mapped[k:] and mapped[k] and solution != slot:
                mode, low, high = edges[k]
                raise LimitError(
                    Message(
                        self._span(flow.ref.name),
                        f"gradients are not followed through a read beyond the range with `boundary {mode}`",
                        _written_out(str(mode), low, high),
                        "no backward pass",
                    )
                )
            ranges = tuple(r for r in ranges if r is not solved)
            swap = {solved.index: solution}
            moved = [(r.name, k, e.subs(swap)) for r in _outside(left) for k, e in enumerate(r.index) if e.has(solved.index)]
            left, ref = left.subs(swap), ref.subs(swap)
            conditions = [c.subs(swap) for c in conditions]
            ranges = tuple(Range(r.index, r.lo.subs(swap), r.hi.subs(swap)) for r in ranges)
            if not self._vanishes_beyond(left, solution, solved, moved, (*domain, *ranges)):
                shorter = begun(solution, solved, ranges, domain)
                if shorter is None:
                    conditions.append(inside(solution, solved))
                else:
                    ranges = shorter
        total = left * sp.Mul(*conditions)
        return Sum(total, *((r.index, r.lo, r.hi) for r in reversed(ranges))) if ranges else total

    def _vanishes_beyond(
        self, value: sp.Expr, solution: sp.Expr, r: Range, moved: Sequence[tuple[str, int, sp.Expr]], around: Domain
    ) -> bool:
        """Whether a factor is an adjoint read at ``solution`` in a slot of that very range: beyond it, it is 0.

        Not when other factors are ``moved`` there too (family, slot and index), which beyond the range may be defined nowhere.
        """
        names = {d: name for name, d in self.adjoint.items()}
        made = {ins.out.name: ins for ins in self.new}
        beside = (read for read in moved if read[0] not in names and read[0] not in made)
        if not all(self._defined(*read, around) for read in beside):
            return False
        for factor in sp.Mul.make_args(value):
            if not isinstance(factor, Ref) or solution not in factor.index:
                continue
            slot = factor.index.index(solution)
            edges = self._edges(names[factor.name]) if factor.name in names else ()
            if factor.name in made and factor.name not in names:
                edges = self._zero_edges(made[factor.name])
            if edges and edges[slot][1:] == (r.lo, r.hi):
                return True
        return False

    def _defined(self, name: str, slot: int, at: sp.Expr, around: Domain) -> bool:
        """Whether a family has members at ``at``, in a slot of its, all over ``around``."""
        modes = self.program.boundary.get(name, ())
        if slot < len(modes) and modes[slot][0] in ("zero", "circular", "reflect"):
            return True
        if name in self.program.tables:
            ranges, _ = self.program.tables[name]
            return _stays(at, ranges[slot].lo, ranges[slot].hi, around)
        data = [(d.ref, d.domain) for d in self.program.data if d.ref.name == name]
        _, low, high = _hull(data or self.domains[name])[slot]
        return _stays(at, low, high, around)

    def _edges(self, name: str) -> tuple[tuple[str | None, sp.Expr, sp.Expr], ...]:
        """Beyond its range an adjoint is 0."""
        return _hull(self.domains[name])

    def _zero_edges(self, ins: Plain) -> tuple[tuple[str | None, sp.Expr, sp.Expr], ...]:
        return tuple(("zero", r.lo, r.hi) for r in ins.domain)


def _hull(members: Sequence[tuple[Ref, Domain]]) -> tuple[tuple[str | None, sp.Expr, sp.Expr], ...]:
    """Where the members of a family begin and end, slot by slot; beyond that they are 0, if they are adjoints."""
    slots = []
    for k in range(len(members[0][0].index)):
        los, his = [], []
        for out, domain in members:
            ranges = {r.index: r for r in domain}
            e = out.index[k]
            los.append(ranges[e].lo if e in ranges else e)
            his.append(ranges[e].hi if e in ranges else e)
        slots.append(("zero", bound(los, domain, -1), bound(his, domain, 1)))
    return tuple(slots)


# ---------------------------------------------------------------- derivatives under sums


def partials(expr: sp.Expr, ranges: Domain = ()) -> Iterator[tuple[Ref, sp.Expr, Domain]]:
    """(read, ∂expr/∂read, ranges of the sums around it) for every read in ``expr``; sums are not expanded."""
    if isinstance(expr, Ref):
        yield expr, sp.S.One, ranges
    elif isinstance(expr, sp.Sum):
        bound = tuple(Range(s, lo, hi) for s, lo, hi in reversed(expr.limits))
        yield from partials(expr.function, ranges + bound)
    elif isinstance(expr, Softmax):
        yield from _softmax(expr, ranges)
    elif not expr.has(sp.Sum, Softmax):
        for ref in sorted(expr.atoms(Ref), key=str):
            slope = derivative(expr, ref)
            if slope != 0:
                yield ref, slope, ranges
    else:
        for k, arg in enumerate(expr.args):
            if arg.has(Ref):
                hole = sp.Dummy("hole", real=True)
                outer = expr.func(*(hole if j == k else a for j, a in enumerate(expr.args)))
                slope = sp.diff(outer, hole).subs(hole, arg)
                for ref, inner, around in partials(arg, ()):
                    yield ref, slope * inner, ranges + around


def _softmax(expr: Softmax, ranges: Domain) -> Iterator[tuple[Ref, sp.Expr, Domain]]:
    """∂ζ_s/∂a_s' = ζ_s (δ_ss' − ζ_s')."""
    at, body, bound, lo, hi = expr.args
    for ref, inner, around in partials(at):
        yield ref, expr * inner, ranges + around
    index = sp.Symbol(f"{bound.name}_", integer=True)
    there = body.subs(bound, index)
    for ref, inner, around in partials(there):
        yield ref, -expr * Softmax(there, body, bound, lo, hi) * inner, (*ranges, Range(index, lo, hi), *around)


def _outside(expr: sp.Expr) -> set[Ref]:
    """What is read, with indices of sums inside as symbols of their own."""
    sums = expr.atoms(sp.Sum)
    swap = {s: sp.Dummy(integer=True) for total in sums for s, _, _ in total.limits}
    swap |= {total.args[2]: sp.Dummy(integer=True) for total in expr.atoms(Softmax)}
    return {ref.xreplace(swap) for ref in expr.atoms(Ref)}


def _differentiable(slope: sp.Expr, span: Span) -> None:
    if slope.has(sp.DiracDelta, sp.Derivative, sp.Subs):
        raise LimitError(
            Message(span, "the activation has no derivative to train with", "use a continuous activation", "no backward pass")
        )


def _stays(e: sp.Expr, low: sp.Expr, high: sp.Expr, ranges: Domain) -> bool:
    """Whether a read never goes beyond low..high, so that what a boundary does there is of no concern."""
    slot = affine(e)
    return slot is not None and within(slot, low, high, ranges)


def _written_out(mode: str, low: sp.Expr, high: sp.Expr) -> str:
    """How a boundary that gradients do not cross is written in terms of one they do."""
    below, above = (high, low) if mode == "circular" else (low + 1, high - 1)
    ends = f"`y[p] = h[p]; y[{low - 1}] = h[{below}]; y[{high + 1}] = h[{above}]`"
    return f"use `boundary zero`, and with it write the ends out, {ends}, of inputs that are read beyond them, too; and read `y`"


def _apart(flow: _Flow, domain: Domain) -> tuple[tuple[Ref, sp.Expr], Domain]:
    """The flow with indices that do not clash with those of the adjoint."""
    own = {r.index for r in domain}
    swap = {r.index: sp.Symbol(f"{r.index.name}*", integer=True) for r in flow.ranges if r.index in own}
    ranges = tuple(Range(swap.get(r.index, r.index), r.lo.subs(swap), r.hi.subs(swap)) for r in flow.ranges)
    return (flow.ref.subs(swap, simultaneous=True), flow.value.subs(swap, simultaneous=True)), ranges


# ---------------------------------------------------------------- order


def arranged(instructions: Sequence[tuple[Simple, Domain]], boundary: dict[str, tuple]) -> tuple[Instruction, ...]:  # type: ignore[type-arg]
    """Instructions in an executable order, recursions as loops."""
    from tp.program.reads import reads

    clauses = [
        Clause(
            ins.out.name,
            ins.out.index,
            domain,
            tuple(Read(r.name, r.index, ranges) for r, ranges in reads(ins)),
            replace(ins, domain=domain),
            span=ins.span,
        )
        for ins, domain in instructions
    ]
    return tuple(_built(step, ()) for step in schedule(clauses, boundary))


def _built(step: Step, outer: Domain) -> Instruction:
    from tp.program.reads import rename

    if isinstance(step, LoopStep):
        return Loop(step.range, tuple(_built(s, (*outer, step.range)) for s in step.body), step.reverse)
    around = {r.index for r in outer}
    domain = tuple(r for r in step.domain if r.index not in around)
    return rename(step.payload, dict(step.renaming), domain)
