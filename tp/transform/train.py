"""``train``: a program becomes the program of its training; steps and samples become indices.

Every variable gets two more indices: the step t = 0…T and the sample i. At step t the network runs with the weights
after t updates. A trained matrix is never formed: with ``g_s`` the gradients,

    W_t x = κ₀(t) W₀ x − Σ_{s<t} κ(t, s) Σ_uses d_out_s ⟨x_s, x⟩ · rate/N,

one MatMul by the initial matrix plus Moments and Nonlins. Optimizers that are linear in the gradients (SGD, momentum,
decoupled weight decay, any schedule) are their tables κ₀ and κ. An entrywise optimizer puts Q(g_0, …, g_s) for g_s: a Nonlin
for vectors, an OuterNonlin for matrices,

    W_t x = κ₀(t) W₀ x − rate Σ_{s<t} κ(t, s) Q(Σ_uses d_out_r ⊗ x_r, r ≤ s) x.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 5 and Definition H.3 (the program of SGD training); Yang & Littwin 2023,
*Tensor Programs IVb*, section 2.6 (of training by entrywise updates).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp

from tp.program.affine import affine, lowest
from tp.program.derivative import derivative
from tp.program.ir import (
    Data,
    Domain,
    MatMul,
    Moment,
    Nonlin,
    Outer,
    OuterNonlin,
    Program,
    Range,
    Ref,
    Simple,
    Space,
    Sum,
    Weight,
)
from tp.program.reads import plain
from tp.transform.apart import apart
from tp.transform.backprop import Use, arranged, backprop, flat
from tp.transform.declared import matrices, of_member
from tp.transform.entrywise import FIRST, GRADIENT, SECOND, Entrywise
from tp.transform.losses import Loss
from tp.transform.normalize import Updates, normalize

STEP, EARLIER, BEFORE = (sp.Symbol(name, integer=True) for name in ("step", "step'", "step''"))
SAMPLE, OTHER = sp.Symbol("i", integer=True), sp.Symbol("i'", integer=True)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What an optimizer linear in the gradients does: ``W_t = keep[t] W_0 − Σ_{s<t} push[t][s] g_s``; batches as weights.

    ``weight[s][i]`` is what sample i counts in the loss of step s (1/B in the batch, 0 outside it).
    """

    steps: int
    keep: tuple[sp.Expr, ...]
    push: tuple[tuple[sp.Expr, ...], ...]
    weight: tuple[tuple[sp.Expr, ...], ...]
    entrywise: Entrywise | None = None
    """What every entry's gradient is replaced by, if it is."""

    @property
    def degree(self) -> int:
        """How often the multiplier counts in an update."""
        return 2 if self.entrywise is None else 1


@dataclass(frozen=True, slots=True)
class Training:
    """The program of a training run: ``output`` is ``f[step, i, …]``; ``targets`` is the data it is trained on.

    ``loss[step, i]`` is the loss of sample i. ``kernel[step, i, i']`` is the average product of the features of two samples:
    of what the output reads by its last weights; None when the output is not linear in a vector weight.
    """

    program: Program
    output: Ref
    targets: str
    steps: int
    samples: int
    loss: Ref
    kernel: Ref | None = None
    gradients: Mapping[str, Weight] = field(default_factory=dict)
    """What an entrywise rule that jumps at 0 is applied to, by name, or makes of a matrix's gradient: of which weight."""


def sgd(
    steps: int,
    rates: Sequence[sp.Expr],
    batches: Sequence[Sequence[int]],
    samples: int,
    momentum: sp.Expr = sp.S.Zero,
    decay: sp.Expr = sp.S.Zero,
    nesterov: bool = False,
) -> Schedule:
    """SGD with heavy-ball momentum and decoupled weight decay (factor 1 − decay a step).

    u_{s+1} = momentum·u_s + g_s,  W_{s+1} = (1 − decay) W_s − rate_s u_{s+1}; with g_s + momentum·u_{s+1} for Nesterov's.
    """
    one, zero = sp.S.One, sp.S.Zero
    keep, push = [one], [(zero,) * max(steps, 1)]

    def moved(age: int) -> sp.Expr:
        return momentum ** (age + 1) + int(age == 0) if nesterov else momentum**age

    for t, rate in enumerate(rates[:steps]):
        keep.append(keep[-1] * (1 - decay))
        row = [(1 - decay) * push[-1][s] + rate * moved(t - s) if s <= t else zero for s in range(steps)]
        push.append(tuple(row))
    weight = tuple(tuple(sp.Rational(list(batch).count(i), len(batch)) for i in range(samples)) for batch in (batches or [[0]]))
    return Schedule(steps, tuple(keep), tuple(push), (*weight, (zero,) * samples))


