"""``tp zoo``: the networks that ship with the package."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap

from tp.cli import options
from tp.cli.screen import columns

ABOUT = """
Without a name, lists the shipped networks. With one, prints its spec as written: a place to begin from.
Every verb accepts these names as SPEC."""

EXAMPLES = """
  tp zoo
  tp zoo mlp > my.tp
  tp zoo --json"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "zoo", "list the shipped networks, or print one", ABOUT, EXAMPLES)
    parser.add_argument("name", nargs="?", help="the network to print")
    parser.add_argument("--json", action="store_true", help="print names, summaries and texts as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    import tp

    names = [arguments.name] if arguments.name else tp.zoo()
    specs = {name: tp.zoo(name).network.source.text for name in names}
    if arguments.json:
        print(json.dumps([{"name": name, "summary": summary(text), "spec": text} for name, text in specs.items()], indent=2))
    elif arguments.name:
        print(specs[arguments.name].rstrip())
    else:
        longest = max(map(len, specs))
        width = columns() if sys.stdout.isatty() else 1000  # what reads a pipe takes lines
        for name, text in specs.items():
            line = f"{name:{longest}} {summary(text)}"
            print(textwrap.fill(line, width, subsequent_indent=" " * (longest + 1), break_on_hyphens=False))


def summary(text: str) -> str:
    """The first comment line of a spec."""
    return next((line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#")), "")
