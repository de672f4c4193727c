"""NNGP and tangent kernel where a matrix meets its transpose: the full calculus at two samples, as limit equations.

- K: the covariance of an output over its readout weights, E[Z^z(i) Z^z(j)] with all dot parts; 0 for an output that is
  an average, whose limit is a number;
- Θ: the program is differentiated (:mod:`tp.transform.backprop`), and ⟨∂f(i)/∂W, ∂f(j)/∂W⟩ is a sum of products of
  moments of the backward program: E[Z^{dy} Z^{dy'}] E[Z^x Z^{x'}] for two uses of W.

Sources: Yang 2020, *Tensor Programs III*, Master Theorem 2.10; Yang 2020, *Tensor Programs II*, section 7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import sympy as sp

from tp.errors import LimitError, Message, Span
from tp.limit.clauses import Families, at
from tp.limit.equations import Entry, Equation, I, J, Limit
from tp.limit.moments import Reading
from tp.limit.sums import sum_over
from tp.limit.zcalculus.calculus import Calculus
from tp.limit.zcalculus.members import Members
from tp.limit.zcalculus.ratios import leading, named_ratios, one_width, widths
from tp.limit.zcalculus.readout import Readouts
from tp.limit.zcalculus.translate import Translation
from tp.limit.zcalculus.words import words
from tp.program.ir import Nonlin, Program, Range, Ref, Weight
from tp.transform.backprop import Backward, Use, backprop
from tp.transform.normalize import normalize

Sized = tuple[sp.Expr, sp.Expr]
"""A value and the power of the width in front of it."""


def z_kernels(program: Program, kinds: tuple[str, ...], literal: bool = False) -> Limit:
    """The kernels of a program by the full calculus; see :func:`tp.limit.take.take_limit` for the arguments.

    Raises ``LimitError`` where an output has no such kernel, or a constant needs a number.
    """
    if "Theta" in kinds:
        _refuse_many(program)
    reading = Reading(literal)
    forward = Kernels(program, reading)
    outputs = [ref for ref in forward.members if ref.name in {f.name for f in program.outputs}]
    names: dict[object, str] = {}
    shared = Translation(forward.calculus, names=names)
    roots: dict[str, list[_Root]] = {}
    if "K" in kinds:
        roots["K"] = [_Root(f, *forward.covariance(f), shared) for f in outputs]
    if "Theta" in kinds:
        roots["Theta"] = _tangents(forward, outputs, names)
    power = {kind: max((r.power for r in roots[kind] if r.value != 0), default=sp.S.Zero) for kind in kinds}
    equations: dict[sp.Expr, Equation] = {}
    for kind in kinds:
        for root in roots[kind]:
            rhs = root.value if root.power == power[kind] else sp.S.Zero
            rule = "readout" if kind == "K" else "tangent"
            root.translation.root(Entry(kind, root.f, root.f, I, J), rhs, rule, forward.span(root.f))
            equations = _joined(equations, root.translation)
    for f in outputs:
        if f.name not in forward.readouts.names:
            shared.need(forward.calculus.scalar(f, I))
    equations = _joined(equations, shared)
    found = tuple(equations.values())
    gradients = {n + r.translation.suffix for r in roots.get("Theta", ()) for n in r.translation.own}
    told = words(found, names, gradients, forward.members.families.clauses.keys() | forward.members.families.weights.keys())
    return Limit(program, kinds, program.outputs, found, (), power, told)


def _joined(equations: dict[sp.Expr, Equation], more: Translation) -> dict[sp.Expr, Equation]:
    """Equations with those of another derivation that are not among them, in order."""
    return equations | {e.lhs: e for e in more.equations if e.lhs not in equations}


OUTPUTS = 12
"""Outputs whose tangent kernels are derived, at most."""


@dataclass(frozen=True)
class _Root:
    """A kernel of an output: n^power times ``value``, in the atoms that ``translation`` knows."""

    f: Ref
    value: sp.Expr
    power: sp.Expr
    translation: Translation


def _refuse_many(program: Program) -> None:
    members = Members(program)
    count = sum(ref.name in {f.name for f in program.outputs} for ref in members)
    if count > OUTPUTS:
        reason = f"the tangent kernels of {count} outputs, each with a backward pass of its own"
        span = members.families.span(program.outputs[0].name)
        fewer = f"keep at most {OUTPUTS} outputs"
        raise LimitError(Message(span, reason, f"{fewer}, or ask for nngp()", "too large", f"{fewer}, or ask for --limit nngp"))


def _tangents(forward: Kernels, outputs: list[Ref], names: dict[object, str]) -> list[_Root]:
    """Θ of each output, from a backward pass of its own."""
    found = []
    for k, f in enumerate(outputs, 1):
        suffix = "" if len(outputs) == 1 else f"_{k}"
        try:
            one = Kernels(forward.program, forward.reading, f)
            found.append(_Root(f, *one.tangent(), Translation(one.calculus, names=names, suffix=suffix, own=one.adjoints)))
        except LimitError as error:
            raise LimitError([forward_words(m, forward) for m in error.diagnostics if isinstance(m, Message)]) from None
    return found


def forward_words(message: Message, forward: Kernels) -> Message:
    """A refusal of the backward pass in names of the spec: ``d_y`` is the gradient by y."""

    def spoken(name: re.Match[str]) -> str:
        own, index = name[1], name[2] or ""
        families, temps = forward.members.families, forward.wide.temps
        if own in families.clauses or own in families.weights or own in families.data:
            return name[0] if own not in temps else "a product on this line"
        of = own.removeprefix("d_").rstrip("_")
        named = of not in temps and (of in families.clauses or of in families.weights)
        return f"the gradient by `{of}{index}`" if named else "the gradient by a product on this line"

    names = r"`(\w+)(\[[^`]*\])?`"
    return replace(message, reason=re.sub(names, spoken, message.reason))


@dataclass
class Kernels:
    """The calculus at two samples; with the gradients of ``output`` where one is given.

    ``constants`` are numbers for symbolic constants, ``rules`` the calculus that is made of members and readouts.
    """

    program: Program
    reading: Reading
    output: Ref | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    rules: Callable[[Members, Readouts], Calculus] = lambda members, readouts: Calculus(members, readouts.names)
    backward: Backward | None = None
    scale: sp.Expr = field(default=sp.S.One)

    def __post_init__(self) -> None:
        self.wide = normalize(one_width(self.program))
        self.n = widths(self.wide)[0]
        whole = self._with_gradients(self.output) if self.output is not None else self.wide
        self.members = Members(leading(whole), self.constants)
        self.readouts = Readouts(whole, self.members, self.wide)
        self.calculus = self.rules(self.members, self.readouts)
        for ref in self.members:  # in program order, so that no derivation is deep
            if self.members.families.is_vector(ref):
                for s in (I, J):
                    self.calculus.vector(ref, s)

    @property
    def adjoints(self) -> frozenset[str]:
        """Names that the backward pass made."""
        return frozenset(self.members.families.clauses) - frozenset(Families(self.wide).clauses)

    def span(self, f: Ref) -> Span:
        return self.members.families.span(f.name)

    def covariance(self, f: Ref) -> Sized:
        """K of an output over its readout weights; 0 of an average, which does not vary."""
        if f.name not in self.readouts.names and self.calculus.scalar(f, I) != 0:
            return sp.S.Zero, sp.S.Zero
        return self.readouts.covariance(self.calculus, f, I, f, J), 2 * self.readouts.order(f) - 1

    # ------------------------------------------------------------ the tangent kernel

    def _with_gradients(self, output: Ref) -> Program:
        """The program with its adjoints, N ∂f/∂x with N such that the last ones are Θ(1)."""
        order = Readouts(self.wide, Members(leading(self.wide))).order(output)
        self.scale = self.n ** (1 - order)
        self.backward = backprop(self.wide, output, self.scale)
        return self.backward.program

    def tangent(self) -> Sized:
        """Σ over the trained weights of rate ⟨∂f(i)/∂W, ∂f(j)/∂W⟩, its leading power of the width."""
        parts = []
        for original, weight in zip(one_width(self.program).weights, self.wide.weights, strict=True):
            if not weight.frozen:
                parts += self._matrix(original) if weight.cols is not None else self._vector(original, weight)
        parts = [(value, sp.expand(p)) for value, p in parts if value != 0]
        power = max((p for _, p in parts), default=sp.S.Zero)
        return sp.Add(*(value for value, p in parts if p == power)), power

    def _sized(self, coefficient: sp.Expr) -> Sized:
        """A coefficient c n^p as (c, p)."""
        p = sp.expand_log(sp.log(sp.powsimp(sp.expand(coefficient), force=True)), force=True).coeff(sp.log(self.n))
        return coefficient.subs(self.n, 1).xreplace(named_ratios(self.program)), p

    def _matrix(self, weight: Weight) -> list[Sized]:
        """ΔW-directions of all pairs of uses: dy xᵀ / N each."""
        assert self.backward is not None and weight.rows is not None and weight.cols is not None
        uses: dict[Ref, list[Use]] = {}
        for use in self.backward.uses:
            if use.W.name == weight.ref.name:
                for binding in self.members.points(use.domain, weight.span):
                    W, x, dy = (at(r, binding) for r in (use.W, use.x, use.d_out))
                    uses.setdefault(W, []).append(Use(W, x, dy, use.transpose, ()))
        found = []
        for W, same in uses.items():
            rate = self.reading.rate(weight).subs(self.members.families.binding(weight, W))
            c, p = self._sized(rate * weight.rows.size * weight.cols.size / self.scale**2)
            value = sp.Add(*(self._pair(a, b) for a in same for b in same))
            found.append((c * value, p))
        return found

    def _pair(self, a: Use, b: Use) -> sp.Expr:
        """⟨dy xᵀ, dy' x'ᵀ⟩ / (rows · cols); a transposed use is x dyᵀ."""
        (left, right), (up, down) = ((u.x, u.d_out) if u.transpose else (u.d_out, u.x) for u in (a, b))
        value = self._second(left, up)
        return sp.S.Zero if value == 0 else value * self._second(right, down)

    def _second(self, x: Ref, y: Ref) -> sp.Expr:
        return self.calculus.second(self.calculus.vector(x, I), self.calculus.vector(y, J))

    def _vector(self, original: Weight, weight: Weight) -> list[Sized]:
        """E[Z^{dv}(i) Z^{dv}(j)] of a vector weight, ∂f/∂θ(i) ∂f/∂θ(j) of a scalar one."""
        assert self.backward is not None
        name = self.backward.adjoint.get(weight.ref.name)
        found: list[Sized] = []
        if name is None:
            return found
        factor = weight.multiplier / original.multiplier
        for clause in self.members.families.clauses[name]:
            ins = clause.ins
            assert isinstance(ins, Nonlin)
            if len(ins.out.index) != len(weight.ref.index):
                continue
            last = ins.out.index[-1] if ins.out.index and weight.ref.name in self.members.private else None
            summed = [r for r in clause.domain if r.index == last]
            for binding in self.members.points(tuple(r for r in clause.domain if r not in summed), ins.span):
                ref = Ref(original.ref.name, *(at(e, binding) for e in ins.out.index))
                rate = self.reading.rate(original).subs(self.members.families.binding(original, ref))
                if weight.rows is None:
                    c, p = self._sized(rate * factor**2)
                    p += 2 * self.readouts.orders.get(name, sp.S.Zero)
                    a, b = (self.calculus.scalar(Ref(name, *ref.index), s) for s in (I, J))
                    found.append((c * a * b, p))
                    continue
                c, p = self._sized(rate * factor**2 * weight.rows.size / self.scale**2)
                found.append((c * self._square(at(ins.expr, binding), summed, ins), p))
        return found

    def _square(self, expr: sp.Expr, summed: list[Range], ins: Nonlin) -> sp.Expr:
        """Σ_j E[expr(i) expr(j)] over the coordinates of an input."""
        written = self.members.written(expr, ins.span)
        a, b = (self.calculus.expression(written, s, partial(self.calculus.vector, s=s)) for s in (I, J))
        terms = sp.Add.make_args(sp.expand_mul(self.calculus.second(a, b)))
        return sp.Add(*(sum_over(t, summed) for t in terms))
