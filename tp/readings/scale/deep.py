"""How sizes scale with the depth, where widths have grown first: the classification of a residual network's exponents of L.

Initialization is stable if the sum of all blocks is O(1), training if their updates' is. Blocks are *diverse* if what they add
initially is Θ(1); if it vanishes neighbouring blocks become alike. A block's update that grows with L is called unfaithful.

Source: Yang, Yu, Zhu & Hayou 2023, *Tensor Programs VI*, sections 4 to 6: of the exponents of a block's multiplier and update
only (1/2, 1/2) is stable, faithful, nontrivial and diverse; blocks of two matrices or more have no such optimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tp.errors import NOWHERE, LimitError, Message
from tp.program.ir import Weight
from tp.readings.scale import classify
from tp.readings.scale.concrete import Concrete
from tp.readings.scale.depth import Depth
from tp.readings.scale.expressions import Widths
from tp.readings.scale.forms import DEPTH, Form, unknown
from tp.readings.scale.members import concrete
from tp.readings.scale.optimizers import exponent, optimizer
from tp.readings.scale.report import DepthReport, Exponent, Quantity, Rule, Rules, power
from tp.readings.scale.sizes import Sized, Step
from tp.readings.scale.walk import Walk
from tp.transform.parametrize import ABC

if TYPE_CHECKING:
    from tp.readings.scale.infer import Engine

DEEPEST = 2  # matrices in a block whose exponents of L are worked out
EPSILON = Fraction(1, 1 << 24)  # log L over log n: smaller than any difference of exponents of n


@dataclass
class Deep:
    """A residual program made ready for questions about its depth, at exponents of the width that are given."""

    engine: Engine
    depth: Depth
    concrete: Concrete = field(init=False)
    walks: dict[str, Walk] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.concrete = concrete(self.engine.program, self.engine.growth, self.depth)
        self.constants = self.concrete.deep_constants

    def walk(self, name: str) -> Walk:
        """The evaluator for an optimizer; every weight has exponents of n and of L."""
        if name not in self.walks:
            weights = self.concrete.parameters
            w = {p: None if self.engine.starts_at_zero(x) else _both(f"w_{p}") for p, x in weights.items()}
            u = {p: _both(f"u_{p}") for p, x in weights.items() if not x.frozen}
            self.walks[name] = Walk(self.concrete, optimizer(name), w, u)
        return self.walks[name]

    def declared(self, w: Weight, known: Mapping[str, Fraction] | None = None) -> ABC:
        """The powers of L in a weight's declaration; symbols have the values ``known``, or count as 0 where that is None."""
        widths = Widths(self.engine.growth, self.depth.symbol)
        law = [(w.multiplier, Fraction(-1)), (w.variance, Fraction(-1, 2)), (w.rate, Fraction(-1))]
        if w.variance == 0:
            law[1] = (w.mean, Fraction(-1))
        forms = [Form().plus(widths.size(e, w.span).depth(), c) if e != 0 else Form() for e, c in law]
        values = dict.fromkeys((u for f in forms for u, _ in f.terms), Fraction(0)) if known is None else known
        _require_all({u for f in forms for u, _ in f.terms}, values)
        return ABC(*(f.at(values) for f in forms))


def _both(name: str) -> Form:
    return unknown(name).plus(unknown(DEPTH + name))


def _require_all(names: set[str], values: Mapping[str, Fraction]) -> None:
    missing = sorted(names - set(values))
    if missing:
        reason = f"the exponent `{missing[0]}` of the depth has no value"
        remedy = f"give it one, net.scaling(…, {missing[0]}=1), or let net.mup() find it"
        command = f"give it one, --let {missing[0]}=1, or let `tp mup` find it"
        raise LimitError(Message(NOWHERE, reason, remedy, "undetermined", command))


def followed(deep: Deep) -> str | None:
    """Why exponents of the depth are not derived for blocks of three matrices or more."""
    count, symbol = deep.concrete.block_depth(), deep.depth.symbol
    if count <= DEEPEST:
        return None
    return (
        f"no exponents of the depth `{symbol}`: blocks have {count} matrices, and only blocks of one have an optimal scaling "
        f"with depth; what the updates of several do together vanishes with `{symbol}` where blocks stay different"
    )


@dataclass
class Reading:
    """A run at exponents ``wide`` of n and ``deep`` of L, and what it says."""

    deep: Deep
    walk: Walk
    wide: Mapping[str, Fraction]
    steps: int

    def run(self, point: Mapping[str, Fraction], certified: bool = False) -> list[Step]:
        """The sizes at steps 0…; of equal exponents of n those of L decide."""
        scaled = {DEPTH + u: EPSILON * x for u, x in point.items()}
        full = {**self.wide, **scaled, DEPTH: EPSILON}
        return self.walk.certified(full, self.steps) if certified else self.walk.run(full, self.steps)

    def form(self, sized: Sized) -> Form:
        """The exponent of L as a form."""
        return self.walk.form(sized).depth()

    def exponent(self, sized: Sized, point: Mapping[str, Fraction]) -> Exponent:
        """The exponent of L of what is Θ(1) in n; None for what vanishes with the width, or is 0."""
        if sized is None:
            return None
        form = self.walk.form(sized)
        return form.depth().at(point) if form.width().at(self.wide) == 0 else None

    def violations(self, steps: list[Step]) -> list[classify.Violation]:
        """What grows with the depth, in order of steps and of the program."""
        found = []
        for step in steps:
            for m in self.walk.forward:
                sized = step.sizes[m.slot][0 if step.t == 0 else 1]
                if sized is not None and sized[0] > 0:
                    found.append(classify.Violation(step.t, m, sized))
        return found

    def branches(self, steps: list[Step]) -> dict[str, Sized]:
        """By the weight that ends a block's term: what all initial blocks add to the stream."""
        found: dict[str, Sized] = {}
        for role, sized in steps[0].roles.items():
            if role.kind == "branch" and sized is not None:
                before = found.get(role.parameter)
                found[role.parameter] = sized if before is None or sized[0] > before[0] else before
        return found

    def updates(self) -> dict[str, Sized]:
        """By weight: the largest change that its updates make by themselves, after the last run."""
        return {p: self.walk.alone(p) for p in self.walk.u}


