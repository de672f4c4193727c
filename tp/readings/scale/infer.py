"""``scaling``: a program, a parametrization and an optimizer become a :class:`ScalingReport`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from types import NoneType
from typing import Any

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.program.ir import Program, Weight
from tp.readings.scale import classify
from tp.readings.scale.concrete import Concrete
from tp.readings.scale.deep import Deep, Reading, followed, read
from tp.readings.scale.depth import depth_of
from tp.readings.scale.expressions import Widths
from tp.readings.scale.forms import Form, unknown
from tp.readings.scale.hoist import hoisted
from tp.readings.scale.legend import legend
from tp.readings.scale.members import concrete
from tp.readings.scale.optimizers import Optimizer, exponent, optimizer
from tp.readings.scale.report import DepthReport, Rule, Rules, ScalingReport
from tp.readings.scale.sizes import Step
from tp.readings.scale.walk import Walk
from tp.transform.parametrize import ABC, given, named, roles


@dataclass
class Engine:
    """A program made ready for scaling questions: written out once, asked as often as one likes."""

    program: Program
    growth: dict[str, Fraction]
    walks: dict[str, Walk] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.program = hoisted(self.program)
        self.concrete: Concrete = concrete(self.program, self.growth)
        self.roles = roles(self.program, self.growth)
        self.declared = {p: declared(w, self.growth) for p, w in self.concrete.parameters.items()}
        self.steps = 2 if len(set(self.growth.values())) <= 1 else 3
        found = depth_of(self.program)
        self.no_depth = found if isinstance(found, str) else None
        self._depth = None if isinstance(found, str) else found

    @cached_property
    def deep(self) -> Deep | None:
        """The program with its depth as a second variable that grows, if it is residual."""
        return None if self._depth is None else Deep(self, self._depth)

    def starts_at_zero(self, w: Weight) -> bool:
        """Whether the weight is initialized at 0."""
        return bool(w.variance == 0 and w.mean == 0) or bool(w.multiplier == 0)

    def walk(self, name: str) -> Walk:
        """The evaluator for an optimizer, with an unknown w and u for every weight."""
        if name not in self.walks:
            weights = self.concrete.parameters
            w: dict[str, Form | None] = {p: None if self.starts_at_zero(x) else unknown(f"w_{p}") for p, x in weights.items()}
            u = {p: unknown(f"u_{p}") for p, x in weights.items() if not x.frozen}
            self.walks[name] = Walk(self.concrete, optimizer(name), w, u)
        return self.walks[name]

    def point(self, rules: Mapping[str, ABC], opt: Optimizer, constants: Mapping[str, Fraction]) -> dict[str, Fraction]:
        """The values of all unknowns under given exponents."""
        point = {f"w_{p}": r.a + r.b for p, r in rules.items()} | {f"u_{p}": exponent(opt, r.a, r.c) for p, r in rules.items()}
        for name in self.concrete.constants:
            if name not in constants:
                reason = f"the exponent `{name}` has no value"
                remedy = f"give it one, net.scaling(…, {name}=1), or let net.mup() find it"
                command = f"give it one, --let {name}=1, or let `tp mup` find it"
                raise LimitError(Message(NOWHERE, reason, remedy, "undetermined", command))
            point[name] = constants[name]
        return point


def declared(w: Weight, growth: Mapping[str, Fraction], known: Mapping[str, Fraction] | None = None) -> ABC:
    """The exponents that a spec gives a weight; symbols in them have the values ``known``, or count as 0 where that is None."""
    widths = Widths(growth)
    law = [(w.multiplier, Fraction(-1)), (w.variance, Fraction(-1, 2)), (w.rate, Fraction(-1))]
    if w.variance == 0:
        law[1] = (w.mean, Fraction(-1))
    forms = [Form().plus(widths.size(e, w.span), c) if e != 0 else Form() for e, c in law]
    names = {u for f in forms for u, _ in f.terms}
    missing = sorted(names - set(known)) if known is not None else []
    if missing:
        reason = f"the exponent `{missing[0]}` of `{w.ref}` has no value"
        remedy = f"give it one, net.scaling(…, {missing[0]}=1), or let net.mup() find the exponents"
        command = f"give it one, --let {missing[0]}=1, or let `tp mup` find the exponents"
        raise LimitError(Message(w.span, reason, remedy, "undetermined", command))
    values = dict.fromkeys(names, Fraction(0)) | dict(known or {})
    return ABC(*(f.at(values) for f in forms))


def growths(program: Program, given_: Mapping[str, Any] | None) -> dict[str, Fraction]:
    """How every free width grows: like n unless ``given`` says ``{"m": "1/2"}``, like n^(1/2)."""
    widths = sorted({s.name for space in program.spaces for s in space.size.free_symbols})
    growth = dict.fromkeys(widths, Fraction(1))
    for name, value in (given_ or {}).items():
        if name not in growth:
            reason = f"there is no free width `{name}`"
            raise DataError(Message(NOWHERE, reason, f"the widths are {', '.join(widths)}", "unknown width"))
        growth[name] = exact(value, f"the growth of `{name}`")
        if growth[name] < 0:
            raise DataError(Message(NOWHERE, f"`{name}` would shrink", "give an exponent of at least 0", "no width"))
    if widths and 1 not in growth.values():
        reason = "no width grows like n itself, in whose powers all sizes are given"
        raise DataError(Message(NOWHERE, reason, f"leave one at 1, as it is of itself: {', '.join(widths)}", "no width"))
    return growth


def exact(value: Any, what: str) -> Fraction:
    """A number such as 2, "1/2" or a ``Fraction``."""
    try:
        return Fraction(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise DataError(Message(NOWHERE, f"{what} is {value!r}", 'give an exact number, such as "1/2"', "no exponent")) from None


def known_constants(engine: Engine, constants: Mapping[str, Any] | None, steps: int | None) -> dict[str, Fraction]:
    """Values of symbols; ``DataError`` for those that the network has not, and for a number of steps that is none."""
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise DataError(Message(NOWHERE, f"{steps!r} steps", "give a whole number of at least 1", "steps"))
    deep = engine.deep.constants if engine.deep is not None else ()
    names = {str(c) for c in (*engine.concrete.constants, *deep, *engine.program.constants, *engine.program.tables)}
    for name in constants or {}:
        if name not in names | {c.split("[")[0] for c in names}:
            remedy = f"it has {', '.join(sorted(names))}" if names else "all of them have values: give another when loading"
            raise DataError(
                Message(NOWHERE, f"`{name}` is no constant that this network leaves open", remedy, "unknown constant")
            )
    return {name: exact(value, f"`{name}`") for name, value in (constants or {}).items()}


def scaling(
    engine: Engine,
    parametrization: str | Mapping[str, Any] | None = None,
    optimizer_name: str = "sgd",
    steps: int | None = None,
    constants: Mapping[str, Any] | None = None,
) -> ScalingReport:
    """The classification under a named parametrization, under (a, b, c) per weight, or (None) as the spec declares."""
    opt = optimizer(optimizer_name)
    walk = engine.walk(optimizer_name)
    known = known_constants(engine, constants, steps)
    if isinstance(parametrization, str):
        rules = named(engine.program, parametrization, opt.normalised, engine.growth)
        title = parametrization
    elif not isinstance(parametrization, (Mapping, NoneType)):
        remedy = 'choose "sp", "ntp", "mup" or "mfp", or give (a, b, c) per weight: {"W": (0, "1/2", 0)}'
        raise DataError(Message(NOWHERE, f"there is no parametrization {parametrization!r}", remedy, "unknown parametrization"))
    else:
        table = parametrization or {}
        own = {p for p in engine.declared if p in table or p.split("[")[0].rstrip("'") in table}
        weights = engine.concrete.parameters.items()
        base = {p: engine.declared[p] if p in own else declared(w, engine.growth, known) for p, w in weights}
        rules = given(table, base)
        title = "as declared" if parametrization is None else "as given"
    point = engine.point(rules, opt, known)
    last = steps or engine.steps
    found = walk.certified(point, last)
    return report(engine, walk, found, point, rules, title, depth=_depth(engine, walk, found, point, last, known))


def _depth(
    engine: Engine, walk: Walk, found: list[Step], point: Mapping[str, Fraction], steps: int, known: Mapping[str, Fraction]
) -> DepthReport | LimitError | str | None:
    """The exponents of the depth, at the powers of it that the spec declares."""
    deep = engine.deep
    if deep is None:
        return engine.no_depth
    if classify.violations(walk, found):
        return f"the depth `{deep.depth.symbol}` matters where the width does no harm: not stable as the width grows"
    refused = followed(deep)
    if refused:
        return refused
    missing = sorted(set(deep.constants) - set(known))
    if missing:
        return f"the exponent `{missing[0]}` of the depth `{deep.depth.symbol}` has no value: give one, or let net.mup() find it"
    rules = {p: deep.declared(w, known) for p, w in engine.concrete.parameters.items()}
    try:
        return read(Reading(deep, deep.walk(walk.optimizer.name), point, steps), rules, known)
    except LimitError as error:
        return error


def report(
    engine: Engine,
    walk: Walk,
    steps: list[Step],
    point: Mapping[str, Fraction],
    rules: Mapping[str, ABC],
    title: str,
    **more: Any,
) -> ScalingReport:
    """What a run says, as an object for people."""
    temps = engine.program.temps
    wrong = classify.violations(walk, steps)
    quantities, behind, names = classify.quantities(walk, steps, temps)
    called = [(v, names.get(v.member.slot) or classify.label(v.member, temps)) for v in _first(wrong)]
    reasons = tuple(classify.reason(walk, v, name, point) for v, name in called)
    gradients = steps[-2].gradients if len(steps) > 1 and not wrong else {}  # after a violation they mean nothing
    last = {p: walk.exponent(s) for p, s in gradients.items()}
    table = {p: _rule(engine, p, r, walk.optimizer, last.get(p)) for p, r in rules.items()}
    outputs = tuple(dict.fromkeys(classify.label(m, temps) for m in walk.forward if m.slot in walk.program.outputs))
    verdict = classify.verdict(walk, steps, point)  # after the others: where it is not stable it runs the walk again
    if verdict.stable and not verdict.nontrivial:
        reasons = classify.idle(walk, steps, temps, point)
    return ScalingReport(
        engine.program.name,
        walk.optimizer.name,
        title,
        Rules(table),
        verdict.stable_at_init,
        verdict.stable,
        verdict.nontrivial,
        verdict.nontrivial and verdict.r == 0,
        verdict.r,
        verdict.layers,
        quantities,
        reasons,
        constants={c: point[c] for c in engine.concrete.constants},
        outputs=outputs,
        behind=behind,
        legend=legend(engine.program, engine.concrete, (*quantities, *behind, *(name for _, name in called))),
        **more,
    )


def _first(wrong: list[Any]) -> list[Any]:
    """The violations of the first step at which there are any: later ones have no meaning."""
    return [v for v in wrong if v.step == wrong[0].step][:1] if wrong else []


def _rule(engine: Engine, p: str, r: ABC, opt: Optimizer, gradient: Fraction | None) -> Rule:
    zero = engine.starts_at_zero(engine.concrete.parameters[p])
    epsilon = gradient - r.a if opt.epsilon and gradient is not None else None
    return Rule(r.a, None if zero else r.b, r.c, engine.roles[p], epsilon, r.c if opt.decay else None)
