"""What is decided before numba sees a text: on a device no pair is a sample with itself, so that ``same`` is False.

Names that are given a constant once are that constant, and branches that cannot be taken are left out: what is not compiled
takes no time.
"""

from __future__ import annotations

import ast
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

COMPARED: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


EXEMPT = "lone"
"""The table that tells lanes exempt from a test, which only a sample with itself has: here all of it is 0."""


def folded(body: Sequence[ast.stmt], known: Mapping[str, bool | int]) -> list[ast.stmt]:
    """Statements in which the names of ``known`` have these values. Lanes, ``z``, count from 0."""
    made = Counter(x.id for s in body for x in ast.walk(s) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store))
    return _Fold({**known}, made).block(body)


class _Fold(ast.NodeTransformer):
    def __init__(self, known: dict[str, bool | int], made: Counter[str]) -> None:
        self.known, self.made = known, made
        self.zeros = {EXEMPT}

    def block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for s, after in zip_longest(body, body[1:]):
            name = _given(s)
            if name is not None and _given(after) == name and self.made[name] == 2:  # and given again at once
                self.made[name] = 1
            made = self.visit(s)
            found += made if isinstance(made, list) else [] if made is None else [made]
        return found

    def visit_Assign(self, node: ast.Assign) -> ast.stmt | None:
        node.value = self.visit(node.value)
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=bool() | int() as value)) if (
                self.made[name] == 1
            ):
                self.known[name] = value
                return None
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript(value=ast.Name(id=table))) if table == EXEMPT:
                self.zeros.add(name)
                return None
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=table))]) if table == EXEMPT:
                return None
        if (given := _given(node)) is not None:
            self.known.pop(given, None)
        node.targets = [self.visit(t) for t in node.targets]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        node.left, node.right = self.visit(node.left), self.visit(node.right)
        match node:
            case ast.BinOp(op=ast.Add(), right=ast.Subscript(value=ast.Name(id=name))) if name in self.zeros:
                return node.left
        return node

    def visit_For(self, node: ast.For) -> ast.stmt | None:
        node.iter = self.visit(node.iter)
        node.body = self.block(node.body)
        return node if node.body else None

    def visit_If(self, node: ast.If) -> ast.stmt | list[ast.stmt] | None:
        test = node.test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            return self.block(node.body if test.value else node.orelse)
        body, node.orelse = self.block(node.body), self.block(node.orelse)
        node.body = body or [ast.Pass()]
        return node if body or node.orelse else None

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self.known[node.id]) if isinstance(node.ctx, ast.Load) and node.id in self.known else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        node.operand = self.visit(node.operand)
        if isinstance(node.operand, ast.Constant) and isinstance(node.op, ast.USub) and type(node.operand.value) is int:
            return ast.Constant(-node.operand.value)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        decides = isinstance(node.op, ast.Or)
        values = [self.visit(v) for v in node.values]
        fixed = [v.value for v in values if isinstance(v, ast.Constant)]
        if decides in fixed:
            return ast.Constant(decides)
        node.values = [v for v in values if not isinstance(v, ast.Constant)]
        return node if len(node.values) > 1 else node.values[0] if node.values else ast.Constant(not decides)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        both = [self.visit(x) for x in (node.left, *node.comparators)]
        held = [_holds(op, a, b) for op, a, b in zip(node.ops, both, both[1:], strict=False)]
        if False in held or None not in held:
            return ast.Constant(False not in held)
        node.left, *node.comparators = both
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            chosen: ast.expr = self.visit(node.body if test.value else node.orelse)
            return chosen
        return ast.IfExp(test, self.visit(node.body), self.visit(node.orelse))


def _given(s: ast.stmt | None) -> str | None:
    """The name that is given a value."""
    return s.targets[0].id if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name) else None


def _holds(op: ast.cmpop, one: ast.expr, two: ast.expr) -> bool | None:
    """Whether two ends are in this order; None where that is not known."""
    match op, one, two:
        case ast.Eq(), ast.Name(id="z"), ast.Constant(value=int() as b) if b < 0:
            return False
        case _, ast.Constant(value=int() as a), ast.Constant(value=int() as b) if type(op) in COMPARED:
            return COMPARED[type(op)](a, b)
    return None
