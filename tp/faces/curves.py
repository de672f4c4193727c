"""Training drawn: outputs, loss and the movement of the features against the step, at infinite width and beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import LimitError

if TYPE_CHECKING:
    from tp.readings.trained import Trained
    from tp.readings.training import TrainingRun

Array = NDArray[np.float64]
OUTPUTS, MARKS = 8, "osv^D"
CHEAP = 50_000
"""Numbers of inputs times steps up to which finite widths are trained unasked."""


def draw(result: Trained, beside: Sequence[Trained], widths: Sequence[int] | None, seeds: int, lazy: bool) -> Any:
    """See :meth:`tp.readings.trained.Trained.plot`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    run, seen = result.run, result.outputs.shape[1] * result.outputs.shape[2]
    if widths is None:
        widths = (64, 256) if run is not None and not beside and not result.finite and _cheap(run) else ()
    if run is not None:
        beside = [*beside, *(run.simulate(n, seeds) for n in widths)]
    kernel_gd = _lazy(run) if lazy and run is not None and not result.method.startswith("lazy") else None
    moving = [r for r in (result, *beside) if r.kernels is not None]
    figure = Figure(figsize=(12 if moving else 9, 3.6), layout="constrained")
    panels = figure.subplots(1, 3 if moving else 2)
    colors = [f"C{k}" for k in range(min(seen, OUTPUTS))]
    _curves(panels, result, colors, {"lw": 2}, moving)
    if kernel_gd is not None:
        _curves(panels, kernel_gd, colors, {"lw": 1, "ls": "--"}, moving)
    for k, other in enumerate(beside):
        _points(panels, other, colors, 0.06 * (k + 1), MARKS[k % 5])
    figure.suptitle(result.name)
    panels[0].set(xlabel="step", ylabel="outputs" if len(colors) == 1 else "outputs (a colour for each)")
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[1].set(xlabel="step", ylabel="loss")
    panels[1].legend(fontsize="small")
    if moving:
        panels[2].set(xlabel="step", ylabel="movement of the feature kernel", ylim=(0, None))
    return figure


def movement(kernels: Array) -> Array:
    """‖K_t − K_0‖ / ‖K_0‖ after every step."""
    return np.asarray(np.linalg.norm(kernels - kernels[0], axis=(1, 2)) / np.linalg.norm(kernels[0]))


def _curves(panels: Any, run: Trained, colors: list[str], style: dict[str, Any], moving: list[Trained]) -> None:
    for color, curve in zip(colors, run.outputs.reshape(len(run.outputs), -1).T, strict=False):
        panels[0].plot(run.times, curve, color=color, **style)
    label = run.method if run.method.startswith("lazy") else f"infinite width ({run.method})"
    panels[1].plot(run.times, run.losses, "k", label=label, **style)
    if moving:  # the features of a lazy curve stay where they are
        still = np.zeros(len(run.times)) if run.method.startswith("lazy") else None
        height = still if run.kernels is None else movement(run.kernels)
        if height is not None:
            panels[2].plot(run.times, height, "k", **style)


def _points(panels: Any, run: Trained, colors: list[str], shift: float, mark: str) -> None:
    style = {"fmt": mark, "ms": 3, "lw": 0.8}
    flat = (run.outputs.reshape(len(run.outputs), -1).T, run.errors.reshape(len(run.outputs), -1).T)
    for color, f, e in zip(colors, *flat, strict=False):
        panels[0].errorbar(run.times + shift, f, e, color=color, **style)
    panels[1].errorbar(run.times + shift, run.losses, run.loss_errors, label=run.method, **style)
    if run.kernels is not None:
        panels[2].plot(run.times + shift, movement(run.kernels), mark, ms=3)


def _cheap(run: TrainingRun) -> bool:
    return run.steps * run.samples <= 64 and (run.steps + 1) * sum(x.size for x in run.X.values()) <= CHEAP


def _lazy(run: TrainingRun) -> Trained | None:
    """The lazy curve, where the network has one."""
    try:
        return run.lazy()
    except LimitError:
        return None
