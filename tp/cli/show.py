"""``tp show``: the spec as understood and the tensor program it is."""

from __future__ import annotations

import argparse
import json

from tp.cli import options

ABOUT = """
Prints the network back as it was understood (parsing what is printed gives the same network), then the tensor
program: its random matrices and vectors and its instructions MatMul, Nonlin and Moment, with loops as loops.
A wrong spec is reported with every mistake's line, column and remedy, and exit code 1."""

EXAMPLES = """
  tp show mlp                      a shipped network
  tp show my.tp --let L=4          a file, with another depth
  tp show my.tp --only program     the listing alone
  tp zoo rnn | tp show - --json    from standard input, as data"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "show", "print a network and its tensor program", ABOUT, EXAMPLES)
    options.spec(parser)
    parser.add_argument("--only", choices=("spec", "program"), help="print one of the two")
    parser.add_argument("--json", action="store_true", help="print both as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from tp.program.listing import listing

    net = options.load(arguments)
    parts = {}
    if arguments.only != "program":
        parts["spec"] = str(net).rstrip()
    if arguments.only != "spec":
        parts["program"] = listing(net.program).rstrip()
    if arguments.json:
        print(json.dumps({"name": net.network.name, **parts}, indent=2))
    else:
        print("\n\n".join(parts.values()))
