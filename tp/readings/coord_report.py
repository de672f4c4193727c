"""What a coordinate check finds: measured slopes beside derived exponents, as rows, tables, JSON and pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from tp.errors import NOWHERE, DataError, Message
from tp.readings.scale.report import ScalingReport
from tp.readings.scale.tables import html, latex, markdown
from tp.readings.slopes import CONFIRMED, CONTRADICTED, TOLERANCE, UNDECIDED
from tp.target import picture

MARKS = {CONFIRMED: "", UNDECIDED: "?", CONTRADICTED: "✗"}


@dataclass(frozen=True, slots=True)
class Row:
    """One variable at one step (0: its initial size; later: its change): the fitted slope, and the derived exponent.

    ``error`` is the slope's standard error. ``derived`` is None for what stays exactly zero. ``sizes`` are the root mean squares
    at the widths, of the ``part`` that decides: ``initial``; what is ``odd`` or ``even`` in the learning rate, or all ``change``;
    of these, what the step has ``added``, or what all networks have ``shared`` (0 at widths where that was not measured).
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

    ``passed``: none contradicts the derivation, nothing grows, and the output moves; some may be undecided.
    ``networks`` were trained at each width, and ``sets`` of ``flips`` with flipped signs. ``lr`` is the base rate.
    """

    report: ScalingReport
    widths: tuple[int, ...]
    rows: tuple[Row, ...]
    networks: tuple[int, ...]
    sets: tuple[int, ...]
    flips: int
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
    def verdict(self) -> str:
        """In a few words: a check that leaves exponents undecided has found nothing wrong, and has not passed."""
        counts = {v: sum(row.verdict == v for row in self.rows) for v in MARKS}
        how = ", ".join(f"{count} {v}" for v, count in counts.items() if count)
        if not self.passed:
            return f"FAILED: {self.failure} ({how})"
        return "passed: all exponents confirmed" if self.confirmed else f"nothing wrong found, but undecided in part ({how})"

    @property
    def failure(self) -> str | None:
        """What did not pass, in words."""
        if self.growing or not self.report.stable:
            first = self.growing[0].step if self.growing else int(self.report.stable_at_init)
            return f"sizes grow with the width {'in training' if first else 'at initialization'}, so that wider networks diverge"
        if not self.agrees:
            return "measured slopes contradict the derived exponents"
        return None if self.report.nontrivial else "the output moves less and less as the width grows"

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
        """All rows as a ``markdown``, ``html`` or ``latex`` table."""
        head = ["quantity", "step", "part", "slope", "±", "derived", "verdict"]
        rows = [[r.quantity, str(r.step), r.part, f"{r.slope:+.2f}", f"{r.error:.2f}", _derived(r), r.verdict] for r in self.rows]
        styles = {"markdown": markdown, "html": html, "latex": latex}
        if style not in styles:
            reason = f"there is no table style {style!r}"
            raise DataError(Message(NOWHERE, reason, f"choose {', '.join(styles)}", "unknown style"))
        return styles[style](head, rows)

    def __str__(self) -> str:
        return self.text()

    def text(self, command: bool = False) -> str:
        """The verdict, all rows and what to do about those that are wrong, as written in Python or on the ``command`` line."""
        r = self.report
        more = f", and {_listed(self.sets)} sets of {self.flips} with flipped signs" if any(self.sets) else ""
        lines = [
            f"{r.network}, {r.optimizer}, {r.parametrization}: {self.verdict}",
            f"slopes of log size against log width: widths {_listed(self.widths)}, lr {self.lr:g}",
            f"networks: {_listed(self.networks)}{more}",
            "",
            self.table(),
            *r.legend,
        ]
        if any(row.verdict == UNDECIDED for row in self.rows):
            lines += ["", "undecided: the derived exponent is not contradicted, but the slope is not known to ±0.1,"]
            lines += ["or fluctuations hide the part that has it; a larger budget, more widths or wider networks may tell"]
        if self.growing:
            by = f", most of it by `{self.culprit}`" if self.culprit else ""
            lines += ["", f"measured: `{self.blame}` is the first to grow, like n^{self.growing[0].slope:.2f}{by}"]
        elif self.idle:
            by = f", which `{self.culprit}` makes," if self.culprit else ""
            lines += ["", f"measured: the output `{self.blame}`{by} moves by n^({self.idle[0].slope:.2f}) only"]
        lines += ["", *map(str, r.reasons)] if r.reasons else []
        lines += ["", self._help(command)] if not self.passed else []
        return "\n".join(lines)

    def _help(self, command: bool) -> str:
        """What to do where the check has failed."""
        r = self.report
        if r.stable and r.nontrivial and not self.agrees:
            how = "--widths and --seeds" if command else "widths=… and seeds=…"
            return f"help: wider networks and more of them, {how}, tell whether the contradicted rows converge slowly"
        python = f'rules = net.mup("{r.optimizer}"); net.coord_check(parametrization=rules)'
        line = f"`tp mup SPEC --optimizer {r.optimizer}` prints them, and `--parametrization mup` checks this network with them"
        ways = line if command else f"`{python}` checks this network with them"
        return f"help: with maximal-update rules no size grows and everything learns; {ways}"

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
        data |= {"widths": list(self.widths), "rows": rows}
        data |= {"networks": list(self.networks), "sets": list(self.sets), "flips": self.flips}
        return json.dumps({**data, "derivation": self.report.data()}, indent=1, ensure_ascii=False)

    def plot(self, path: str | Path) -> None:
        """Sizes against width, one panel per step, each line with its derived slope; .png, .pdf or .svg."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        path = picture(path)
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
        figure.savefig(path, bbox_inches="tight")
        pyplot.close(figure)


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def _derived(r: Row) -> str:
    return "0 identically" if r.derived is None else str(r.derived)
