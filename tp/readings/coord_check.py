"""``coord_check``: finite networks trained at several widths, and how the sizes of everything grow with the width.

For every variable the root mean square of its coordinates initially, and of its change after every update, is fitted by a
power of the width and compared with the derived exponent. The runs share the program with the derivation and nothing else.

Source: Yang et al. 2022, *Tensor Programs V*, appendix D.1 (coordinate checking).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message
from tp.program.ir import Program
from tp.readings.indexing import Key
from tp.readings.scale import classify
from tp.readings.scale.infer import Engine, scaling
from tp.readings.scale.members import Member
from tp.readings.scale.optimizers import Optimizer, optimizer
from tp.readings.scale.report import ScalingReport
from tp.readings.scale.tables import html, latex, markdown
from tp.readings.simulate import Run, replay, simulate
from tp.readings.updates import first_update, trained
from tp.transform.parametrize import ABC, given, named, parameters, parametrize

Array = NDArray[np.float64]
TOLERANCE = 0.1
SAMPLES = 4
REDRAWN = 24  # a scalar's initial size is a mean over this many draws of the vector weights


@dataclass(frozen=True, slots=True)
class Row:
    """One variable at one step (0: its initial size; later: its change): the fitted slope, and the derived exponent.

    ``derived`` is None for what stays exactly zero. ``sizes`` are the root mean squares at the widths.
    """

    quantity: str
    step: int
    slope: float
    error: float
    derived: Fraction | None
    sizes: tuple[float, ...]
    agrees: bool


@dataclass(frozen=True)
class CoordCheck:
    """The fitted slopes of a network under one optimizer. ``passed``: they are as derived, and nothing grows."""

    report: ScalingReport
    widths: tuple[int, ...]
    rows: tuple[Row, ...]
    seeds: int
    tolerance: float = TOLERANCE
    culprit: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether all slopes are within tolerance of the derived exponents."""
        return all(r.agrees for r in self.rows)

    @property
    def growing(self) -> tuple[Row, ...]:
        """What grows with the width, as measured, in order of steps and of the program."""
        return tuple(r for r in self.rows if r.slope > 2 * self.tolerance + r.error)

    @property
    def passed(self) -> bool:
        return self.agrees and self.report.stable and not self.growing

    @property
    def blame(self) -> str | None:
        """The variable that grows first, as measured; the derivation's is ``report.reasons[0].quantity``.

        ``culprit`` is the weight whose update alone moves it most; the derivation's are ``report.reasons[0].blame``.
        """
        return self.growing[0].quantity if self.growing else None

    def table(self, style: str = "markdown") -> str:
        """All rows as a ``markdown``, ``html`` or ``latex`` table."""
        head = ["quantity", "step", "slope", "±", "derived", ""]
        rows = [
            [r.quantity, str(r.step), f"{r.slope:+.2f}", f"{r.error:.2f}", _derived(r), "" if r.agrees else "✗"]
            for r in self.rows
        ]
        styles = {"markdown": markdown, "html": html, "latex": latex}
        if style not in styles:
            reason = f"there is no table style {style!r}"
            raise DataError(Message(NOWHERE, reason, f"choose {', '.join(styles)}", "unknown style"))
        return styles[style](head, rows)

    def __str__(self) -> str:
        r = self.report
        widths = ", ".join(map(str, self.widths))
        head = f"{r.network}, {r.optimizer}, {r.parametrization}: {'passed' if self.passed else 'FAILED'}"
        lines = [head, f"slopes of log size against log width, widths {widths}, {self.seeds} seeds", "", self.table()]
        if self.blame is not None:
            by = f", most of it by the update of `{self.culprit}`" if self.culprit else ""
            lines += ["", f"measured: `{self.blame}` is the first to grow, like n^{self.growing[0].slope:.2f}{by}"]
        lines += ["", *map(str, r.reasons)] if r.reasons else []
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table("html")

    def to_json(self) -> str:
        """The rows and the derivation, as JSON."""
        rows = [
            {
                "quantity": r.quantity, "step": r.step, "slope": r.slope, "error": r.error,
                "derived": None if r.derived is None else str(r.derived), "sizes": list(r.sizes), "agrees": r.agrees,
            }
            for r in self.rows
        ]  # fmt: skip
        data: dict[str, Any] = {"passed": self.passed, "agrees": self.agrees, "blame": self.blame, "culprit": self.culprit}
        data |= {"widths": list(self.widths), "seeds": self.seeds, "rows": rows}
        return json.dumps({**data, "derivation": self.report.data()}, indent=1, ensure_ascii=False)

    def plot(self, path: str | Path) -> None:
        """Sizes against width, one panel per step, each line with its derived slope; .png, .pdf or .svg."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        steps = sorted({r.step for r in self.rows})
        figure, panels = pyplot.subplots(1, len(steps), figsize=(4 * len(steps), 4), sharey=True, squeeze=False)
        for panel, step in zip(panels[0], steps, strict=True):
            for k, r in enumerate(r for r in self.rows if r.step == step and all(s > 0 for s in r.sizes)):
                label = f"{r.quantity}: {r.slope:+.2f}" + ("" if r.agrees else " ✗")
                panel.loglog(self.widths, r.sizes, marker="o", color=f"C{k % 10}", label=label)
                if r.derived is not None:
                    line = [r.sizes[0] * (n / self.widths[0]) ** float(r.derived) for n in self.widths]
                    panel.loglog(self.widths, line, color=f"C{k % 10}", linestyle=":", linewidth=1)
            panel.set_title("initially" if step == 0 else f"change after {step} update{'s' * (step > 1)}")
            panel.set_xlabel("width")
            panel.legend(fontsize="x-small")
        panels[0][0].set_ylabel("root mean square (dotted: derived)")
        figure.tight_layout()
        figure.savefig(path, format=_format(path))
        pyplot.close(figure)


def _derived(r: Row) -> str:
    return "0 identically" if r.derived is None else str(r.derived)


def _format(path: str | Path) -> str | None:
    suffix = Path(path).suffix.lstrip(".").lower()
    return suffix if suffix in ("png", "pdf", "svg") else "png"


def coord_check(
    engine: Engine,
    parametrization: Any,
    optimizer_name: str,
    widths: Sequence[int],
    steps: int,
    seeds: int,
    lr: float | None,
    inputs: Any,
    seed: int,
    progress: bool,
    constants: Mapping[str, Any],
) -> CoordCheck:
    """See :meth:`tp.net.Net.coord_check`."""
    widths = tuple(sorted(set(widths)))
    if len(widths) < 2 or widths[0] < 2 or steps < 1 or seeds < 1:
        reason = f"widths {list(widths)}, {steps} steps, {seeds} seeds"
        raise DataError(Message(NOWHERE, reason, "give two widths at least, one step and one seed", "nothing to fit"))
    opt = optimizer(optimizer_name)
    rules = _rules(engine, parametrization, opt)
    derived = scaling(engine, {p: tuple(r) for p, r in rules.items()}, optimizer_name, steps, constants)
    derived = _titled(derived, parametrization)
    program = parametrize(engine.program, rules, engine.growth)
    rate = lr if lr is not None else (0.1 if opt.normalised == "none" else 0.02)
    run = _Check(engine, program, opt, rate, steps, np.random.default_rng(seed), dict(constants))
    data = run.inputs(inputs)
    sizes = run.sizes(data, widths, seeds, progress)
    check = CoordCheck(derived, widths, tuple(_rows(derived, sizes, widths, run.order)), seeds)
    if check.growing and check.growing[0].step == 1:
        check = replace(check, culprit=run.culprit(data, widths[-1], check.growing[0].quantity))
    return check


def _rules(engine: Engine, parametrization: Any, opt: Optimizer) -> dict[str, ABC]:
    if isinstance(parametrization, ScalingReport):
        return {p: ABC(r.a, r.b if r.b is not None else Fraction(0), r.c) for p, r in parametrization.rules.items()}
    if isinstance(parametrization, str):
        return named(engine.program, parametrization, opt.normalised)
    return given(engine.program, parametrization or {}, engine.declared)


def _titled(report: ScalingReport, parametrization: Any) -> ScalingReport:
    name = parametrization.parametrization if isinstance(parametrization, ScalingReport) else parametrization
    return replace(report, parametrization=name if isinstance(name, str) else "as declared" if name is None else "as given")


@dataclass
class _Check:
    engine: Engine
    program: Program
    optimizer: Optimizer
    lr: float
    steps: int
    generator: np.random.Generator
    constants: dict[str, Any]
    order: list[tuple[str, int]] = field(default_factory=list)

    def inputs(self, given_: Any) -> dict[str, Array]:
        """The data, standard normal unless given."""
        from tp.readings.verify import random_inputs

        if given_ is not None:
            names = [d.ref.name for d in self.program.data]
            return dict(given_) if isinstance(given_, Mapping) else {names[0]: np.asarray(given_)}
        holder: Any = type("Holder", (), {"program": self.program})()
        return random_inputs(holder, self.generator, self.constants, SAMPLES)

    def sizes(self, data: dict[str, Array], widths: Sequence[int], seeds: int, progress: bool) -> dict[tuple[str, int], Array]:
        """Mean squares [widths, seeds] by quantity and step; NaN where a run diverged."""
        found: dict[tuple[str, int], Array] = {}
        targets: dict[Key, Array] = {}
        runs = [(w, s) for w in range(len(widths)) for s in range(seeds)]
        for w, s in _bar(runs, progress):
            run = self._run(data, widths[w])
            if not targets:
                keys = [k for ref in self.program.outputs for k in run.members(ref)]
                targets = {k: self.generator.choice([-1.0, 1.0], run.samples) for k in keys}
            for name, step, size in self._measured(run, targets):
                if (name, step) not in found:
                    found[name, step] = np.full((len(widths), seeds), np.nan)
                    self.order.append((name, step))
                found[name, step][w, s] = size
        return found

    def _run(self, data: dict[str, Array], width: int) -> Run:
        sizes = {n: max(2, round(width ** float(g))) for n, g in self.engine.growth.items()}
        drawn = self.generator.spawn(1)[0]
        return simulate(self.program, data, sizes, drawn, self.constants)

    def _measured(self, run: Run, targets: dict[Key, Array]) -> Any:
        """(quantity, step, mean square) of the initial values and of all changes."""
        temps = self.engine.program.temps
        members = [m for m in self.engine.concrete.members if m.forward and (m.out[0] not in temps or m.text)]
        alike = {m.out: _alike(run, m) for m in members}
        first = {k: run[k] for keys in alike.values() for k in keys}
        spread = self._spread(run, [k for m in members if not m.vector for k in alike[m.out]])
        try:
            for step, now in enumerate(trained(run, self.optimizer, targets, self.lr, self.steps)):
                seen: dict[str, float] = {}
                for m in members:
                    squares = [spread.get(k) or float(np.mean(run[k] ** 2)) for k in alike[m.out]]
                    if step > 0:
                        squares = [float(np.mean((now[k] - first[k]) ** 2)) for k in alike[m.out]]
                    if squares:
                        seen.setdefault(classify.label(m, temps), float(np.mean(squares)))
                yield from ((name, step, size) for name, size in seen.items())
        except DataError:  # diverged: what was measured before counts
            return

    def culprit(self, data: dict[str, Array], width: int, quantity: str) -> str | None:
        """The weight whose first update alone moves ``quantity`` most."""
        run = self._run(data, width)
        keys = [k for ref in self.program.outputs for k in run.members(ref)]
        targets = {k: self.generator.choice([-1.0, 1.0], run.samples) for k in keys}
        changed = first_update(run, self.optimizer, targets, self.lr)
        temps = self.engine.program.temps
        member = next(m for m in self.engine.concrete.members if m.forward and classify.label(m, temps) == quantity)
        moved: dict[str, float] = {}
        for name, weight in parameters(self.program).items():
            own = {k: a for k, a in changed.items() if run.weights[k].weight is weight}
            if own:
                now = replay(run, own)
                moved[name] = float(np.mean([np.mean((now[k] - run[k]) ** 2) for k in _alike(run, member)]))
        return max(moved, key=lambda p: moved[p]) if moved else None

    def _spread(self, run: Run, scalars: list[Key]) -> dict[Key, float]:
        """Mean squares of scalars at initialization, over fresh draws of the vector weights."""
        total = {k: float(np.mean(run[k] ** 2)) for k in scalars}
        for _ in range(REDRAWN if scalars else 0):
            fresh = {}
            for key, d in run.weights.items():
                if d.weight.cols is None and d.variance > 0:
                    entries = d.mean + np.sqrt(d.variance) * self.generator.standard_normal(run[key].shape)
                    fresh[key] = d.multiplier * entries
            again = replay(run, fresh)
            for k in scalars:
                total[k] += float(np.mean(again[k] ** 2))
        return {k: x / (REDRAWN + 1) for k, x in total.items()}


def _alike(run: Run, m: Member) -> list[Key]:
    """The members of a family that a representative stands for: all positions, tokens, coordinates, of its layer."""
    fixed = [k for k in range(len(m.out) - 1) if k not in m.parallel]
    same = (k for k in run.values if k[0] == m.out[0] and len(k) == len(m.out))
    return [k for k in same if all(k[1 + slot] == m.out[1 + slot] for slot in fixed)]


def _rows(
    report: ScalingReport, sizes: dict[tuple[str, int], Array], widths: Sequence[int], order: list[tuple[str, int]]
) -> list[Row]:
    rows = []
    places = {name: k for k, name in enumerate(dict.fromkeys(n for n, _ in order))}
    for name, step in sorted(order, key=lambda o: (o[1], places[o[0]])):
        quantity = report.exponents.get(name)
        if quantity is None or step > len(quantity.changes):
            continue  # after the first violation exponents have no meaning
        derived = quantity.initial if step == 0 else quantity.changes[step - 1]
        rows.append(_row(name, step, derived, sizes[name, step], widths))
    return rows


def _row(name: str, step: int, derived: Fraction | None, squares: Array, widths: Sequence[int]) -> Row:
    kept = np.isfinite(squares).all(axis=0)
    squares = squares[:, kept]
    roots = np.sqrt(squares.mean(axis=1)) if squares.size else np.zeros(len(widths))
    if not roots.all():
        zero = not roots.any()
        return Row(name, step, 0.0 if zero else float("nan"), 0.0, derived, tuple(roots.tolist()), zero and derived is None)
    slope = _slope(widths, roots)
    error = 0.0
    if squares.shape[1] > 1:  # the jackknife over seeds: a scalar's own logarithm may be anything
        count = squares.shape[1]
        left = [_slope(widths, np.sqrt(np.delete(squares, k, axis=1).mean(axis=1))) for k in range(count)]
        error = float(np.sqrt((count - 1) / count * np.sum((np.array(left) - np.mean(left)) ** 2)))
    agrees = derived is not None and abs(slope - float(derived)) <= TOLERANCE + 2 * error
    return Row(name, step, slope, error, derived, tuple(roots.tolist()), agrees)


def _slope(widths: Sequence[int], sizes: Array) -> float:
    return float(np.polyfit(np.log(np.asarray(widths, float)), np.log(sizes), 1)[0])


def _bar(runs: list[tuple[int, int]], progress: bool) -> Any:
    if not progress:
        return runs
    from tqdm import tqdm

    return tqdm(runs, unit="run")
