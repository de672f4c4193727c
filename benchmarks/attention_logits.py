"""The logits of a transformer trained by SGD: what all seeds share, beside what fluctuates.

    nice python -m benchmarks.attention_logits           # writes benchmarks/results/attention_logits.md

At second order in the learning rate the logits change by n^0, says the derivation. Fluctuations of size n^(-1/2) hide
that part in the root mean square at widths that are cheap to train. But it is the same for all seeds, and they are
not: the mean over pairs of different seeds of the product of their changes is its square.
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

Array = NDArray[np.float64]
RUNS = {64: 240, 128: 240, 256: 200, 512: 120}
OUT = Path(__file__).parent / "results" / "attention_logits.md"


def main() -> None:
    net = tp.zoo("transformer", L=1, T=3)
    engine, sgd = Engine(net.program, growths(net.program, None)), optimizer("sgd")
    networks = experiment(engine, rules_of(engine, net.mup("sgd"), sgd), sgd, steps=2)
    lr = networks.rate((128,), 0.0)
    lines = [
        "# Attention logits under SGD",
        "",
        "Made by `benchmarks/attention_logits.py`: the shipped transformer with one block, maximal-update rules. The part of the",
        "change of the attention logits after two updates that is of second order in the learning rate, in units of the rate's",
        "square, root mean squares: all of it falls like n^(-1/2) at these widths, what all seeds share does not.",
        "",
        "| width | seeds | all of it | what all seeds share | standard error |",
        "|---|---|---|---|---|",
    ]
    for width, seeds in RUNS.items():
        changes = np.array([second_order(networks, width, seed, lr) for seed in range(seeds)])
        size, shared, error = (x / lr**2 for x in split(changes))
        lines.append(f"| {width} | {seeds} | {size:.3g} | {shared:.3g} | {error:.1g} |")
        print(lines[-1], flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("\n".join([*lines, ""]))


def second_order(networks: Experiment, width: int, seed: int, lr: float) -> Array:
    """The even part of all logits' change after two updates, one number per logit and sample."""
    run = networks.run(width, seed)
    logits = next(m for name, m in networks.named.items() if name.startswith("w["))
    first = {k: run[k] for k in alike(run, logits)}
    *_, last = networks.changes(run, first, lr)
    return np.concatenate([last["even"][k] for k in first])


def split(changes: Array) -> tuple[float, float, float]:
    """Of [seeds, logits]: root mean square, that of what all seeds share, and its standard error (jackknife)."""
    count = len(changes)
    others = (changes.sum(axis=0) - changes) / (count - 1)
    products = np.mean(changes * others, axis=1)
    shared = np.sqrt(max(products.mean(), 0.0))
    error = 2 * products.std(ddof=1) / np.sqrt(count)  # of the square
    return float(np.sqrt(np.mean(changes**2))), float(shared), float(error / (2 * shared) if shared else np.sqrt(error))


if __name__ == "__main__":
    main()
