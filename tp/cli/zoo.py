"""``tp zoo``: the networks that ship with the package."""

from __future__ import annotations

import argparse
import json

from tp.cli import options

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
