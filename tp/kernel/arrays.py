"""Generated text as array code: a number that differs from lane to lane is an array of all lanes, and a loop over lanes is none.

What compiled functions do lane by lane NumPy does statement by statement, for thousands of lanes at a time: all pairs of a block,
or all samples. A number that is the same for all lanes stays a number, and what is done to it is done once; whether it is, shows
when the text is run. Functions with lanes are taken for all of them at once (:mod:`tp.kernel.atonce`), straight functions of
numbers become functions of arrays (:mod:`tp.kernel.straight`). What else there is runs lane by lane as it stands.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from types import CodeType

from tp.kernel.apart import PITCH
from tp.kernel.atonce import PAIRS, SAMPLES, AtOnce
from tp.kernel.straight import Straight, Unfit, is_straight
from tp.kernel.trees import nodes, placed


@lru_cache(16)
def array_code(text: str) -> tuple[CodeType, frozenset[str], frozenset[str], frozenset[str]]:
    """The functions that have lanes and the straight ones, and their names, and those of all; it raises :class:`Unfit`."""
    functions = {f.name: f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef) and "_near" not in f.name}
    tables = {name for f in functions.values() for name in _tables(f)}
    entries = {name: f for name, f in functions.items() if _has_lanes(f) or any(_tables(f))}
    straight = {name: f for name, f in functions.items() if name not in entries and (is_straight(f.body) or _fills_row(f))}
    if not entries:
        raise Unfit
    body: list[ast.stmt] = [AtOnce(tables).function(f) for f in entries.values()]
    body += [Straight(f).function() for f in straight.values()]
    code = compile(placed(ast.Module(body, [])), "<arrays>", "exec")
    return code, frozenset(entries), frozenset(straight), frozenset(functions)


def _tables(f: ast.FunctionDef) -> dict[str, ast.Assign]:
    """The tables that a function makes whose last axis is lanes."""
    found = {}
    for s in f.body:
        match s:
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Call(func=ast.Attribute(attr="empty" | "zeros"), args=[shape, *_])
            ):
                last = shape.elts[-1] if isinstance(shape, ast.Tuple) else shape
                if ast.unparse(last) in ("width", str(PITCH)):
                    found[name] = s
    return found


def _has_lanes(f: ast.FunctionDef) -> bool:
    return any(isinstance(x, ast.For) and ast.unparse(x.iter) in (PAIRS, SAMPLES) for x in nodes(f))


def _fills_row(f: ast.FunctionDef) -> bool:
    """Whether a function puts what it finds at a point into a row, as those of ``tp.gaussian.planes`` do."""
    *before, last = f.body
    return [a.arg for a in f.args.args[:3]] == ["x", "y", "row"] and is_straight(before) and isinstance(last, ast.Assign)
