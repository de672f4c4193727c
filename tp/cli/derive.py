"""``tp derive``: the equations of a limit, as text, LaTeX, a typeset page or data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tp.cli import files, options
from tp.cli.screen import columns

if TYPE_CHECKING:
    from tp.limit.equations import Limit
    from tp.limit.zcalculus import ZLimit
    from tp.net import Net

ABOUT = """
Derives what the network becomes at infinite width and prints the recursions, each with its rule, the rule's
published source and the line of the spec it is about. Loops of the spec stay recursions.

  --limit nngp   the covariance of the outputs at initialization (the Gaussian process)
  --limit ntk    that and the tangent kernel
  --limit z      the Z-variable of every vector and the limit of every scalar, with the dot parts of tied matrices

The tangent kernel is read in the NTK parametrization: a weight `~ N(0, V)` is sqrt(V) times a standard normal
that is trained. `--mode as-written` takes multipliers, variances and rates literally."""

EXAMPLES = """
  tp derive mlp --limit ntk --closed         expectations replaced by closed forms where a rule is known
  tp derive my.tp --let L=4 --latex ntk.tex  a document for pdflatex
  tp derive rnn --limit nngp --pdf rnn.pdf   typeset (needs pdflatex)
  tp derive hopfield --limit z               where a matrix meets its transpose
  tp derive cnn1d --json                     equations as data"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "derive", "derive the infinite-width limit", ABOUT, EXAMPLES)
    options.spec(parser)
    parser.add_argument("--limit", choices=("nngp", "ntk", "z"), default="ntk", help="which limit (default: ntk)")
    parser.add_argument("--mode", choices=("ntk", "as-written"), default="ntk", help="how --limit ntk reads the weights")
    parser.add_argument("--closed", action="store_true", help="closed forms instead of expectations where known")
    parser.add_argument("--latex", type=Path, metavar="F.tex", help="write the derivation as a LaTeX document")
    parser.add_argument("--pdf", type=files.page_path, metavar="F.pdf", help="write it typeset (needs pdflatex)")
    parser.add_argument("--json", action="store_true", help="print the equations as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    files.writable(arguments.latex, arguments.pdf)
    hand_over(_limit(options.load(arguments), arguments), arguments)


def hand_over(limit: Limit | ZLimit, arguments: argparse.Namespace) -> None:
    """A derivation as ``--latex``, ``--pdf`` and ``--json`` ask for it; as text where nothing does."""
    page = limit.latex(document=True) if arguments.latex or arguments.pdf else ""
    if arguments.latex:  # first: it is there where pdflatex is not
        files.write_text(arguments.latex, page)
    if arguments.pdf:
        files.write_bytes(arguments.pdf, _typeset(page))
    if arguments.json:
        print(limit.to_json())
    elif not page:
        print(limit.text(columns()))


def _limit(net: Net, arguments: argparse.Namespace) -> Limit | ZLimit:
    if arguments.limit == "z":
        return net.z().closed() if arguments.closed else net.z()
    limit = net.nngp() if arguments.limit == "nngp" else net.ntk(arguments.mode.replace("-", " "))
    return limit.closed() if arguments.closed else limit


def _typeset(page: str) -> bytes:
    from tp.faces.pdf import typeset

    return typeset(page)
