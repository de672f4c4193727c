"""``tp language``: what can be written in a spec, on one page."""

from __future__ import annotations

import argparse

from tp.cli import options

ABOUT = """
Prints the page that says all that can be written in a spec: sizes, constants, indices and boundaries, weights, operators,
functions and their closed forms, outputs, the train line, and what is refused. A word prints the parts whose title has it."""

EXAMPLES = """
  tp language | less
  tp language functions
  tp language weights"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "language", "print what can be written in a spec", ABOUT, EXAMPLES)
    parser.add_argument("part", nargs="?", metavar="PART", help="a word of a title: functions, weights, …")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from tp.errors import NOWHERE, DataError, Message
    from tp.resources import language_text

    text, word = language_text(), arguments.part
    if word is not None:
        parts = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}
        found = [f"## {part.rstrip()}" for title, part in parts.items() if word.lower() in title.lower()]
        if not found:
            reason = f"no title of the page has the word `{word}`"
            raise DataError(Message(NOWHERE, reason, f"its parts are: {'; '.join(parts)}", "unknown part"))
        text = "\n\n".join(found)
    print(text.rstrip())
