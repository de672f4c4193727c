"""What training gives: outputs, losses and feature kernels after every step, each with its error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tp.target import picture

if TYPE_CHECKING:
    from tp.readings.training import TrainingRun

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Exact:
    """The rational numbers themselves: arrays of ``Fraction`` of the shapes of ``Trained``."""

    outputs: NDArray[np.object_]
    losses: NDArray[np.object_]
    kernels: NDArray[np.object_] | None


@dataclass(frozen=True, repr=False)
class Trained:
    """A training run, at infinite width or averaged over finite networks.

    ``outputs`` is [T+1, N_test, k], after 0…T updates (or those of ``times``), and ``errors`` its errors: between two
    tolerances (grid), the standard error over independent scramblings (Sobol) or over seeds (finite width); 0 where the
    result is exact.
    ``losses[t]`` is the mean loss over the batch of step t before its update; the last entry is the loss over the last
    batch after the last update. ``kernels`` is [T+1, N_test, N_test]: the average product of the last hidden features of
    two test samples; None when the output is not linear in a last layer of weights. ``exact`` holds the rational numbers
    where they were computed: the limits of polynomial networks with ``method="exact"``.
    """

    name: str
    outputs: Array
    errors: Array
    losses: Array
    loss_errors: Array
    kernels: Array | None
    kernel_errors: Array | None
    method: str
    details: dict[str, Any] = field(default_factory=dict)
    exact: Exact | None = None
    run: TrainingRun | None = field(default=None, compare=False)

    @property
    def steps(self) -> int:
        return int(self.times[-1])

    @property
    def times(self) -> NDArray[np.int_]:
        """The numbers of updates after which there is a row of everything."""
        return np.arange(len(self.outputs)) if self.run is None else np.array(self.run.times)

    @property
    def finite(self) -> bool:
        """Whether these are networks of finite width."""
        return self.method.startswith("width")

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.outputs.shape))
        error = "" if np.isnan(self.errors).any() else f", error ≤ {self.errors.max():.1e}"
        how = f"{self.method}{self._experimental}{error}"
        return f"<{self.name} trained for {self.steps} steps: outputs {shape}, {how}>"

    @property
    def _experimental(self) -> str:
        """A warning that a result is experimental, and why."""
        return f" (experimental: {self.details['experimental']})" if "experimental" in self.details else ""

    def table(self) -> str:
        """Outputs and loss after every step, as text."""
        rows = [f"{self.name}, {self.method}{self._experimental}", f"{'step':>4} {'loss':>12} {'(error)':>9}  outputs (error)"]
        for t, (f, e) in enumerate(zip(self.outputs, self.errors, strict=True)):
            values = "  ".join(f"{_value(a, '+')} {_within(b)}" for a, b in list(zip(f.ravel(), e.ravel(), strict=True))[:6])
            if self.exact is not None:
                values = "  ".join(_ratio(a, f"{_value(float(a), '+')}…") for a in self.exact.outputs[t].ravel()[:6])
            more = "  …" if f.size > 6 else ""
            rows.append(f"{self.times[t]:4d} {_value(self.losses[t]):>12} {_within(self.loss_errors[t]):>9}  {values}{more}")
        return "\n".join(rows)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.table())}</pre>"

    def latex(self) -> str:
        """Outputs after every step as an array: fractions where they are exact and short, else decimals with their errors."""
        rows, columns = [], self.outputs[0].size
        names = [f"f_t(x_{{{i + 1}}})" for i in range(self.outputs.shape[1])]
        several = self.outputs.shape[2] > 1
        heads = [f"{name}_{{{k + 1}}}" if several else name for name in names for k in range(self.outputs.shape[2])]
        rows.append(" & ".join(["t", *heads]) + r" \\ \hline")
        for t, (f, e) in enumerate(zip(self.outputs, self.errors, strict=True)):
            cells = [_decimal(a, b) for a, b in zip(f.ravel(), e.ravel(), strict=True)]
            if self.exact is not None:
                exact = self.exact.outputs[t].ravel()
                cells = [_ratio(a, cell, r"\tfrac{{{}}}{{{}}}") for a, cell in zip(exact, cells, strict=True)]
            rows.append(" & ".join([str(self.times[t]), *cells]) + r" \\")
        body = "\n".join(rows)
        return f"\\begin{{array}}{{r{'l' * columns}}}\n{body}\n\\end{{array}}"

    def to_json(self) -> str:
        """The whole result as JSON; errors that one seed cannot tell are null."""
        arrays = {
            name: None if (value := getattr(self, name)) is None or np.isnan(value).any() else value.tolist()
            for name in ("outputs", "errors", "losses", "loss_errors", "kernels", "kernel_errors")
        }
        if self.exact is not None:
            arrays["exact"] = np.vectorize(_ratio, otypes=[object])(self.exact.outputs, None).tolist()
        about = {"network": self.name, "method": self.method, "details": self.details, "times": self.times.tolist()}
        return json.dumps({**about, **arrays}, indent=2)

    def plot(
        self, path: Any = None, beside: Any = (), widths: Sequence[int] | None = None, seeds: int = 4, lazy: bool = True
    ) -> Any:
        """Outputs, loss and the movement of the feature kernel against the step. Returns the figure.

        ``beside`` are further runs; ``widths`` are finite widths to train as well (by default 64 and 256 where that is quick),
        ``seeds`` networks each. Dashed is the lazy curve, kernel gradient descent with the tangent kernel at initialization,
        where the network has one and ``lazy`` is not False.
        """
        from tp.faces.curves import draw

        path = picture(path)
        figure = draw(self, beside, widths, seeds, lazy)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure


DIGITS = 40
"""Digits of a numerator or denominator that are still printed."""


def _value(value: float, sign: str = "") -> str:
    """A number with six decimals, or digits where it has run away."""
    return f"{value:{sign}.6f}" if abs(value) < 1e6 else f"{value:{sign}.6e}"


def _within(error: float) -> str:
    """An error in brackets; a dash where one network cannot tell it."""
    return "(–)" if np.isnan(error) else f"({error:.0e})"


def _ratio(value: Any, otherwise: Any, form: str = "{}/{}") -> Any:
    """A fraction as text, where it is short."""
    if max(abs(value.numerator), value.denominator) >= 10**DIGITS:
        return otherwise
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return sign + form.format(abs(value.numerator), value.denominator)


def _decimal(value: float, error: float) -> str:
    """A number with its error: ``0.4010 \\pm 0.0002``."""
    if not error > 1e-9 * abs(value) + 1e-12:
        return f"{value:.6g}"
    digits = max(0, int(np.ceil(-np.log10(error))) + 1)
    return f"{value:.{digits}f} \\pm {error:.{digits}f}"
