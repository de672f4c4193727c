"""The logits of a transformer trained by SGD: what all networks share, beside what fluctuates.

    nice python -m benchmarks.attention_logits           # writes benchmarks/results/attention_logits.md

At second order in the learning rate the logits change by n^0 from the second update on, says the derivation. Fluctuations of
size n^(-1/2) hide that part in the root mean square at widths that are cheap to train. But it is the same for all networks, and
they are not: the mean over pairs of different networks of the product of their changes is its square (``tp.readings.slopes``).
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

import tp
from tp.readings.coord_check import experiment, rules_of
from tp.readings.measure import Experiment, alike
from tp.readings.scale.infer import Engine, growths
from tp.readings.scale.optimizers import optimizer
from tp.readings.slopes import shared, shared_slope, slope

Array = NDArray[np.float64]
RUNS = {128: 400, 256: 400, 512: 200, 1024: 100, 2048: 20}
STEPS = 3
OUT = Path(__file__).parent / "results" / "attention_logits.md"


def main() -> None:
    net = tp.zoo("transformer", L=1, T=3)
    engine, sgd = Engine(net.program, growths(net.program, None)), optimizer("sgd")
    networks = experiment(engine, rules_of(engine, net.mup("sgd"), sgd), sgd, steps=STEPS)
    lr = networks.rate((128, 4096), 0.0)
    found: dict[int, list[Array]] = {step: [] for step in range(2, STEPS + 1)}
    for width, seeds in RUNS.items():
        runs = [second_order(networks, width, seed, lr) for seed in range(seeds)]
        for step, changes in found.items():
            changes.append(np.array([run[step - 1] for run in runs]) / lr**2)
        print(width, flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(report(found))


def second_order(networks: Experiment, width: int, seed: int, lr: float) -> list[Array]:
    """The even part of all logits' change after each update, one number per logit and sample."""
    run = networks.run(width, seed)
    logits = next(m for name, m in networks.named.items() if name.startswith("w["))
    first = {k: run[k] for k in alike(run, logits)}
    return [np.concatenate([parts["even"][k] for k in first]) for parts in networks.changes(run, first, lr)]


def report(found: dict[int, list[Array]]) -> str:
    """Tables by step, from [seeds, entries] at each width."""
    lines = [
        "# Attention logits under SGD",
        "",
        "Made by `benchmarks/attention_logits.py`: the shipped transformer with one block, maximal-update rules. The part of the",
        "change of the attention logits that is of second order in the learning rate, in units of the rate's square, root mean",
        "squares: all of it falls like n^(-1/2) at these widths, what all networks share does not.",
    ]
    for step, changes in found.items():
        lines += ["", f"## After {step} updates", "", "| width | networks | all of it | what all share | standard error |"]
        lines += ["|---|---|---|---|---|"]
        for width, values in zip(RUNS, changes, strict=True):
            m2, error = shared(values)
            m = np.sqrt(max(m2, 0.0))
            size, error = np.sqrt(np.mean(values**2)), error / (2 * m) if m else np.sqrt(error)
            lines.append(f"| {width} | {len(values)} | {size:.3g} | {m:.3g} | {error:.1g} |")
        whole, part = slope(list(RUNS), [np.mean(v**2, axis=1) for v in changes]), shared_slope(list(RUNS), changes)
        assert part is not None
        lines += [
            "",
            f"Slopes: {whole.exponent:+.2f} ± {whole.error:.2f} of all, {part.exponent:+.2f} ± {part.error:.2f} of what",
        ]
        lines += ["all share; derived 0."]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
