"""``tp demo``"""

from __future__ import annotations

import argparse

from tp.cli import options

ABOUT = """
Derives the tangent kernels of a shipped MLP and of a shipped convolutional network, prints the recursions, writes
the LaTeX, evaluates both kernels on the 8×8 handwritten digits that come with the package, compares kernel
regression with a linear baseline, and checks the derivation against finite networks. Under a minute on two cores."""

EXAMPLES = """
  tp demo
  tp demo --out derivations        LaTeX to another folder than ./tp-demo"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "demo", "a tour on real digits, under a minute", ABOUT, EXAMPLES)
    parser.add_argument("--out", default="tp-demo", metavar="FOLDER", help="where the LaTeX goes (default: tp-demo)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    raise SystemExit("not yet")
