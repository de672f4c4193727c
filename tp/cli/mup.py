"""``tp mup``: the maximal-update rules of a network."""

from __future__ import annotations

import argparse

from tp.cli import options, scale

ABOUT = """
Solves, exactly, for the multiplier, the initial scale and the learning rate of every weight such that each update
moves what it acts on as much as it can without anything growing with the width; then learning rates found at a
small width hold at a large one. Rules are in powers of n; the constants are yours, from a small network.

  --gauge table3   no multipliers (default)
  --gauge table8   the read-out's scale is a multiplier
  --gauge table9   one learning rate for all under SGD"""

EXAMPLES = """
  tp mup mlp --optimizer adam
  tp mup transformer --optimizer adamw --gauge table8
  tp mup my.tp --optimizer sgd --explain               which constraints are tight
  tp mup my.tp --json > rules.json"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "mup", "derive the maximal-update rules", ABOUT, EXAMPLES)
    options.spec(parser)
    scale.add_optimizer(parser)
    parser.add_argument("--gauge", metavar="NAME", help="table3 (default), table8, table9, a=0, b=0 or c=0")
    parser.add_argument("--table", choices=("markdown", "html", "latex"), default="markdown", help="how the rules are printed")
    parser.add_argument("--explain", action="store_true", help="the tight constraints that hold every exponent")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    net = options.load(arguments)
    report = net.mup(arguments.optimizer, arguments.gauge, arguments.steps, dict(arguments.growth))
    if arguments.json:
        print(report.to_json())
        return
    print(report.table(arguments.table))
    for name, value in report.constants.items():
        print(f"\n{name} = {value}")
    if report.depth is not None:
        print(f"\n{report.of_depth(command=True)}")
    if arguments.explain:
        print("\n" + report.explanation())
