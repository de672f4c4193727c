"""Functions of generated text with loops over lanes as array code: for all lanes at once, no loop over them is left.

A loop over lanes carries nothing from turn to turn but :func:`flags` and :func:`counts` of them; a text with a loop of another
kind where one over lanes is expected is :class:`Unfit`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from tp.kernel.loops import carried
from tp.kernel.straight import Lanes, Unfit, calling, names_in
from tp.kernel.trees import nodes

PAIRS = "range(i + 1 if upper and i + 1 > j0 else j0, j1, width)"
SAMPLES = "range(start, stop, width)"
"""The loops whose turns take a vector of lanes each."""

SKIPPED = "if hard[i - i0] == 0:\n    continue"


class Blocks(Lanes):
    """Statements, each of which may become none or several."""

    def block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for s in body:
            made = self.visit(s)
            found += made if isinstance(made, list) else [made] if made is not None else []
        return found


class AtOnce(Blocks):
    """A function with loops over lanes, for all of them at once.

    ``i`` and ``at`` become arrays, of the row and of the column of every lane, ``b`` is how many there are. A table with a place
    for each lane holds arrays instead, one by one; a row of a lasting table is read where it gets its name, and written where
    its places are.
    """

    def __init__(self, tables: set[str]) -> None:
        self.tables = tables
        self.rows: dict[str, ast.Subscript] = {}  # rows that are written, by name
        self.written: set[str] = set()

    def function(self, f: ast.FunctionDef) -> ast.FunctionDef:
        f.decorator_list = []
        self.written = {
            x.value.id
            for x in nodes(f)
            if isinstance(x, ast.Subscript)
            and isinstance(x.ctx, ast.Store)
            and _is_lane(x.slice)
            and isinstance(x.value, ast.Name)
        } - self.tables
        f.body = self.block(f.body)
        return f

    # statements

    def visit_For(self, s: ast.For) -> Any:
        match s:
            case ast.For(target=ast.Name(id="z")):
                if names := carried(s) - flags(s.body) - counts(s.body):
                    raise Unfit(f"{names} are carried from lane to lane")
                return self.block(s.body)
            case ast.For(target=ast.Name(id="i"), body=[ast.If() as skip, ast.For() as lanes]) if ast.unparse(skip) == SKIPPED:
                return self.over_pairs(lanes, ast.Name("hard", ast.Load()))
            case ast.For(target=ast.Name(id="i"), body=[ast.For() as lanes]):
                return self.over_pairs(lanes, ast.Constant(None))
            case ast.For(target=ast.Name(id="at")) if ast.unparse(s.iter) == SAMPLES:
                return ast.For(_target("at", "b"), _over("samples", "start", "stop", "width"), self.lanes(s), [])
        s.iter = self.visit(s.iter)
        s.body = self.block(s.body)
        return s

    def over_pairs(self, s: ast.For, hard: ast.expr) -> ast.For:
        if ast.unparse(s.iter) != PAIRS:
            raise Unfit(ast.unparse(s.iter))
        pairs = _over("pieces", "i0", "i1", "j0", "j1", "upper", "width")
        pairs.args.append(hard)
        return ast.For(_target("i", "at", "b"), pairs, self.lanes(s), [])

    def lanes(self, s: ast.For) -> list[ast.stmt]:
        first, *rest = s.body
        if not (isinstance(first, ast.Assign) and ast.unparse(first.targets[0]) == "b"):
            raise Unfit(ast.unparse(first))
        return self.block(rest)

    def visit_If(self, s: ast.If) -> ast.If:
        """Lanes do not part here."""
        s.test = calling("alike_", self.visit(s.test))
        s.body, s.orelse = self.block(s.body), self.block(s.orelse)
        return s

    def visit_While(self, s: ast.While) -> Any:
        raise Unfit("while")

    def visit_Continue(self, s: ast.Continue) -> Any:
        raise Unfit("continue")

    def visit_Assign(self, s: ast.Assign) -> Any:
        (target,) = s.targets
        match target, s.value:
            case ast.Name(id=name), ast.Call(args=[shape, *_]) if name in self.tables:
                elements = shape.elts[:-1] if isinstance(shape, ast.Tuple) else []
                s.value = calling("table", *map(self.visit, elements))
                return s
            case ast.Name(id=name), ast.Subscript() if name in self.written:
                row = self.index(s.value)
                if row is None:
                    raise Unfit(ast.unparse(s))
                self.rows[name] = row
                return None
        s.value = self.visit(s.value)
        s.targets = [self.target(target)]
        return s

    def target(self, target: ast.expr) -> ast.expr:
        match target:
            case ast.Name():
                return target
            case ast.Tuple(elts=elements):
                return ast.Tuple([self.target(e) for e in elements], ast.Store())
            case ast.Subscript():
                return self.place(target, ast.Store())
        raise Unfit(ast.unparse(target))

    def visit_AugAssign(self, s: ast.AugAssign) -> Any:
        value = self.visit(s.value)
        match s.target:
            case ast.Subscript(value=ast.Name(id="hard")):
                at = self.visit(s.target.slice)
                return ast.Expr(calling("count", ast.Name("hard", ast.Load()), at, value))
            case ast.Subscript():
                before = self.place(s.target, ast.Load())
                return ast.Assign([self.place(s.target, ast.Store())], ast.BinOp(before, s.op, value))
        assert isinstance(s.target, ast.Name)
        return ast.Assign([s.target], ast.BinOp(ast.Name(s.target.id, ast.Load()), s.op, value))

    def visit_Expr(self, s: ast.Expr) -> ast.Expr:
        s.value = self.visit(s.value)
        return s

    # places

    def visit_Subscript(self, e: ast.Subscript) -> ast.expr:
        if isinstance(e.value, ast.Tuple):
            return e
        return self.place(e, ast.Load())

    def place(self, e: ast.Subscript, ctx: ast.expr_context) -> ast.expr:
        match e:
            case ast.Subscript(value=ast.Name(id=name), slice=at) if name in self.tables:
                *before, last = at.elts if isinstance(at, ast.Tuple) else [at]
                if not _is_lane(last):
                    raise Unfit(ast.unparse(e))
                return ast.Subscript(ast.Name(name, ast.Load()), _tuple([self.visit(x) for x in before]), ctx)
            case ast.Subscript(value=ast.Name(id=name), slice=at) if name in self.rows and _is_lane(at):
                return ast.Subscript(deepcopy(self.rows[name].value), deepcopy(self.rows[name].slice), ctx)
            case ast.Subscript(value=ast.Name() as row, slice=at) if _is_lane(at) and isinstance(ctx, ast.Load):
                return row
        if (found := self.index(e)) is not None and isinstance(ctx, ast.Load):
            return calling("taken", found.value, found.slice)
        if any(x == "z" for x in names_in([e])) or isinstance(ctx, ast.Store):
            raise Unfit(ast.unparse(e))
        return ast.Subscript(self.visit(e.value), self.visit(e.slice), ctx)

    def index(self, e: ast.Subscript) -> ast.Subscript | None:
        """A part of a lasting table that lanes have, each its own; None where it is the same for all."""
        if not isinstance(e.value, ast.Name):
            return None
        parts = e.slice.elts if isinstance(e.slice, ast.Tuple) else [e.slice]
        if not names_in(parts) & {"i", "at"}:
            return None
        return ast.Subscript(ast.Name(e.value.id, ast.Load()), _tuple([self.along(x) for x in parts]), ast.Load())

    def along(self, x: ast.expr) -> ast.expr:
        """An index: a slice that runs along with lanes is that of each lane."""
        if not isinstance(x, ast.Slice):
            return self.visit(x)
        assert x.lower is not None and x.upper is not None
        if ast.unparse(x.upper) != f"{ast.unparse(x.lower)} + b":
            raise Unfit(ast.unparse(x))
        return self.visit(x.lower)


def _is_lane(x: ast.expr) -> bool:
    return isinstance(x, ast.Name) and x.id == "z"


def _tuple(elements: list[ast.expr]) -> ast.Tuple:
    return ast.Tuple(elements, ast.Load())


def _target(*names: str) -> ast.Tuple:
    return ast.Tuple([ast.Name(n, ast.Store()) for n in names], ast.Store())


def _over(name: str, *arguments: str) -> ast.Call:
    return calling(name, *(ast.Name(a, ast.Load()) for a in arguments))


def flags(body: Sequence[ast.stmt]) -> set[str]:
    """Names that are set to True where something holds, and else are what they were."""
    found = set()
    for s in body:
        match s:
            case ast.Assign(targets=[ast.Name(id=n)], value=ast.IfExp(body=ast.Name(id=m), orelse=ast.Constant(value=True))) if (
                n == m
            ):
                found.add(n)
    return found


def counts(body: Sequence[ast.stmt]) -> set[str]:
    """Names to which a loop adds 1 where something holds: what each lane has of that is added to its row afterwards."""
    found = set()
    for s in body:
        match s:
            case ast.AugAssign(
                target=ast.Name(id=n), op=ast.Add(), value=ast.IfExp(body=ast.Constant(value=0), orelse=ast.Constant(value=1))
            ):
                found.add(n)
    return found