def train(program: Program, schedule: Schedule, loss: Loss, scale: sp.Expr) -> Training:
    """The program that trains ``program``'s only output for ``schedule.steps`` steps on the schedule's samples.

    ``scale`` is the N of :func:`tp.transform.backprop.backprop`.
    """
    updates = Updates(schedule.degree, scale)
    program = apart(program, (SAMPLE,), _names(program))
    return _Training(normalize(program, updates), schedule, loss, scale).run()


@dataclass
class _Training:
    program: Program
    schedule: Schedule
    loss: Loss
    scale: sp.Expr
    new: list[tuple[Simple, Domain]] = field(default_factory=list)
    tables: dict[str, tuple[Domain, tuple[object, ...]]] = field(default_factory=dict)
    gradients: dict[str, Weight] = field(default_factory=dict)

    def run(self) -> Training:
        self.samples = len(self.schedule.weight[0])
        self.taken = _names(self.program)
        with_loss, output, loss = self._with_loss()
        self.backward = backprop(with_loss, loss, self.scale)
        trained = {(w.ref.name, len(w.ref.index)): w.ref.name for w in self.program.weights if w.cols is None and not w.frozen}
        self.initial = {key: self._fresh(f"{name}_init") for key, name in trained.items()}
        self.steps = Range(STEP, sp.S.Zero, sp.Integer(self.schedule.steps))
        self.every = Range(SAMPLE, sp.S.Zero, sp.Integer(self.samples - 1))
        self._tables()
        for ins, ins_domain in flat(self.backward.program.body):
            self._instruction(ins, ins_domain)
        for w in self.program.weights:
            if w.cols is None and (w.ref.name, len(w.ref.index)) in self.initial:
                self._weight(w)
        lifted = replace(
            self.backward.program,
            data=tuple(self._data(d) for d in self.backward.program.data if d.ref.name != self.count),
            weights=tuple(self._declared(w) for w in self.program.weights),
            tables={**self.program.tables, **self.tables},
        )
        boundary = self._boundary(lifted)
        body = arranged([(replace(i, domain=d), d) for i, d in self.new], boundary)
        outputs = (Ref(output.name, STEP, SAMPLE, *output.index),)
        kernel = self._kernel(output)
        body = (*body, kernel) if kernel is not None else body
        final = replace(lifted, body=body, boundary=boundary, outputs=outputs, training=None)
        per_sample = Ref(self.per_sample, STEP, SAMPLE)
        features = kernel.out if kernel else None
        jumps = self.schedule.entrywise is not None and self.schedule.entrywise.jumps
        marked = self.gradients if jumps else {}
        return Training(final, outputs[0], self.y, self.schedule.steps, self.samples, per_sample, features, marked)

    def _kernel(self, output: Ref) -> Moment | None:
        """avg(φ φ') where the output is avg(v φ): at a step, for two samples."""
        made = [ins for ins, _ in flat(self.program.body) if ins.out.name == output.name]
        if len(made) != 1 or not isinstance(made[0], Moment):
            return None
        ins = made[0]
        vectors = [w.ref.name for w in self.program.weights if w.rows is not None and w.cols is None]
        widths = {n: sp.S.One for s in self.program.spaces for n in s.size.free_symbols}
        reads = {r for r in ins.expr.atoms(Ref) if r.name in vectors and r.free_symbols <= output.free_symbols}
        for v in sorted(reads, key=lambda r: (-vectors.index(r.name), str(r))):
            feature = derivative(ins.expr, v).subs({**widths, **dict.fromkeys(output.index, sp.S.One)})
            if feature != 0 and not feature.has(v) and any(r.name not in vectors for r in feature.atoms(Ref)):
                domain = (self.steps, self.every, Range(OTHER, sp.S.Zero, self.every.hi))
                product = self.at(feature) * self.at(feature, STEP, OTHER)
                return Moment(Ref(self._fresh("kernel"), STEP, SAMPLE, OTHER), product, ins.space, sp.S.One, domain, ins.span)
        return None

    def _fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    # ------------------------------------------------------------ loss

    def _with_loss(self) -> tuple[Program, Ref, Ref]:
        """The program with one sample's loss and, as its last scalar, what that counts in the batch."""
        (output,) = self.program.outputs
        domain = next(d for ins, d in flat(self.program.body) if ins.out.name == output.name)
        ranges = tuple(r for r in domain if r.index in output.free_symbols)
        self.y, self.count, self.per_sample = self._fresh("y"), self._fresh("count"), self._fresh("loss")
        y, loss, total = Ref(self.y, *output.index), Ref(self.per_sample), Ref(self._fresh("weighted"))
        added = (Nonlin(loss, self.loss(output, y, ranges), None, ()), Nonlin(total, Ref(self.count) * loss, None, ()))
        data = (*self.program.data, Data(y, ranges), Data(Ref(self.count), ()))
        body = (*self.program.body, *added)
        return replace(self.program, data=data, body=body, outputs=(total,)), output, total

    # ------------------------------------------------------------ lifting

    def at(self, expr: sp.Basic, step: sp.Expr = STEP, sample: sp.Expr = SAMPLE) -> sp.Basic:
        """``expr`` at a step and a sample: data by sample, weights by step, the rest by both."""
        return expr.xreplace({r: self._at(r, step, sample) for r in expr.atoms(Ref)})

    def _at(self, ref: Ref, step: sp.Expr, sample: sp.Expr) -> Ref:
        if ref.name == self.count:
            return Ref(self.count, step, sample)
        if ref.name in self.program.tables:
            return ref
        if any(d.ref.name == ref.name for d in self.backward.program.data):
            return Ref(ref.name, sample, *ref.index)
        if any(w.ref.name == ref.name and w.cols is None and len(w.ref.index) == len(ref.index) for w in self.program.weights):
            return Ref(ref.name, step, *ref.index) if (ref.name, len(ref.index)) in self.initial else ref
        return Ref(ref.name, step, sample, *ref.index)

    def _instruction(self, ins: Simple, domain: Domain) -> None:
        ins = plain(ins, "training")
        lifted = (self.steps, self.every, *domain)
        if isinstance(ins, MatMul):
            self._matmul(ins, domain)
        elif isinstance(ins, Nonlin):
            self.new.append((replace(ins, out=self.at(ins.out), expr=self.at(ins.expr)), lifted))
        else:
            self.new.append((replace(ins, out=self.at(ins.out), expr=self.at(ins.expr), coeff=self.at(ins.coeff)), lifted))

    def _matmul(self, ins: MatMul, domain: Domain) -> None:
        """W_t x: the initial matrix's product, and what the updates add to it."""
        lifted = (self.steps, self.every, *domain)
        out, x = self.at(ins.out), self.at(ins.x)
        trained = self._of(ins.W, lambda w: sp.Integer(not w.frozen))
        if trained == 0:
            self.new.append((replace(ins, out=out, x=x), lifted))
            return
        first = Ref(self._fresh(f"w_{ins.out.name}"), *out.index)
        self.new.append((replace(ins, out=first, x=x), lifted))
        keep = Ref(self.keep, STEP)
        total = (keep if trained == 1 else 1 + trained * (keep - 1)) * first
        if self.schedule.entrywise is not None and not self._rank_one(ins):
            total -= self._outer(ins, x, domain)
        else:
            for use in self.backward.uses:
                if use.W.name == ins.W.name:
                    total -= self._update(ins, x, use, domain)
        self.new.append((Nonlin(out, total, ins.space, lifted, ins.span), lifted))

    def _update(self, ins: MatMul, x: Ref, use: Use, domain: Domain) -> sp.Expr:
        """Σ_{s<t, i'} push · rate/N · d_out_s ⟨x_s, x⟩ of one use (the roles swapped for the transpose)."""
        swap = {r.index: sp.Symbol(f"{r.index.name}'", integer=True) for r in use.domain}
        ranges = tuple(Range(swap[r.index], r.lo.subs(swap), r.hi.subs(swap)) for r in use.domain)
        moved = [e.subs(swap, simultaneous=True) for e in (use.d_out, use.x, use.W)]
        tied, ranges, same = _tied(ins.W, moved[2], domain, ranges)
        d_out, x_use = (self.at(e.subs(tied, simultaneous=True), EARLIER, OTHER) for e in moved[:2])
        left, right = (d_out, x_use) if use.transpose == ins.transpose else (x_use, d_out)
        space = self._space(right)
        rate = self._of(ins.W, lambda w: _rate(w) * w.multiplier**2) / self.scale
        if self.schedule.entrywise is not None:  # sign(d xᵀ) = sign(d) sign(x)ᵀ
            self.gradients[use.d_out.name] = self._declaration(ins.W)
            left, right, rate = sp.sign(left), sp.sign(right), self._of(ins.W, lambda w: _rate(w) * sp.Abs(w.multiplier))
        earlier = Range(EARLIER, sp.S.Zero, STEP - 1)
        other = Range(OTHER, sp.S.Zero, self.every.hi)
        inner = (self.steps, self.every, *domain, earlier, other, *ranges)
        overlap = Ref(self._fresh(f"c_{ins.out.name}"), *(r.index for r in inner))
        self.new.append((Moment(overlap, right * x, space, space.size, inner, ins.span), inner))
        body = Ref(self.push, STEP, EARLIER) * rate * same * overlap * left
        bounds = [*reversed(ranges), other, earlier]
        return Sum(body, *((r.index, r.lo, r.hi) for r in bounds))

    def _rank_one(self, ins: MatMul) -> bool:
        """Whether the update is the sign of one outer product, and so an outer product itself."""
        if self.schedule.entrywise is None or self.schedule.entrywise.rule != sp.sign(GRADIENT):
            return False
        uses = [u for u in self.backward.uses if u.W.name == ins.W.name]
        rows = max(sum(w != 0 for w in weights) for weights in self.schedule.weight)
        return rows <= 1 and len(uses) == 1 and all(set(map(str, u.W.index)) >= {str(r.index) for r in u.domain} for u in uses)

    def _outer(self, ins: MatMul, x: Ref, domain: Domain) -> sp.Expr:
        """rate · Σ_{s<t} push Q(gradients up to s) x, an OuterNonlin."""
        out = Ref(self._fresh(f"o_{ins.out.name}"), STEP, SAMPLE, *(r.index for r in domain))
        self.gradients[out.name] = self._declaration(ins.W)
        update = Ref(self.push, STEP, EARLIER) * self._entrywise(lambda step: self._gradient(ins, domain, step))
        entry = Sum(update, (EARLIER, 0, STEP - 1))
        lifted = (self.steps, self.every, *domain)
        over = self._space(x)
        self.new.append((OuterNonlin(out, entry, x, ins.transpose, ins.space, over, lifted, ins.span), lifted))
        return over.size * self._of(ins.W, lambda w: _rate(w) * w.multiplier) * out

    def _gradient(self, ins: MatMul, domain: Domain, step: sp.Expr) -> sp.Expr:
        """N ∂L/∂w at a step, as a sum of outer products: over uses, samples and the indices of uses."""
        total, unit = sp.S.Zero, self._of(ins.W, self._unit)
        for use in self.backward.uses:
            if use.W.name != ins.W.name:
                continue
            swap = {r.index: sp.Symbol(f"{r.index.name}'", integer=True) for r in use.domain}
            ranges = tuple(Range(swap[r.index], r.lo.subs(swap), r.hi.subs(swap)) for r in use.domain)
            moved = [e.subs(swap, simultaneous=True) for e in (use.d_out, use.x, use.W)]
            tied, ranges, same = _tied(ins.W, moved[2], domain, ranges)
            d_out, x = (e.subs(tied, simultaneous=True) for e in moved[:2])
            rows, cols = (self.at(e, step, OTHER) for e in ((x, d_out) if use.transpose else (d_out, x)))
            other = Range(OTHER, sp.S.Zero, self.every.hi)
            total += Sum(unit * same * Outer(rows, cols), *((r.index, r.lo, r.hi) for r in (*reversed(ranges), other)))
        return total

    def _of(self, W: Ref, value: Callable[[Weight], sp.Expr]) -> sp.Expr:
        """``value`` of the declaration that a matrix falls under."""
        return of_member(self.program.weights, W, value)

    def _declaration(self, W: Ref) -> Weight:
        """A trained declaration of the family of a matrix."""
        return next(w for w in matrices(self.program.weights, W.name) if not w.frozen)

    def _unit(self, w: Weight) -> sp.Expr:
        """The constant c of a multiplier c n^(-a): the gradient of what is stored is c times that of n^(-a) w."""
        return w.multiplier.subs({n: sp.S.One for s in self.program.spaces for n in s.size.free_symbols})

    def _space(self, ref: Ref) -> Space:
        for ins, _ in flat(self.backward.program.body):
            if ins.out.name == ref.name:
                assert not isinstance(ins, Moment)
                assert ins.space is not None
                return ins.space
        weight = next(w for w in self.program.weights if w.ref.name == ref.name and w.cols is None)
        assert weight.rows is not None
        return weight.rows

    # ------------------------------------------------------------ weights

    def _weight(self, w: Weight) -> None:
        """v_t = κ₀(t) v_0 − Σ_{s<t} κ(t, s) rate/N Σ_i d_v; a frozen member of a family of which others are trained is v_0."""
        adjoint = None if w.frozen else self.backward.adjoint.get(w.ref.name)
        before = Ref(self.initial[w.ref.name, len(w.ref.index)], *w.ref.index)
        total = before if w.frozen else Ref(self.keep, STEP) * before
        if adjoint is not None:
            scale = self.scale if w.rows is not None else sp.S.One
            rate = w.rate * w.multiplier**2 / scale
            gradient = Ref(adjoint, EARLIER, OTHER, *w.ref.index)
            body = Ref(self.push, STEP, EARLIER) * rate * gradient
            total -= Sum(body, (OTHER, 0, self.every.hi), (EARLIER, 0, STEP - 1))
        lifted = (self.steps, *w.domain)
        if self.schedule.entrywise is not None and adjoint is not None:
            gradient = Ref(self._fresh(f"g_{w.ref.name}"), STEP, *w.ref.index)
            whole = self._unit(w) * Sum(Ref(adjoint, STEP, OTHER, *w.ref.index), (OTHER, 0, self.every.hi))
            self.gradients[gradient.name] = w
            self.new.append((Nonlin(gradient, whole, w.rows, lifted, w.span), lifted))
            scaled = Ref(self._fresh(f"q_{w.ref.name}"), STEP, *w.ref.index)
            rule = self._entrywise(lambda step: gradient.xreplace({STEP: step})).xreplace({EARLIER: STEP})
            self.new.append((Nonlin(scaled, rule, w.rows, lifted, w.span), lifted))
            update = Ref(self.push, STEP, EARLIER) * w.rate * w.multiplier * scaled.xreplace({STEP: EARLIER})
            total = Ref(self.keep, STEP) * before - Sum(update, (EARLIER, 0, STEP - 1))
        self.new.append((Nonlin(Ref(w.ref.args[0], STEP, *w.ref.index), total, w.rows, lifted, w.span), lifted))

    def _entrywise(self, gradient: Callable[[sp.Expr], sp.Expr]) -> sp.Expr:
        """Q at step ``step'``, of the gradients up to it."""
        assert self.schedule.entrywise is not None

        def mean(table: str, power: int) -> sp.Expr:
            return Sum(Ref(table, EARLIER, BEFORE) * gradient(BEFORE) ** power, (BEFORE, 0, EARLIER))

        swap = {GRADIENT: gradient(EARLIER), FIRST: mean(self.first, 1), SECOND: mean(self.second, 2)}
        return self.schedule.entrywise.rule.xreplace(swap)

    def _declared(self, w: Weight) -> Weight:
        """The initial value of a vector that is trained; of 0 a multiple is 0."""
        key = (w.ref.name, len(w.ref.index))
        if w.cols is not None or key not in self.initial:
            return w
        multiplier = sp.S.One if w.variance == 0 and w.mean == 0 else w.multiplier
        return replace(w, ref=Ref(self.initial[key], *w.ref.index), multiplier=multiplier)

    def _data(self, d: Data) -> Data:
        return replace(d, ref=Ref(d.ref.args[0], SAMPLE, *d.ref.index), domain=(self.every, *d.domain))

    def _tables(self) -> None:
        T = sp.Integer(self.schedule.steps)
        earlier = Range(EARLIER, sp.S.Zero, sp.Max(T - 1, 0))
        self.keep, self.push = self._fresh("keep"), self._fresh("push")
        self.tables[self.keep] = ((self.steps,), self.schedule.keep)
        self.tables[self.push] = ((self.steps, earlier), self.schedule.push)
        self.first, self.second = self._fresh("first"), self._fresh("second")
        if (entrywise := self.schedule.entrywise) is not None:
            square = (Range(EARLIER, sp.S.Zero, T), Range(BEFORE, sp.S.Zero, T))
            for name, symbol, table in ((self.first, FIRST, entrywise.first), (self.second, SECOND, entrywise.second)):
                if entrywise.rule.has(symbol):
                    self.tables[name] = (square, table)
        self.tables[self.count] = ((self.steps, self.every), self.schedule.weight)

    def _boundary(self, program: Program) -> dict[str, tuple[tuple[str | None, sp.Expr, sp.Expr], ...]]:
        steps, every = (None, self.steps.lo, self.steps.hi), (None, self.every.lo, self.every.hi)
        weights = {w.ref.name for w in self.program.weights}
        data = {d.ref.name for d in program.data}
        found = {}
        for name, slots in program.boundary.items():
            if name in data:
                found[name] = (every, *slots)
            elif name in weights:
                found[name] = (steps, *slots)
            else:
                found[name] = (steps, every, *slots)
        return found


