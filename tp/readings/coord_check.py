"""``coord_check``: finite networks trained at several widths, and how the sizes of everything grow with the width.

A change is a sum of parts that may scale differently, and the largest wins in the end, but at what width? So parts are
measured one by one. A derived exponent is *confirmed* if one part attains it and none exceeds it.

- A change is a power series in the learning rate: with SGD the logits of attention move by n^(-1/2) at first order and by n^0
  at second. Where an optimizer follows the gradient's size, every network is trained with the rate and with its negative, in
  steps so small that the lowest orders lead: half the difference is ``odd`` in the rate, half the sum ``even``.
- Where the derived exponent is larger than a step before, so is that of what the step has ``added``.
- The mean square of a scalar is that of what all networks have ``shared`` and that of what fluctuates.

More networks are trained, where they tell most, until all exponents are decided or a budget is used. The runs share the
program with the derivation and nothing else.

Source: Yang et al. 2022, *Tensor Programs V*, appendix D.1 (coordinate checking).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message
from tp.progress import over
from tp.readings.coord_report import CoordCheck, Row
from tp.readings.inputs import generator
from tp.readings.measure import Experiment, Name, Sizes, flips, repeats
from tp.readings.scale.infer import Engine, scaling
from tp.readings.scale.optimizers import Optimizer, optimizer
from tp.readings.scale.report import ScalingReport
from tp.readings.seeds import Open, cost, next_batch
from tp.readings.slopes import CONFIRMED, CONTRADICTED, PRESENT, SHARING, TOLERANCE, UNDECIDED, Slope, shared, shared_slope, slope
from tp.readings.verify import random_inputs
from tp.transform.parametrize import ABC, given, named, parametrize

Array = NDArray[np.float64]
SAMPLES = 4
ROUNDING = 1e-9  # a part that is smaller than the other by this factor is rounding
BATCHES = 8  # between which verdicts are looked at


def coord_check(
    engine: Engine,
    optimizer_name: str | None,
    parametrization: Any,
    widths: Sequence[int],
    steps: int,
    seeds: int,
    lr: float | None,
    inputs: Any,
    seed: int,
    budget: float,
    progress: bool | None,
    constants: Mapping[str, Any],
) -> CoordCheck:
    """See :meth:`tp.net.Net.coord_check`."""
    whole = all(isinstance(n, Integral) for n in (*widths, steps, seeds))
    widths = tuple(sorted(set(widths)))
    if not whole or len(widths) < 2 or widths[0] < 2 or steps < 1 or seeds < 1:
        reason = f"widths {list(widths)}, {steps!r} steps, {seeds!r} seeds"
        raise DataError(Message(NOWHERE, reason, "give two widths at least, one step and one seed", "nothing to fit"))
    if not isinstance(budget, Real) or not 0 <= budget < float("inf"):
        raise DataError(Message(NOWHERE, f"the budget is {budget!r}", "give a number of at least 0", "no budget"))
    if lr is not None and not isinstance(lr, Real):
        raise DataError(Message(NOWHERE, f"the rate is {lr!r}", "give a number, or none to have one found", "no rate"))
    optimizer_name = chosen(optimizer_name, parametrization)
    opt = optimizer(optimizer_name)
    rules = rules_of(engine, parametrization, opt)
    derived = scaling(engine, {p: tuple(r) for p, r in rules.items()}, optimizer_name, max(steps, engine.steps), constants)
    derived = _titled(derived, parametrization)
    last = steps if derived.stable else max(1, min(steps, derived.reasons[0].step))  # later exponents mean nothing
    run = experiment(engine, rules, opt, last, inputs, seed, constants)
    rate = lr if lr is not None else run.rate(widths, _growth(derived))
    study = Study(run, derived, widths, rate, progress)
    study.train([repeats(seeds, n, widths[-1]) for n in widths], [0] * len(widths))
    study.decide(budget)
    counts = tuple(len(found) for found in study.networks), tuple(len(found) for found in study.sets)
    check = CoordCheck(derived, widths, tuple(study.rows), *counts, len(study.signs), rate)
    wrong = check.growing or check.idle
    if not wrong:
        return check
    return replace(check, culprit=run.culprit(widths, wrong[0].quantity, 0 if check.idle else wrong[0].step, rate))


def chosen(name: str | None, parametrization: Any) -> str:
    """The optimizer that is named, or that a report is about, or SGD."""
    if name is None:
        return parametrization.optimizer if isinstance(parametrization, ScalingReport) else "sgd"
    if not isinstance(name, str):
        reason = f"the optimizer is {type(name).__name__}"
        raise DataError(Message(NOWHERE, reason, 'name it, such as "adam"; rules are given as parametrization=…', "no optimizer"))
    return name


def experiment(
    engine: Engine,
    rules: Mapping[str, ABC],
    opt: Optimizer,
    steps: int,
    inputs: Any = None,
    seed: int = 0,
    constants: Mapping[str, Any] | None = None,
) -> Experiment:
    """Finite networks of the program under ``rules``, ready to be run."""
    program = parametrize(engine.program, rules, engine.growth)
    random = generator(seed)
    data = _data(program, inputs, random, constants or {})
    return Experiment(engine, program, opt, steps, data, constants or {}, int(random.integers(2**31)))


def rules_of(engine: Engine, parametrization: Any, opt: Optimizer) -> dict[str, ABC]:
    """(a, b, c) per weight: of a report, of a named parametrization, or given by name."""
    if isinstance(parametrization, ScalingReport):
        return {p: ABC(r.a, r.b if r.b is not None else Fraction(0), r.c) for p, r in parametrization.rules.items()}
    if isinstance(parametrization, str):
        return named(engine.program, parametrization, opt.normalised, engine.growth)
    return given(parametrization or {}, engine.declared)


def _titled(report: ScalingReport, parametrization: Any) -> ScalingReport:
    name = parametrization.parametrization if isinstance(parametrization, ScalingReport) else parametrization
    return replace(report, parametrization=name if isinstance(name, str) else "as declared" if name is None else "as given")


def _data(program: Any, inputs: Any, generator: np.random.Generator, constants: Mapping[str, Any]) -> dict[str, Array]:
    """The data, standard normal unless given."""
    if inputs is not None:
        names = [d.ref.name for d in program.data]
        return dict(inputs) if isinstance(inputs, Mapping) else {names[0]: np.asarray(inputs)}
    holder: Any = type("Holder", (), {"program": program})()
    return random_inputs(holder, generator, constants, SAMPLES)


def _growth(report: ScalingReport) -> float:
    """The largest derived exponent of any change."""
    return max((float(x) for q in report.exponents.values() for x in q.changes if x is not None), default=0.0)


@dataclass
class Study:
    """What has been measured, and what follows for each quantity and step."""

    run: Experiment
    report: ScalingReport
    widths: tuple[int, ...]
    lr: float
    progress: bool | None = None
    networks: list[list[Sizes]] = field(default_factory=list)
    sets: list[list[Sizes]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    open: list[Open] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.networks, self.sets = [[] for _ in self.widths], [[] for _ in self.widths]
        self.narrow = [self.run.narrowest(n) for n in self.widths]
        self.signs = flips(self.run.run(min(self.widths), 0))

    # ------------------------------------------------------------ networks

    def train(self, networks: Sequence[int], sets: Sequence[int]) -> None:
        """Train until there are so many networks, and sets of one with flipped signs, at each width; then judge."""
        todo = [(w, s, False) for w, count in enumerate(networks) for s in range(len(self.networks[w]), count)]
        todo += [(w, s, True) for w, count in enumerate(sets) for s in range(len(self.sets[w]), count)]
        for w, s, flipped in over(todo, "finite widths", " networks", self.progress):
            if flipped:
                self.sets[w].append(self.run.shared(self.widths[w], s, self.lr))
            else:
                self.networks[w].append(self.run.sizes(self.widths[w], s, self.lr))
        self._judge()

    def decide(self, budget: float) -> None:
        """Train more networks while exponents are undecided, for up to ``budget`` times what those so far have cost."""
        left = budget * sum(len(found) * cost(n) for found, n in zip(self.networks, self.widths, strict=True))
        batch = left / BATCHES
        while left > 0 and any(not self._out_of_reach(item, left) for item in self.open):
            self.open = [item for item in self.open if not self._out_of_reach(item, left)]
            if any(item.sets for item in self.open) and not any(self.sets):
                sets, spent = self._pilot(left / 2)
                networks = [len(found) for found in self.networks]
                if not sets:
                    self.open = [item for item in self.open if not item.sets]
                    continue
            else:
                counts = [len(found) for found in self.networks], [len(found) for found in self.sets]
                networks, sets, spent = next_batch(self.open, self.widths, self.narrow, *counts, len(self.signs), batch, left)
            if not spent:
                return
            left -= spent
            self.train(networks, sets)

    def _out_of_reach(self, item: Open, left: float) -> bool:
        """Whether to see what networks share at all would take more than is left, were signals to add up."""
        sets = sum(len(found) * len(self.signs) * cost(n) for found, n in zip(self.sets, self.widths, strict=True))
        return item.sets and item.slope.signal < PRESENT and sets * (PRESENT / max(item.slope.signal, 1e-3) - 1) > left

    def _pilot(self, spend: float) -> tuple[list[int], float]:
        """The least that tells what networks share: ``SHARING`` sets at three widths or more; none if that is too expensive."""
        counts, spent = [0] * len(self.widths), 0.0
        for w, n in enumerate(self.widths):
            price = SHARING * len(self.signs) * cost(n)
            if spent + price > spend:
                break
            counts[w], spent = SHARING, spent + price
        return (counts, spent) if sum(map(bool, counts)) >= min(3, len(counts)) else ([], 0.0)

    # ------------------------------------------------------------ verdicts

    def _judge(self) -> None:
        self.rows, self.open = [], []
        names = dict.fromkeys(name for found in self.networks for sizes in found for name in sizes)
        for step in sorted({s for _, s, _ in names}):
            for quantity, q in self.report.exponents.items():
                parts = [part for name, s, part in names if (name, s) == (quantity, step)]
                if parts and step <= len(q.changes):  # after the first violation exponents have no meaning
                    self.rows.append(self._row(quantity, step, parts))

    def _row(self, quantity: str, step: int, parts: list[str]) -> Row:
        """What one quantity does at one step."""
        changes = self.report.exponents[quantity].changes
        derived = changes[step - 1] if step else self.report.exponents[quantity].initial
        squares = {part: self._squares((quantity, step, part)) for part in parts}
        roots = {part: [float(np.sqrt(x.mean())) if x.size else float("nan") for x in found] for part, found in squares.items()}
        if not any(any(r) for r in roots.values()):
            verdict = CONFIRMED if derived is None else CONTRADICTED
            return Row(quantity, step, 0.0, 0.0, derived, (0.0,) * len(self.widths), verdict)
        largest = np.max(list(roots.values()), axis=0)
        there = [p for p, r in roots.items() if all(a > ROUNDING * b for a, b in zip(r, largest, strict=True))]
        slopes = {p: slope(self.widths, squares[p], self.narrow) for p in there}
        whole = {p: x for p, x in slopes.items() if not p.endswith(" added")}
        if not whole:
            return Row(quantity, step, float("nan"), float("nan"), derived, tuple(largest.tolist()), UNDECIDED)
        part, verdict = _judged(whole, derived)
        if step and derived is not None and verdict != CONFIRMED and whole[part].exponent - 2 * whole[part].error < derived:
            before = changes[step - 2] if step > 1 else None
            grown = before is not None and before < derived
            slopes = (slopes if grown else whole) | self._shared(quantity, step, derived, whole, roots)
            part, verdict = _judged(slopes, derived)
            if verdict == UNDECIDED and part not in whole:
                part = _judged(whole, derived)[0]
        if verdict == UNDECIDED:
            tell = {p: x for p, x in slopes.items() if x.verdict(derived or 0) == UNDECIDED}
            self.open += [Open(x, p.endswith(" shared")) for p, x in tell.items()]
        return Row(quantity, step, slopes[part].exponent, slopes[part].error, derived, tuple(roots[part]), verdict, part)

    def _squares(self, name: Name) -> list[Array]:
        """Mean squares of one part: per width, of the seeds that did not diverge."""
        found = [np.array([float(sizes[name][0]) ** 2 for sizes in networks if name in sizes]) for networks in self.networks]
        return [x[np.isfinite(x)] for x in found]

    def _shared(
        self, quantity: str, step: int, derived: Fraction, whole: dict[str, Slope], roots: dict[str, list[float]]
    ) -> dict[str, Slope]:
        """The slopes of what all networks share in the parts of a scalar; any slope where it is not known and may be hidden."""
        if self.run.named[quantity].vector:
            return {}
        found: dict[str, Slope] = {}
        for part in whole:
            values = [np.array([s[quantity, step, part] for s in sets]) for sets in self.sets]
            fit = shared_slope(self.widths, values, self.narrow, self.run.smooth)
            if fit is not None:
                found[f"{part} shared"] = fit
                roots[f"{part} shared"] = [float(np.sqrt(max(shared(v)[0], 0.0))) if len(v) > 1 else 0.0 for v in values]
        if not found and all(x.exponent < derived - TOLERANCE for x in whole.values()):
            found[" shared"] = Slope(float(derived), float("inf"), (1.0,) * len(self.widths))
        return found


def _judged(slopes: dict[str, Slope], derived: Fraction | None) -> tuple[str, str]:
    """The part that decides, and the verdict: the largest exponent of any part is the derived one."""
    top = max(slopes, key=lambda part: slopes[part].exponent - 2 * slopes[part].error)
    if derived is None:
        return top, CONTRADICTED
    verdicts = {part: s.verdict(derived) for part, s in slopes.items()}
    above = [p for p, v in verdicts.items() if v == CONTRADICTED and slopes[p].exponent > derived]
    if above or all(v == CONTRADICTED for v in verdicts.values()):
        return (above or [top])[0], CONTRADICTED
    verdict = CONFIRMED if CONFIRMED in verdicts.values() else UNDECIDED
    fitting = [part for part, v in verdicts.items() if v == verdict]
    return min(fitting, key=lambda part: abs(slopes[part].exponent - derived)), verdict
