"""``verify`` for training: finite networks of the same trained program against its limit.

A finite network's outputs after every step differ from the limit's by O(1/sqrt(n)), and so do its feature kernels.

Source: Yang & Hu 2021, *Tensor Programs IV*, Theorem 7.4; Yang & Littwin 2023, *Tensor Programs IVb*, for the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tp.progress import over
from tp.readings.inputs import generator
from tp.readings.verify import Report, _fit, checked_widths

if TYPE_CHECKING:
    from tp.readings.training import TrainingRun


def verify(run: TrainingRun, widths: Sequence[int], seeds: int, seed: int, progress: bool | None, method: str) -> Report:
    """See :meth:`tp.readings.training.TrainingRun.verify`."""
    widths = checked_widths(widths, seeds)
    limit = run.limit(method, seed=seed)
    kinds = ["outputs"] + (["kernels"] if limit.kernels is not None else [])
    errors = {kind: np.zeros((len(widths), seeds)) for kind in kinds}
    generator(seed)  # is it one?
    draws = np.random.SeedSequence(seed).generate_state(len(widths) * seeds)
    runs = [(w, s) for w in range(len(widths)) for s in range(seeds)]
    for w, s in over(runs, "finite widths", " networks", progress):
        found = run.simulate(widths[w], 1, int(draws[w * seeds + s]), progress=False)
        for kind in kinds:
            exact = getattr(limit, kind)
            errors[kind][w, s] = np.linalg.norm(getattr(found, kind) - exact) / np.linalg.norm(exact)
    return Report(f"{run.program.name}, training", widths, errors, {kind: _fit(widths, errors[kind]) for kind in kinds})
