"""What stands in a formula: each part once, though it be written in many places.

Formulas share what recurs. SymPy walks them as trees, and meets what is shared as often as it would be written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import sympy as sp

Kind = TypeVar("Kind", bound=sp.Basic)


def parts(expr: sp.Basic) -> Iterator[sp.Basic]:
    """``expr`` and all that stands in it, each different part once."""
    seen = {expr}
    stack = [expr]
    while stack:
        part = stack.pop()
        yield part
        for arg in part.args:
            if arg not in seen:
                seen.add(arg)
                stack.append(arg)


def within(expr: sp.Basic, kind: type[Kind]) -> set[Kind]:
    """All parts of ``expr`` of a kind, as ``expr.atoms(kind)`` gives them."""
    return {part for part in parts(expr) if isinstance(part, kind)}
