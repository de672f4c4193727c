"""``coord_check``: finite networks trained at several widths, and how the sizes of everything grow with the width.

A change is a power series in the learning rate, and its terms may scale differently: with SGD the logits of attention
move by n^(-1/2) at first order and by n^0 at second. The largest wins in the end, but at what width depends on the rate. So
every network is trained twice by an optimizer that follows the gradient's size, with the learning rate and with its
negative, in steps so small that the lowest orders lead: half the difference is odd in the rate, half the sum even, and each
is a clean power of the width. A derived exponent is *confirmed* if one part attains it and none exceeds it. The runs share the
program with the derivation and nothing else.

Source: Yang et al. 2022, *Tensor Programs V*, appendix D.1 (coordinate checking).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message
from tp.readings.measure import Experiment, Name, repeats
from tp.readings.scale.infer import Engine, scaling
from tp.readings.scale.optimizers import Optimizer, optimizer
from tp.readings.scale.report import ScalingReport
from tp.readings.scale.tables import html, latex, markdown
from tp.readings.slopes import CONFIRMED, CONTRADICTED, TOLERANCE, UNDECIDED, Slope, slope
from tp.readings.verify import random_inputs
from tp.transform.parametrize import ABC, given, named, parametrize

Array = NDArray[np.float64]
SAMPLES = 4
ROUNDING = 1e-9  # a part that is smaller than the other by this factor is rounding
MARKS = {CONFIRMED: "", UNDECIDED: "?", CONTRADICTED: "✗"}


@dataclass(frozen=True, slots=True)
class Row:
    """One variable at one step (0: its initial size; later: its change): the fitted slope, and the derived exponent.

    ``error`` is the slope's standard error. ``derived`` is None for what stays exactly zero. ``sizes`` are the root mean squares
    at the widths, of the ``part`` that decides: ``initial``; what is ``odd`` or ``even`` in the learning rate, or all ``change``.
    ``verdict``: ``confirmed`` (within ±0.1, and known to ±0.1), ``undecided`` (more seeds or widths tell), ``contradicted``.
    """

    quantity: str
    step: int
    slope: float
    error: float
    derived: Fraction | None
    sizes: tuple[float, ...]
    verdict: str
    part: str = "initial"

    @property
    def agrees(self) -> bool:
        """Whether the measurement leaves room for the derived exponent."""
        return self.verdict != CONTRADICTED


@dataclass(frozen=True)
class CoordCheck:
    """The fitted slopes of a network under one optimizer.

    ``passed``: none contradicts the derivation, nothing grows, and the output moves. ``lr`` is the base rate.
    """

    report: ScalingReport
    widths: tuple[int, ...]
    rows: tuple[Row, ...]
    seeds: int
    lr: float
    culprit: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether no slope contradicts its derived exponent."""
        return all(r.agrees for r in self.rows)

    @property
    def confirmed(self) -> bool:
        """Whether all slopes are within ±0.1 of the derived exponents, and known so well."""
        return all(r.verdict == CONFIRMED for r in self.rows)

    @property
    def growing(self) -> tuple[Row, ...]:
        """What surely grows with the width, as measured, in order of steps and of the program."""
        return tuple(r for r in self.rows if r.slope - 2 * r.error > TOLERANCE)

    @property
    def idle(self) -> tuple[Row, ...]:
        """The outputs' last changes, if all of them surely vanish as the width grows."""
        moved = [r for r in self.rows if r.step and r.quantity in self.report.outputs]
        return tuple(moved[-1:]) if moved and all(r.slope + 2 * r.error < -TOLERANCE or not any(r.sizes) for r in moved) else ()

    @property
    def passed(self) -> bool:
        return self.agrees and self.report.stable and self.report.nontrivial and not self.growing

    @property
    def blame(self) -> str | None:
        """The variable that grows first, or the output that does not move, as measured.

        The derivation's is ``report.reasons[0].quantity``. ``culprit`` is the weight whose updates alone move it most, or, of an
        initial value or an idle output, the weight that makes it; the derivation's are ``report.reasons[0].blame``.
        """
        wrong = self.growing or self.idle
        return wrong[0].quantity if wrong else None

    def table(self, style: str = "markdown") -> str:
        """All rows as a ``markdown``, ``html`` or ``latex`` table; ``?`` undecided, ``✗`` contradicted."""
        head = ["quantity", "step", "slope", "±", "derived", ""]
        rows = [[r.quantity, str(r.step), f"{r.slope:+.2f}", f"{r.error:.2f}", _derived(r), MARKS[r.verdict]] for r in self.rows]
        styles = {"markdown": markdown, "html": html, "latex": latex}
        if style not in styles:
            reason = f"there is no table style {style!r}"
            raise DataError(Message(NOWHERE, reason, f"choose {', '.join(styles)}", "unknown style"))
        return styles[style](head, rows)

    def __str__(self) -> str:
        r = self.report
        widths = ", ".join(map(str, self.widths))
        counts = {v: sum(row.verdict == v for row in self.rows) for v in MARKS}
        head = f"{r.network}, {r.optimizer}, {r.parametrization}: {'passed' if self.passed else 'FAILED'}"
        how = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        runs = f"{repeats(self.seeds, self.widths[0], self.widths[-1])} to {self.seeds} seeds"
        lines = [
            f"{head} ({how})",
            f"slopes of log size against log width, widths {widths}, {runs}, lr {self.lr:g}",
            "",
            self.table(),
        ]
        if self.growing:
            by = f", most of it by `{self.culprit}`" if self.culprit else ""
            lines += ["", f"measured: `{self.blame}` is the first to grow, like n^{self.growing[0].slope:.2f}{by}"]
        elif self.idle:
            by = f", which `{self.culprit}` makes," if self.culprit else ""
            lines += ["", f"measured: the output `{self.blame}`{by} moves by n^({self.idle[0].slope:.2f}) only"]
        lines += ["", *map(str, r.reasons)] if r.reasons else []
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table("html")

    def to_json(self) -> str:
        """The rows and the derivation, as JSON."""
        rows = [
            {
                "quantity": r.quantity, "step": r.step, "slope": r.slope, "error": r.error, "part": r.part,
                "derived": None if r.derived is None else str(r.derived), "sizes": list(r.sizes), "verdict": r.verdict,
            }
            for r in self.rows
        ]  # fmt: skip
        data: dict[str, Any] = {"passed": self.passed, "confirmed": self.confirmed, "agrees": self.agrees}
        data |= {"blame": self.blame, "culprit": self.culprit, "lr": self.lr}
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
                label = f"{r.quantity}: {r.slope:+.2f} {MARKS[r.verdict]}"
                panel.loglog(self.widths, r.sizes, marker="os^vD"[k // 10 % 5], color=f"C{k % 10}", label=label)
                if r.derived is not None:
                    line = [r.sizes[-1] * (n / self.widths[-1]) ** float(r.derived) for n in self.widths]
                    panel.loglog(self.widths, line, color=f"C{k % 10}", linestyle=":", linewidth=1)
            panel.set_title("initially" if step == 0 else f"change after {step} update{'s' * (step > 1)}")
            panel.set_xlabel("width")
            panel.set_xticks(self.widths, [str(n) for n in self.widths], fontsize="small")
            panel.minorticks_off()
            panel.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
        panels[0][0].set_ylabel("root mean square (dotted: derived)")
        figure.tight_layout()
        figure.savefig(path, format=_format(path), bbox_inches="tight")
        pyplot.close(figure)


def _derived(r: Row) -> str:
    return "0 identically" if r.derived is None else str(r.derived)


def _format(path: str | Path) -> str | None:
    suffix = Path(path).suffix.lstrip(".").lower()
    return suffix if suffix in ("png", "pdf", "svg") else "png"


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
    progress: bool,
    constants: Mapping[str, Any],
) -> CoordCheck:
    """See :meth:`tp.net.Net.coord_check`."""
    widths = tuple(sorted(set(widths)))
    if len(widths) < 2 or widths[0] < 2 or steps < 1 or seeds < 1:
        reason = f"widths {list(widths)}, {steps} steps, {seeds} seeds"
        raise DataError(Message(NOWHERE, reason, "give two widths at least, one step and one seed", "nothing to fit"))
    optimizer_name = chosen(optimizer_name, parametrization)
    opt = optimizer(optimizer_name)
    rules = rules_of(engine, parametrization, opt)
    derived = scaling(engine, {p: tuple(r) for p, r in rules.items()}, optimizer_name, max(steps, engine.steps), constants)
    derived = _titled(derived, parametrization)
    last = steps if derived.stable else max(1, min(steps, derived.reasons[0].step))  # later exponents mean nothing
    run = experiment(engine, rules, opt, last, inputs, seed, constants)
    rate = lr if lr is not None else run.rate(widths, _growth(derived))
    sizes = run.measure(widths, seeds, rate, progress)
    check = CoordCheck(derived, widths, tuple(_rows(derived, sizes, widths, run)), seeds, rate)
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
    generator = np.random.default_rng(seed)
    data = _data(program, inputs, generator, constants or {})
    return Experiment(engine, program, opt, steps, data, constants or {}, int(generator.integers(2**31)))


def rules_of(engine: Engine, parametrization: Any, opt: Optimizer) -> dict[str, ABC]:
    """(a, b, c) per weight: of a report, of a named parametrization, or given by name."""
    if isinstance(parametrization, ScalingReport):
        return {p: ABC(r.a, r.b if r.b is not None else Fraction(0), r.c) for p, r in parametrization.rules.items()}
    if isinstance(parametrization, str):
        return named(engine.program, parametrization, opt.normalised)
    return given(engine.program, parametrization or {}, engine.declared)


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


def _rows(report: ScalingReport, sizes: dict[Name, list[Array]], widths: Sequence[int], run: Experiment) -> list[Row]:
    rows = []
    for step in sorted({s for _, s, _ in sizes}):
        for name, quantity in report.exponents.items():
            parts = {part: squares for (q, s, part), squares in sizes.items() if (q, s) == (name, step)}
            if parts and step <= len(quantity.changes):  # after the first violation exponents have no meaning
                derived = quantity.initial if step == 0 else quantity.changes[step - 1]
                rows.append(_row(name, step, derived, parts, widths, [run.narrowest(n) for n in widths]))
    return rows


def _row(
    name: str,
    step: int,
    derived: Fraction | None,
    parts: dict[str, list[Array]],
    widths: Sequence[int],
    narrow: Sequence[int],
) -> Row:
    kept = {part: [x[np.isfinite(x)] for x in squares] for part, squares in parts.items()}
    roots = {part: [float(np.sqrt(x.mean())) if x.size else float("nan") for x in squares] for part, squares in kept.items()}
    if not any(any(r) for r in roots.values()):
        return Row(name, step, 0.0, 0.0, derived, (0.0,) * len(widths), CONFIRMED if derived is None else CONTRADICTED)
    largest = np.max(list(roots.values()), axis=0)
    there = {part for part, r in roots.items() if all(a > ROUNDING * b for a, b in zip(r, largest, strict=True))}
    if not there:
        return Row(name, step, float("nan"), float("nan"), derived, tuple(largest.tolist()), UNDECIDED)
    slopes = {part: slope(widths, kept[part], narrow) for part in parts if part in there}
    part, verdict = _judged(slopes, derived)
    found = slopes[part]
    return Row(name, step, found.exponent, found.error, derived, tuple(roots[part]), verdict, part)


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
