"""What has to be drawn for a kernel: steps in an order in which each reads earlier ones, and formulas of their second moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import sympy as sp

from tp.errors import LimitError, Message, Span
from tp.limit.equations import Entry, I, J, Value, Z
from tp.limit.moments import Reading
from tp.limit.nodes.named import Second, named, named_backward
from tp.limit.zcalculus.arrays import Compiled, compiled
from tp.limit.zcalculus.atoms import Drive
from tp.limit.zcalculus.kernels import Kernels, Sized, forward_words
from tp.limit.zcalculus.mean import gaussians
from tp.limit.zcalculus.members import Members
from tp.program.ir import MatMul, Moment, Program, Ref

Source = tuple[Any, ...]
"""A matrix in one direction, or a family of weights that takes an input: what it makes of its arguments is jointly Gaussian."""


@dataclass(frozen=True)
class Formula:
    """An expression in named arrays. ``reads``: the names, of vectors, scalars, coordinates and second moments."""

    expr: sp.Expr

    @cached_property
    def code(self) -> Compiled:
        return compiled(self.expr, tuple(gaussians(self.expr)))

    @property
    def reads(self) -> list[sp.Basic]:
        return [name for _, name in self.code.names]


@dataclass(frozen=True)
class Step:
    """One vector or scalar, ``out``, at all samples. ``sampled``: whether it is another for each."""

    out: sp.Expr
    sampled: bool
    span: Span

    @property
    def reads(self) -> list[sp.Basic]:
        return []


@dataclass(frozen=True)
class Initial(Step):
    """ZInit: a centred Gaussian vector."""

    std: float


@dataclass(frozen=True)
class Product(Step):
    """ZMatMul without a dot part: Gaussian with the covariance ``variance`` E[Z^x Z^x'], over all calls of one ``source``."""

    source: Source
    variance: float
    x: Formula

    @property
    def reads(self) -> list[sp.Basic]:
        return self.x.reads


@dataclass(frozen=True)
class Input(Step):
    """Σ_j c_j Z^{U[j]}: Gaussian with the covariance Σ_j σ_j² c_j c_j'; ``terms`` are the σ_j c_j, by j."""

    source: Source
    terms: Mapping[int, Formula]

    @property
    def reads(self) -> list[sp.Basic]:
        return list(dict.fromkeys(name for term in self.terms.values() for name in term.reads))


@dataclass(frozen=True)
class Function(Step):
    """ZNonlin, or a function of scalars; with a ``factor``, ZMoment: its mean over the nodes times that."""

    formula: Formula
    factor: Formula | None = None

    @property
    def reads(self) -> list[sp.Basic]:
        return self.formula.reads + (self.factor.reads if self.factor else [])


@dataclass(frozen=True)
class Plan:
    """Steps, and for each output the formula of one kernel, in second moments of what the steps make.

    ``signs``: in a backward pass, which is linear, the read-out weights enter to the second order alone: signs serve for them.
    """

    members: Members
    formulas: tuple[Formula, ...]
    steps: tuple[Step, ...] = ()
    signs: frozenset[sp.Expr] = frozenset()

    @cached_property
    def last(self) -> Mapping[sp.Basic, int]:
        """The last step that reads an array; those of formulas stay."""
        found: dict[sp.Basic, int] = {}
        for k, step in enumerate(self.steps):
            found.update(dict.fromkeys(step.reads, k))
        return found | dict.fromkeys(self.kept, len(self.steps))

    @cached_property
    def _seconds(self) -> list[Second]:
        return list(dict.fromkeys(e for f in self.formulas for e in f.reads if isinstance(e, Second)))

    @cached_property
    def _own(self) -> Mapping[sp.Expr, sp.Expr]:
        """The sides of second moments, each at sample i."""
        return {side: side.xreplace({J: I}) for side in dict.fromkeys(side for e in self._seconds for side in (e.a, e.b))}

    @cached_property
    def sides(self) -> tuple[Formula, ...]:
        """What the second moments of the formulas are of, at sample i."""
        return tuple(map(Formula, dict.fromkeys(self._own.values())))

    @cached_property
    def moments(self) -> Mapping[sp.Basic, tuple[int, int]]:
        """The two sides of each second moment, by their places."""
        at = {side.expr: k for k, side in enumerate(self.sides)}
        return {e: (at[self._own[e.a]], at[self._own[e.b]]) for e in self._seconds}

    @cached_property
    def kept(self) -> frozenset[sp.Basic]:
        """What these are made of, and the scalars in formulas."""
        scalars = (e.xreplace({J: I}) for f in self.formulas for e in f.reads if isinstance(e, Value))
        return frozenset([*(name for side in self.sides for name in side.reads), *scalars])

    @cached_property
    def columns(self) -> Mapping[Source, list[int]]:
        """The members of the weight families that inputs meet."""
        found: dict[Source, set[int]] = {}
        for step in self.steps:
            if isinstance(step, Input):
                found.setdefault(step.source, set()).update(step.terms)
        return {source: sorted(places) for source, places in found.items()}


def plans(program: Program, kind: str, literal: bool, constants: Mapping[str, Any], output: str) -> tuple[list[Plan], sp.Expr]:
    """What is to be drawn: one plan for all members of an output, or for tangent kernels one for each, with its backward pass.

    With it comes the power of the width that the kernel was divided by. Raises ``LimitError`` where an output is no Gaussian
    process.
    """
    forward = Kernels(program, Reading(literal), None, constants, named)
    members = [ref for ref in forward.members if ref.name == output]
    if kind == "K":
        values, power = _leading([forward.covariance(f) for f in members])
        return [_plan(forward, values)], power
    try:
        backward = [Kernels(program, Reading(literal), f, constants, named_backward) for f in members]
        values, power = _leading([one.tangent() for one in backward])
        return [_plan(one, [value]) for one, value in zip(backward, values, strict=True)], power
    except LimitError as error:
        raise LimitError([forward_words(m, forward) for m in error.diagnostics if isinstance(m, Message)]) from None


def _leading(sized: list[Sized]) -> tuple[list[sp.Expr], sp.Expr]:
    """Values with the largest power of the width, 0 for others; and that power."""
    power = max((p for value, p in sized if value != 0), default=sp.S.Zero)
    return [value if p == power else sp.S.Zero for value, p in sized], power


def _plan(kernels: Kernels, values: list[sp.Expr]) -> Plan:
    formulas = tuple(Formula(v.doit() if v.has(sp.Sum) else v) for v in values)
    plan = Plan(kernels.members, formulas)
    writer = _Writer(kernels)
    writer.write(plan.kept)
    plan = replace(plan, steps=tuple(writer.steps.values()))
    if kernels.output is None:
        return plan
    own = [s.out for s in plan.steps if isinstance(s, Initial) and kernels.readouts.own(s.out.a)]
    return replace(plan, signs=frozenset(v for v in own if _is_linear(plan, v)))


def _is_linear(plan: Plan, v: sp.Expr) -> bool:
    """Whether all that is made of an initial vector is linear in it, so that second moments hold its variance alone.

    A bias that outputs alone read may stand inside a function.
    """
    made = {v}
    for step in plan.steps:
        made |= {step.out} if made.intersection(step.reads) else set()
    formulas = [*(step.formula for step in plan.steps if isinstance(step, Function)), *plan.sides]
    read = [(f.expr, z) for f in formulas for z in f.reads if z in made]
    return all(isinstance(z, Z) and not sp.diff(e, z).has(*made) for e, z in read)


class _Writer:
    """Steps for what is asked for, after those they read."""

    def __init__(self, kernels: Kernels) -> None:
        self.members, self.calculus = kernels.members, kernels.calculus
        self.steps: dict[sp.Basic, Step] = {}

    def write(self, wanted: Iterable[sp.Basic]) -> None:
        made: dict[sp.Basic, Step] = {}
        stack = [(e, False) for e in sorted(set(wanted), key=str, reverse=True)]
        while stack:
            e, ready = stack.pop()
            if e in self.steps or not _made(e):
                continue
            if ready:
                self.steps[e] = made[e]
                continue
            made[e] = self.step(e)
            stack += [(e, True), *((r, False) for r in reversed(made[e].reads) if r not in self.steps)]

    def step(self, e: Any) -> Step:
        if isinstance(e, Drive):
            return self.input(e)
        ins = self.members.instruction(e.a)
        sampled = e.a.name in self.members.sampled
        if ins is None:
            weight, binding = self.members.weight(e.a)
            variance = (weight.multiplier**2 * weight.variance).subs(binding)
            return Initial(e, False, weight.span, _number(variance, weight.span) ** 0.5)
        if isinstance(ins, MatMul):
            return self.product(e, ins, sampled)
        factor = Formula(self.expression(ins.coeff)) if isinstance(ins, Moment) else None
        return Function(e, sampled, ins.span, Formula(self.expression(ins.expr)), factor)

    def product(self, e: Any, ins: MatMul, sampled: bool) -> Step:
        x = self.members.find(ins.x)
        weight, binding = self.members.weight(ins.W, matrix=True)
        assert weight.rows is not None and weight.cols is not None
        v = (weight.multiplier**2 * weight.variance).subs(binding)
        if ins.transpose:
            v = sp.cancel(v * weight.rows.size / weight.cols.size)
        argument = sp.S.Zero if x is None else self.calculus.vector(x, I)
        return Product(e, sampled, ins.span, (ins.W, ins.transpose), _number(v, ins.span), Formula(argument))

    def input(self, e: Drive) -> Step:
        c, u, j, lo, hi, _ = e.args
        terms = {}
        for k in range(int(lo), int(hi) + 1):
            weight, binding = self.members.weight(Ref(u.args[0], *u.index[:-1], sp.Integer(k)))
            variance = _number((weight.multiplier**2 * weight.variance).subs(binding), weight.span)
            terms[k] = Formula(variance**0.5 * c.xreplace({j: sp.Integer(k)}))
        sampled = any(isinstance(r, Value) for t in terms.values() for r in t.reads)
        return Input(e, sampled, self.members.families.span(u.name), (u.name, *u.index[:-1]), terms)

    def expression(self, expr: sp.Expr) -> sp.Expr:
        return self.calculus.expression(expr, I, lambda r: self.calculus.vector(r, I))


def _made(e: sp.Basic) -> bool:
    """Whether a name stands for what a step makes; data are given."""
    return not (isinstance(e, Entry) or (isinstance(e, Value) and e.kind_name == "data"))


def _number(e: sp.Expr, span: Span) -> float:
    if e.free_symbols:
        names = ", ".join(f"`{s}`" for s in sorted(e.free_symbols, key=str))
        reason = f"a variance depends on the ratio of widths, {names}"
        raise LimitError(Message(span, reason, "declare one width as a multiple of the other, `width m = 2*n`", "open ratio"))
    return float(e)
