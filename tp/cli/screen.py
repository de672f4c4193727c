"""What the demo prints with: headings, tables and dim text; plain where the output is not a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence


def columns() -> int:
    """Columns of the page that formulas are broken for: those of the terminal, within reason; 100 for files and pipes."""
    if not sys.stdout.isatty():
        return 100
    return min(max(shutil.get_terminal_size((100, 24)).columns, 60), 140)


def styled(text: str, code: str) -> str:
    """``text`` in a terminal style (``1`` bold, ``2`` dim, ``36`` cyan); as it is for pipes, files and NO_COLOR."""
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"


def heading(text: str) -> str:
    """A line that begins a section."""
    return styled(f"── {text} ".ljust(100, "─"), "1;36")


def indented(text: str) -> str:
    """Every line of ``text`` moved to the right."""
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need: the first flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return "   ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])

    return "\n".join([styled(line(head), "2"), *map(line, rows)])
