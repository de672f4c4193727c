"""``depth_check``: residual networks of several depths in training, and how the sizes of their streams grow with the depth.

At one width, large but fixed, what a stream is after its last block and how much each update changes it are fitted by a power of
the depth and compared with the derived exponents. The runs share the program with the derivation and nothing else.

Source: Yang, Yu, Zhu & Hayou 2023, *Tensor Programs VI*, section 8 (slopes of the last block's features against the depth).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Integral
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.program.ir import Program
from tp.readings.coord_check import chosen
from tp.readings.indexing import Key
from tp.readings.scale.infer import Engine, scaling
from tp.readings.scale.optimizers import Optimizer, optimizer
from tp.readings.scale.report import DepthReport, ScalingReport
from tp.readings.scale.tables import markdown
from tp.readings.simulate import simulate
from tp.readings.updates import trained
from tp.readings.verify import random_inputs
from tp.transform.parametrize import ABC, parameters, parametrize

Array = NDArray[np.float64]
TOLERANCE = 0.1
SAMPLES = 4


@dataclass(frozen=True, slots=True)
class DepthRow:
    """One variable after ``step`` updates (0: its initial size, else its change): the fitted slope, the derived exponent."""

    quantity: str
    step: int
    slope: float
    error: float
    derived: Fraction | None
    sizes: tuple[float, ...]

    @property
    def agrees(self) -> bool:
        """Within 0.1 and two standard errors of the derived exponent."""
        return self.derived is not None and abs(self.slope - float(self.derived)) <= TOLERANCE + 2 * self.error


@dataclass(frozen=True)
class DepthCheck:
    """The fitted slopes; ``passed``: they are as derived and the derivation says stable."""

    report: DepthReport
    depths: tuple[int, ...]
    rows: tuple[DepthRow, ...]

    @property
    def passed(self) -> bool:
        """All slopes as derived, and nothing grows with the depth."""
        return self.report.stable and all(r.agrees for r in self.rows)

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.passed:
            return "passed"
        wrong = [f"`{r.quantity}` at step {r.step}" for r in self.rows if not r.agrees]
        return (
            f"FAILED: slopes are not the derived exponents, of {', '.join(wrong)}"
            if wrong
            else "FAILED: sizes grow with the depth"
        )

    def __str__(self) -> str:
        rows = [[r.quantity, str(r.step), f"{r.slope:+.2f}", f"{r.error:.2f}", str(r.derived)] for r in self.rows]
        head = f"{self.report}\ndepths {', '.join(map(str, self.depths))}: {self.verdict}"
        return f"{head}\n\n{markdown(['quantity', 'step', 'slope', '±', 'derived'], rows)}"

    __repr__ = __str__


def depth_check(
    engine: Engine,
    optimizer_name: str | None,
    parametrization: ScalingReport | None,
    depths: Sequence[int],
    width: int,
    steps: int,
    seeds: int,
    lr: float | None,
    inputs: Any,
    seed: int,
    constants: Mapping[str, Any],
) -> DepthCheck:
    """See :meth:`tp.net.Net.depth_check`."""
    if isinstance(depths, str) or not isinstance(depths, Iterable) or not all(isinstance(n, Integral) for n in depths):
        raise DataError(Message(NOWHERE, f"depths {depths!r}", "give whole numbers, such as (8, 16, 32)", "nothing to fit"))
    if parametrization is not None and not isinstance(parametrization, ScalingReport):
        reason = f"`parametrization` is {type(parametrization).__name__}"
        raise DataError(Message(NOWHERE, reason, 'give a report that knows the depth: net.mup("sgd")', "no rules"))
    depths = tuple(sorted(set(depths)))
    if len(depths) < 2 or depths[0] < 1 or steps < 1 or seeds < 1:
        reason = f"depths {list(depths)}, {steps} steps, {seeds} seeds"
        raise DataError(Message(NOWHERE, reason, "give two depths at least, one step and one seed", "nothing to fit"))
    optimizer_name = chosen(optimizer_name, parametrization)
    known = {**constants, **({} if parametrization is None else _constants(parametrization))}
    report = parametrization if parametrization is not None else scaling(engine, None, optimizer_name, steps, known)
    if not isinstance(report.depth, DepthReport) or engine.deep is None:
        reason = str(report.depth) if report.depth else "the network has no depth that is a symbol"
        remedy = "leave the number of residual blocks a symbol, `let L`, or load with L=None"
        raise LimitError(Message(NOWHERE, reason, remedy, "no depth to check"))
    program = engine.program if parametrization is None else parametrized(engine, report, report.depth)
    rate = lr if lr is not None else (0.5 if optimizer(optimizer_name).normalised == "none" else 0.05)
    run = _Runs(engine, program, report.depth.symbol, optimizer(optimizer_name), rate, steps, width, known, seed, inputs)
    rows = tuple(_rows(report.depth, run, depths, seeds))
    return DepthCheck(report.depth, depths, rows)


def _constants(report: ScalingReport) -> dict[str, float]:
    deep = report.depth.constants if isinstance(report.depth, DepthReport) else {}
    return {k: float(v) for k, v in {**report.constants, **deep}.items()}


def parametrized(engine: Engine, report: ScalingReport, depth: DepthReport) -> Program:
    """The program with all powers of the width and of the depth that a report's rules give its weights."""
    wide = {p: ABC(r.a, r.b if r.b is not None else Fraction(0), r.c) for p, r in report.rules.items()}
    program = parametrize(engine.program, wide, engine.growth)
    L = next(s for s in program.constants if s.name == depth.symbol)
    made = []
    for name, w in parameters(program).items():
        r = depth.rules[name]
        a, b, c = (sp.Rational(x.numerator, x.denominator) for x in (r.a, r.b or Fraction(0), r.c))
        one = {L: sp.S.One}
        made.append(
            replace(
                w,
                multiplier=w.multiplier.subs(one) * L ** (-a),
                mean=w.mean.subs(one) * L ** (-b),
                variance=w.variance.subs(one) * L ** (-2 * b),
                rate=w.rate.subs(one) * L ** (-c),
            )
        )
    return replace(program, weights=tuple(made))