def _tied(one: Ref, two: Ref, domain: Domain, ranges: Domain) -> tuple[dict[sp.Symbol, sp.Expr], Domain, sp.Expr]:
    """Where two members of a family of matrices are one: which of ``ranges``' indices are then which of ``domain``'s.

    An index that another one decides is no sum; what remains are ranges, and a condition on them.
    """
    own = {r.index: r for r in ranges}
    tied: dict[sp.Symbol, sp.Expr] = {}
    for e, f in zip(one.index, two.index, strict=True):
        if f in own and f not in tied:
            inside = [affine(sp.expand(d)) for d in (e - own[f].lo.subs(tied), own[f].hi.subs(tied) - e)]
            if all(d is not None and lowest(d, domain) >= 0 for d in inside):
                tied[f] = e
    rest = tuple(Range(r.index, r.lo.subs(tied), r.hi.subs(tied)) for r in ranges if r.index not in tied)
    pairs = [(e, f.subs(tied)) for e, f in zip(one.index, two.index, strict=True)]
    return tied, rest, sp.Mul(*(sp.KroneckerDelta(e, f) if sp.expand(e - f) != 0 else 1 for e, f in pairs))


def _rate(w: Weight) -> sp.Expr:
    return sp.S.Zero if w.frozen else w.rate


def _names(program: Program) -> set[str]:
    names = {ins.out.name for ins, _ in flat(program.body)} | {w.ref.name for w in program.weights}
    return names | {d.ref.name for d in program.data} | set(program.tables) | {s.name for s in program.constants}
