"""Loops around loops over lanes whose turns carry nothing to each other, as array code for all turns at once.

Rows of an image are short, and a statement of array code takes a microsecond to be asked for however little it does. So where a
loop has, beside its loops over lanes, only rows and numbers of its own turn, what turns differ in gets one more axis, the first:
a row that each has is [turn, lane, pair], a number [turn, 1, pair], an index [turn]. A place that is set is one that no other
turn sets or reads; what turns add to one row is summed. Where pairs are of a sample with itself, turns differ in what they do,
and the loop stays what it is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

from tp.kernel.loops import carried, is_stored, target
from tp.kernel.straight import Unfit
from tp.kernel.trees import nodes

SAME = "same"
"""The name that says whether pairs are of a sample with itself."""


class Turns:
    """What turns of a loop have each for itself, by name, and places with what belongs to all turns."""

    def __init__(self, loop: ast.For, tables: Mapping[str, str]) -> None:
        self.name = target(loop)
        self.tables = tables
        """The tables of rows that were named before the loop."""
        self.indices = {self.name}
        self.numbers: set[str] = set()
        self.rows: set[str] = set()
        self.copies: set[str] = set()
        """Rows that are no views of their tables."""
        self.check(loop)

    @property
    def first(self) -> str:
        return f"{self.name}_first"

    def check(self, loop: ast.For) -> None:
        """Raises :class:`Unfit` where turns carry something to each other."""
        counted = {s.target.id for s in nodes(loop) if isinstance(s, ast.AugAssign) and isinstance(s.target, ast.Name)}
        if left := carried(loop) - {n for n in counted if _counts(loop, n)}:
            raise Unfit(f"{left} are carried from turn to turn")
        self.apart(loop)

    def apart(self, loop: ast.For) -> None:
        """Raises :class:`Unfit` where one turn may write what another one reads or writes."""
        places = _places(loop.body)
        named = {id(place) for place in places.values()}
        added = {id(s.target) for s in nodes(loop) if isinstance(s, ast.AugAssign)}
        read: set[str] = set()
        stored: dict[str, set[str]] = {}
        sums: dict[str, set[str]] = {}
        for x in nodes(loop):
            if not isinstance(x, ast.Subscript) or not isinstance(x.value, ast.Name) or id(x) in named:
                continue
            place = places.get(x.value.id, x)
            name = ast.unparse(place.value)
            table = self.tables.get(name, name)
            if not is_stored(x):
                read.add(table)
                continue
            before = place.slice.elts[:-1] if isinstance(place.slice, ast.Tuple) else []
            kind = sums if id(x) in added else stored
            kind.setdefault(table, set()).add(" ".join(map(ast.unparse, (place.value, *before))))
        several = {table for table, at in stored.items() if len(at | sums.get(table, set())) > 1}
        if shared := several | read & (stored.keys() | sums.keys()):
            raise Unfit(f"{shared} are of several turns")

    # ------------------------------------------------------------ places

    def depends(self, x: ast.AST) -> bool:
        """Whether what an expression stands for is another one in another turn."""
        return bool(_names(x) & (self.indices | self.numbers | self.rows))

    def parts(self, at: Sequence[ast.expr], visited: Sequence[ast.expr]) -> tuple[list[ast.expr], bool]:
        """Indices of a place: slices of all turns where they go on evenly, else arrays, which make a copy; whether they do."""
        own = [k for k, x in enumerate(at) if self.depends(x)]
        if any(_names(at[k]) & (self.numbers | self.rows) or _subscripted(at[k]) for k in own):
            raise Unfit("a number as an index")
        if len(own) == 1 and self.even(at[own[0]]):
            return [self.span(x) if k in own else x for k, x in enumerate(at)], False
        return [visited[k] if k in own else x for k, x in enumerate(at)], True

    def even(self, x: ast.expr) -> bool:
        """Whether an index is a multiple of the turn, and something."""
        match x:
            case ast.Name(id=name):
                return name == self.name or name not in self.indices
            case ast.Constant():
                return True
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return self.even(inner)
            case ast.BinOp(left=a, op=ast.Add() | ast.Sub(), right=b):
                return self.even(a) and self.even(b)
            case ast.BinOp(left=a, op=ast.Mult(), right=b):
                return self.even(a) and self.even(b) and not (self.depends(a) and self.depends(b))
        return False

    def span(self, x: ast.expr) -> ast.expr:
        text = ast.unparse(x)
        one, two = (re.sub(rf"\b{self.name}\b", turn, text) for turn in (self.first, f"({self.first} + 1)"))
        return ast.parse(f"span({one}, {two}, len({self.name}))", mode="eval").body

    # ------------------------------------------------------------ names

    def number(self, value: ast.expr) -> None:
        """Raises :class:`Unfit` where a number is made of indices, which are not arrays of such a shape."""
        if {n.id for n in nodes(value, ast.Subscript) if isinstance(n, ast.Name)} & self.indices:
            raise Unfit("an index as a number")

    def named(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        """Names that get a value: indices, or numbers."""
        if not self.depends(value):
            return
        names = set().union(*map(_names, targets))
        if _whole(value) and _names(value) <= self.indices | (_names(value) - self.numbers - self.rows):
            self.indices |= names
            return
        if names & self.indices:
            raise Unfit("an index as a number")
        self.number(value)
        self.numbers |= names


def is_innermost(loop: ast.For) -> bool:
    """Whether a loop is around loops over lanes alone."""
    return any(isinstance(s, ast.For) for s in loop.body) and all(map(_simple, loop.body))


def _simple(s: ast.stmt) -> bool:
    match s:
        case ast.For():
            return target(s) == "z" and all(map(_simple, s.body))
        case ast.If():
            return all(map(_simple, (*s.body, *s.orelse)))
    return isinstance(s, (ast.Assign, ast.AugAssign))


def apart_from_same(loop: ast.For) -> bool:
    """Whether a loop does not ask whether pairs are of a sample with itself."""
    return SAME not in _names(loop)


def of_others(tree: ast.For) -> ast.For:
    """The loop where pairs are not of a sample with itself."""
    found = _Others().visit(tree)
    assert isinstance(found, ast.For)
    return found


class _Others(ast.NodeTransformer):
    """Conditions that ask first whether pairs are of a sample with itself: they do not hold."""

    def visit_IfExp(self, e: ast.IfExp) -> ast.expr:
        found = e.orelse if _asks(e.test) else e
        self.generic_visit(found)
        return found

    def visit_If(self, s: ast.If) -> ast.stmt | list[ast.stmt]:
        self.generic_visit(s)
        return s.orelse if _asks(s.test) else s


def _asks(test: ast.expr) -> bool:
    head = test.values[0] if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else test
    return isinstance(head, ast.Name) and head.id == SAME


def _counts(loop: ast.For, name: str) -> bool:
    """Whether a name counts turns that have a flag: some or none is all that matters."""
    stored = [s for s in nodes(loop) if isinstance(s, (ast.Assign, ast.AugAssign)) and name in _stored(s)]
    return all(isinstance(s, ast.AugAssign) and is_count(s) for s in stored)


def is_count(s: ast.AugAssign) -> bool:
    return isinstance(s.op, ast.Add) and isinstance(s.value, ast.IfExp) and isinstance(s.value.test, ast.Name)


def _whole(value: ast.expr) -> bool:
    """Whether a value is a whole number where names in it are."""
    odd = (ast.Subscript, ast.Call, ast.Div, ast.Pow)
    return not any(isinstance(x, odd) or (isinstance(x, ast.Constant) and isinstance(x.value, float)) for x in nodes(value))


def _subscripted(x: ast.expr) -> bool:
    return any(isinstance(n, ast.Subscript) for n in nodes(x))


def _names(x: ast.AST) -> set[str]:
    return {n.id for n in nodes(x) if isinstance(n, ast.Name)}


def _stored(s: ast.stmt) -> set[str]:
    return {x.id for x in nodes(s) if isinstance(x, ast.Name) and is_stored(x)}


def _places(body: Sequence[ast.stmt]) -> dict[str, ast.Subscript]:
    """Rows by name."""
    found = {}
    for s in body:
        match s:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as place) if is_row(place):
                found[name] = place
    return found


def is_row(e: ast.Subscript) -> bool:
    """Whether a place is a row of a table."""
    return isinstance(e.slice.elts[-1] if isinstance(e.slice, ast.Tuple) else e.slice, ast.Slice)
