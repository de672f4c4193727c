"""``tp demo``: two networks from spec to limit, LaTeX, kernels on real digits, and the finite-width check."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tp.cli import files, options
from tp.cli.screen import heading, indented, styled, table

ABOUT = """
Derives the tangent kernels of a shipped MLP and of a shipped convolutional network, prints the recursions, writes
the LaTeX, evaluates both kernels on the 8×8 handwritten digits that come with the package, compares kernel
regression with a linear baseline, and checks the derivation against finite networks. Under a minute on two cores."""

EXAMPLES = """
  tp demo
  tp demo --out derivations        LaTeX to another folder than ./tp-demo"""


@dataclass(frozen=True, slots=True)
class Example:
    """A shipped network, how many digits it sees and in what shape, the widths it is checked at, and its constants.

    ``symbols`` are the constants that the printed derivation leaves symbolic.
    """

    name: str
    train: int
    test: int
    shape: tuple[int, ...]
    widths: tuple[int, ...]
    lets: dict[str, int] = field(default_factory=dict)
    symbols: tuple[str, ...] = ()


SHOWN = (
    Example("mlp", 800, 997, (64,), (256, 1024, 4096), {"d": 64}, ("L", "sw2", "sb2")),
    Example("cnn2d", 150, 100, (8, 8, 1), (32, 128, 512)),
)
SEEDS = 4
CHECKED = 4  # digits whose kernels are compared at finite width


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "demo", "a tour on real digits, under a minute", ABOUT, EXAMPLES)
    parser.add_argument("--out", type=Path, default=Path("tp-demo"), metavar="FOLDER", help="for the LaTeX (default: tp-demo)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    began = time.perf_counter()
    arguments.out.mkdir(parents=True, exist_ok=True)
    converged = True
    with ProcessPoolExecutor(len(SHOWN), get_context("spawn")) as pool, progress(4 * len(SHOWN)) as step:
        waiting = [(example, pool.submit(evaluate, example)) for example in SHOWN]  # kernels compile while we derive
        for example, evaluation in waiting:
            step(f"deriving {example.name}")
            derivation(example, arguments.out / f"{example.name}-ntk.tex")
            step(f"compiling and evaluating the kernels of {example.name}")
            grams = evaluation.result()
            step(f"regression with {example.name}")
            regression(example, *grams)
            step(f"finite networks {example.name}")
            converged &= finite(example)
    took = time.perf_counter() - began
    print(f"{styled(f'done in {took:.0f} s', '1')}; LaTeX in {arguments.out}/; next: tp --help")
    return 0 if converged else 1


@contextmanager
def progress(total: int) -> Iterator[Any]:
    """A bar on stderr, where that is a terminal; ``step(text)`` says what begins."""
    from tqdm import tqdm

    with tqdm(total=total, file=sys.stderr, leave=False, disable=None, bar_format="{bar:24} {n_fmt}/{total_fmt} {desc}") as bar:

        def step(text: str) -> None:
            bar.clear()  # what is printed next must not land beside the bar
            bar.set_description_str(text, refresh=False)
            bar.update()

        yield step


def derivation(example: Example, path: Path) -> None:
    """Print a spec and the recursions it becomes, and write the LaTeX."""
    import tp

    net = tp.zoo(example.name, **example.lets, **dict.fromkeys(example.symbols))
    print(heading(f"{example.name}: the spec"))
    print(styled(indented(net.network.source.text.strip()), "2"))
    given = [f"{name} = {value}" for name, value in example.lets.items()] + [f"{name} a symbol" for name in example.symbols]
    print((styled("  here " + ", ".join(given), "2") + "\n") if given else "")
    limit = net.ntk().closed()
    print(heading(f"{example.name}: its tangent kernel at infinite width"))
    print(indented(limit.text()) + "\n")
    files.write_text(path, limit.latex(document=True))


def chosen(example: Example) -> tuple[Any, Any]:
    """The digits of an example, in its shape, training part first, and their labels."""
    import numpy as np

    from tp.data import digits

    images, labels = digits()
    rows = np.random.default_rng(0).permutation(len(labels))[: example.train + example.test]
    return images[rows].reshape(-1, *example.shape), labels[rows]


def evaluate(example: Example) -> tuple[Any, Any, float]:
    """NNGP and NTK of an example's digits, and the seconds from equations to numbers. Runs in a process of its own."""
    import tp

    X, _ = chosen(example)
    net = tp.zoo(example.name, **example.lets)
    began = time.perf_counter()
    kernel = net.kernel("nngp", "ntk")
    kernel.progress = False  # the bar is the demo's
    nngp, ntk = kernel(X)
    return nngp, ntk, time.perf_counter() - began


def regression(example: Example, nngp: Any, ntk: Any, seconds: float) -> None:
    """Print the accuracy on held-out digits: a linear model, the NNGP and the NTK."""
    from tp.regression import accuracy, fit

    X, y = chosen(example)
    flat, n = X.reshape(len(X), -1), example.train
    rows = []
    for name, gram in (("linear", flat @ flat.T), (f"{example.name} NNGP", nngp), (f"{example.name} NTK", ntk)):
        right = accuracy(fit(gram[:n, :n], y[:n]).predict(gram[n:, :n]), y[n:])
        rows.append((name, str(n), str(example.test), f"{right:.1%}"))
    print(heading(f"{example.name}: kernel regression on handwritten digits"))
    print(indented(table(("kernel", "train", "test", "accuracy"), rows)))
    print(styled(f"  both kernels of {len(X)} images compiled and evaluated in {seconds:.1f} s; targets one-hot, centred\n", "2"))


def finite(example: Example) -> bool:
    """Print errors of empirical kernels at growing width; whether they fall as they should."""
    import tp

    report = tp.zoo(example.name, **example.lets).verify(example.widths, SEEDS, inputs=chosen(example)[0][:CHECKED])
    print(heading(f"{example.name}: the derivation against finite networks"))
    print(indented(report.table()) + "\n")
    return report.passed
