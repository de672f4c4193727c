"""``tp plot``: the network as a dataflow graph."""

from __future__ import annotations

import argparse
from pathlib import Path

from tp.cli import files, options

ABOUT = """
Draws the tensor program as a graph: data and weights, then every instruction with what it reads; loops are
boxes. The picture is an SVG made here; no other program is needed."""

EXAMPLES = """
  tp plot attention                writes attention.svg
  tp plot my.tp --out graph.svg
  tp plot mlp --out - | head       to standard output"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "plot", "draw a network as a graph (SVG)", ABOUT, EXAMPLES)
    options.spec(parser)
    where = "where to write it (default: NAME.svg; - for standard output)"
    parser.add_argument("--out", type=files.graph_path, metavar="F.svg", help=where)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from tp.faces.svg import graph

    net = options.load(arguments)
    picture = graph(net.program)
    if arguments.out == "-":
        print(picture)
    else:
        path = Path(arguments.out or f"{net.network.name}.svg")
        files.write_text(path, picture)
        print(path)