def read(reading: Reading, rules: Mapping[str, ABC], constants: Mapping[str, Fraction]) -> DepthReport:
    """The classification at exponents (a, b, c) of L per weight."""
    names = reading.deep.constants
    _require_all(set(names), constants)
    point = {f"w_{p}": r.a + r.b for p, r in rules.items()} | {c: constants[c] for c in names}
    point |= {f"u_{p}": exponent(reading.walk.optimizer, r.a, r.c) for p, r in rules.items()}
    return report(reading, point, rules)


def report(reading: Reading, point: Mapping[str, Fraction], rules: Mapping[str, ABC], **more: Any) -> DepthReport:
    """What a run at ``point`` says."""
    deep = reading.deep
    steps = reading.run(point, certified=True)
    wrong = [_ending(reading, v, steps) for v in reading.violations(steps)[:1]]
    symbol = deep.depth.symbol
    sizes = _sizes(reading, steps, point, wrong)
    gradients = steps[-2].gradients if len(steps) > 1 and not wrong else {}
    table = {p: _rule(reading, p, r, gradients.get(p), point) for p, r in rules.items()}
    branches = {p: reading.exponent(s, point) for p, s in reading.branches(steps).items()}
    updates = {p: reading.exponent(s, point) for p, s in reading.updates().items()} if not wrong else {}
    return DepthReport(
        symbol,
        Rules(table),
        not any(v.step == 0 for v in wrong),
        not wrong,
        _moves(updates, deep.concrete.inside),
        all(x is None or x >= 0 for x in branches.values()),
        deep.concrete.block_depth(),
        branches,
        updates,
        sizes,
        tuple(_reason(reading, v, symbol, point) for v in wrong[:1]),
        constants={c: point[c] for c in deep.constants},
        **more,
    )


def _moves(updates: Mapping[str, Exponent], inside: frozenset[str]) -> bool:
    """Whether the updates of some block weight move features by Θ(1)."""
    return any(x == 0 for p, x in updates.items() if p in inside)


def _sizes(reading: Reading, steps: list[Step], point: Mapping[str, Fraction], wrong: list[Any]) -> dict[str, Quantity]:
    last = wrong[0].step if wrong else len(steps)
    stop = wrong[0].member.slot if wrong else None
    temps = reading.deep.engine.program.temps
    found: dict[str, Quantity] = {}
    for m in reading.walk.forward:
        name = m.inner if m.inner and m.out[0] in reading.deep.concrete.ways else classify.label(m, temps)
        if m.out[0] not in temps or m.text:
            changes = tuple(reading.exponent(s.sizes[m.slot][1], point) for s in steps[1:] if s.t <= last)
            found.setdefault(name, Quantity(name, reading.exponent(steps[0].sizes[m.slot][0], point), changes, m.span))
        if m.slot == stop:
            break
    return found


def _ending(reading: Reading, v: classify.Violation, steps: list[Step]) -> classify.Violation:
    """Where a stream grows, its end: a block that is followed stands for one with Θ(L) others before it, also the first."""
    m = v.member
    ways = reading.deep.concrete.ways
    for end in reading.walk.forward if m.inner and m.out[0] in ways else ():
        sized = steps[v.step].sizes[end.slot][0 if v.step == 0 else 1]
        if end.last and end.out[0] == m.out[0] and sized is not None and sized[0] > 0:
            return classify.Violation(v.step, end, v.sized)  # with the first power that is too large: later ones build on it
    return v


def _rule(reading: Reading, p: str, r: ABC, gradient: Sized, point: Mapping[str, Fraction]) -> Rule:
    engine, opt = reading.deep.engine, reading.walk.optimizer
    zero = engine.starts_at_zero(engine.concrete.parameters[p])
    size = reading.form(gradient).at(point) if opt.epsilon and gradient is not None else None
    return Rule(
        r.a, None if zero else r.b, r.c, engine.roles[p], None if size is None else size - r.a, r.c if opt.decay else None
    )


def _reason(reading: Reading, v: classify.Violation, symbol: str, point: Mapping[str, Fraction]) -> str:
    form = reading.form(v.sized)
    size = form.at(point)
    name = classify.label(v.member, reading.deep.engine.program.temps)
    when = "at initialization" if v.step == 0 else f"step {v.step}:"
    return f"{when} `{name}` grows like {power(size, symbol)}: {form} = {size} > 0"
