"""What turns of a loop need of each other: names that are read before they are set."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from tp.kernel.trees import nodes


def carried(loop: ast.For) -> set[str]:
    """Names that a turn sets and the next one reads."""
    return taken(loop.body, {target(loop)}) & stored(loop.body)


def taken(body: Sequence[ast.stmt], made: set[str]) -> set[str]:
    """Names that are read before they are set here; those that are set then are in ``made``."""
    found: set[str] = set()
    for s in body:
        blocks = [s.body, s.orelse] if isinstance(s, (ast.For, ast.If)) else []
        head = [s.iter] if isinstance(s, ast.For) else [s.test] if isinstance(s, ast.If) else [s]
        found |= {x.id for h in head for x in nodes(h) if isinstance(x, ast.Name) and not is_stored(x)} - made
        if isinstance(s, ast.AugAssign) and isinstance(s.target, ast.Name):
            found |= {s.target.id} - made
        if isinstance(s, ast.For):
            found |= taken(s.body, made | {target(s)})
        for block in blocks if isinstance(s, ast.If) else ():
            found |= taken(block, {*made})
        if not blocks:
            made |= {x.id for x in nodes(s) if isinstance(x, ast.Name) and is_stored(x)}
    return found


def stored(body: Sequence[ast.AST]) -> set[str]:
    """Names that are set here."""
    return {x.id for s in body for x in nodes(s) if isinstance(x, ast.Name) and is_stored(x)}


def is_stored(x: ast.Subscript | ast.Name) -> bool:
    """Whether a place, or a name, is set and not read."""
    return isinstance(x.ctx, ast.Store)


def target(loop: ast.For) -> str:
    """The name that counts a loop's turns."""
    assert isinstance(loop.target, ast.Name)
    return loop.target.id
