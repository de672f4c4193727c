"""``tp demo``: two networks from spec to limit, LaTeX, kernels on real digits, and the finite-width check."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tp.cli import files, options
from tp.cli.screen import heading, indented, styled, table

if TYPE_CHECKING:
    from tp.net import Net

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
    Example("mlp", 1200, 597, (64,), (256, 1024, 4096), {"d": 64}, ("L", "sw2", "sb2")),
    Example("cnn2d", 240, 160, (8, 8, 1), (32, 128, 512)),
)
SEEDS = 4
CHECKED = 4  # digits whose kernels are compared at finite width


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "demo", "a tour on real digits, under a minute", ABOUT, EXAMPLES)
    parser.add_argument("--out", type=Path, default=Path("tp-demo"), metavar="FOLDER", help="for the LaTeX (default: tp-demo)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import tp

    began = time.perf_counter()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with progress(total=4 * len(SHOWN)) as step:
        for example in SHOWN:
            step(f"deriving {example.name}")
            symbolic = tp.zoo(example.name, **example.lets, **dict.fromkeys(example.symbols))
            derivation(symbolic, arguments.out / f"{example.name}-ntk.tex")
        nets = [(example, tp.zoo(example.name, **example.lets)) for example in SHOWN]
        print(heading("kernel regression on handwritten digits"))
        rows = [row for example, net in nets for row in regression(example, net, step)]
        print(table(("kernel", "train", "test", "accuracy", "evaluated in"), rows))
        print(styled("UCI 8×8 digits; one-hot targets, centred; ridge by leaving one out; a fixed random split each\n", "2"))
        print(heading("the derivation against finite networks"))
        reports = [finite(example, net, step) for example, net in nets]
    took = time.perf_counter() - began
    print(f"{styled(f'done in {took:.0f} s', '1')}; LaTeX in {arguments.out}/; next: tp --help")
    return 0 if all(reports) else 1


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


def derivation(net: Net, path: Path) -> None:
    """Print a spec and the recursions it becomes, and write the LaTeX."""
    print(heading(f"{net.network.name}: the spec"))
    print(styled(indented(net.network.source.text.strip()), "2") + "\n")
    limit = net.ntk().closed()
    print(heading(f"{net.network.name}: its tangent kernel at infinite width"))
    print(indented(limit.text()) + "\n")
    files.write_text(path, limit.latex(document=True))


def regression(example: Example, net: Net, step: Any) -> Iterator[tuple[str, ...]]:
    """Accuracy on held-out digits: a linear model, the NNGP and the NTK of ``net``."""
    import numpy as np

    from tp.data import digits
    from tp.regression import accuracy, fit

    images, labels = digits()
    chosen = np.random.default_rng(0).permutation(len(labels))[: example.train + example.test]
    X, y = images[chosen].reshape(-1, *example.shape), labels[chosen]
    step(f"{example.name}: kernels of {len(X)} digits")
    flat = X.reshape(len(X), -1)
    grams = {"linear": (flat @ flat.T, 0.0)}
    began = time.perf_counter()
    both = net.kernel("nngp", "ntk")(X)
    seconds = time.perf_counter() - began
    grams |= {f"{example.name} {kind}": (matrix, seconds) for kind, matrix in zip(("nngp", "ntk"), both, strict=True)}
    step(f"{example.name}: regression")
    n = example.train
    for name, (gram, took) in grams.items():
        right = accuracy(fit(gram[:n, :n], y[:n]).predict(gram[n:, :n]), y[n:])
        time_text = f"{took:.1f} s" if took else "-"
        yield name, str(n), str(len(y) - n), f"{right:.1%}", time_text


def finite(example: Example, net: Net, step: Any) -> bool:
    """Print errors of empirical kernels at growing width; whether they fall as they should."""
    from tp.data import digits

    step(f"{example.name}: finite networks")
    X = digits()[0][:CHECKED].reshape(CHECKED, *example.shape)
    report = net.verify(example.widths, SEEDS, inputs=X)
    print(indented(report.table()) + "\n")
    return report.passed