@dataclass
class _Runs:
    engine: Engine
    program: Program
    symbol: str
    optimizer: Optimizer
    lr: float
    steps: int
    width: int
    constants: Mapping[str, Any]
    seed: int
    given: Any

    def squares(self, depth: int, seed: int) -> Iterator[tuple[str, int, float]]:
        """(quantity, step, mean square) of initial values and changes, for streams after the last block and outputs."""
        constants = {**self.constants, self.symbol: depth}
        data = self._data(constants)
        sizes = {n: max(2, round(self.width ** float(g))) for n, g in self.engine.growth.items()}
        run = simulate(self.program, data, sizes, np.random.default_rng([self.seed, depth, seed]), constants)
        targets = {k: run[k] + 1.0 for ref in self.program.outputs for k in run.members(ref)}
        watched = self._watched(depth)
        first = {k: run[k] for k in watched.values()}
        for step, now in enumerate(trained(run, self.optimizer, targets, self.lr, self.steps)):
            for name, key in watched.items():
                yield name, step, float(np.mean((now[key] - (first[key] if step else 0.0)) ** 2))

    def _watched(self, depth: int) -> dict[str, Key]:
        deep = self.engine.deep
        assert deep is not None
        found = {}
        for m in deep.concrete.members:
            at_end = m.out[0] in deep.concrete.ways and m.last and m.out[0] not in self.engine.program.temps
            if m.forward and (at_end or m.slot in deep.concrete.outputs):
                found[m.name] = (m.out[0], *(depth if k in m.last else v for k, v in enumerate(m.out[1:])))
        return found

    def _data(self, constants: Mapping[str, Any]) -> dict[str, Array]:
        if self.given is not None:
            names = [d.ref.name for d in self.program.data]
            return dict(self.given) if isinstance(self.given, Mapping) else {names[0]: np.asarray(self.given)}
        holder: Any = type("Holder", (), {"program": self.program})()
        return random_inputs(holder, np.random.default_rng(self.seed), constants, SAMPLES)


def _rows(report: DepthReport, run: _Runs, depths: Sequence[int], seeds: int) -> Iterator[DepthRow]:
    found: dict[tuple[str, int], Array] = {}
    for k, depth in enumerate(depths):
        for seed in range(seeds):
            for name, step, square in run.squares(depth, seed):
                found.setdefault((name, step), np.full((len(depths), seeds), np.nan))[k, seed] = square
    for (name, step), squares in sorted(found.items(), key=lambda item: item[0][1]):
        quantity = report.exponents.get(name)
        if quantity is None or step > len(quantity.changes):
            continue
        derived = quantity.initial if step == 0 else quantity.changes[step - 1]
        if derived is None or not np.isfinite(squares).all() or not squares.all():
            continue  # vanishes with the width, at every depth
        slope = _slope(depths, squares)
        left = [_slope(depths, np.delete(squares, k, axis=1)) for k in range(seeds)] if seeds > 1 else [slope]
        error = float(np.sqrt((seeds - 1) / seeds * np.sum((np.array(left) - np.mean(left)) ** 2)))
        yield DepthRow(name, step, slope, error, derived, tuple(np.sqrt(squares.mean(axis=1)).tolist()))


def _slope(depths: Sequence[int], squares: Array) -> float:
    return float(np.polyfit(np.log(np.asarray(depths, float)), np.log(squares.mean(axis=1)) / 2, 1)[0])
