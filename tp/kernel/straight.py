"""Expressions and straight functions of generated text as array code: numbers, or arrays of them, one a lane.

Straight functions of numbers become functions of arrays, with both sides of a condition computed, or, where functions are called
or left early, each for its lanes. What they call is in :mod:`tp.kernel.lanewise`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from tp.kernel.loops import stored
from tp.kernel.trees import nodes


class Unfit(Exception):
    """A text that does not run as array code; what is told when it is prepared, or run."""


def is_straight(body: Sequence[ast.stmt]) -> bool:
    """Whether statements set names alone, by what does not go on for longer in one lane than in another."""
    for k, s in enumerate(body):
        match s:
            case ast.Assign(targets=targets):
                if any(isinstance(x, ast.Subscript) for t in targets for x in nodes(t)):
                    return False
            case ast.AugAssign(target=ast.Name()):
                pass
            case ast.Return():
                return k == len(body) - 1
            case ast.For(target=ast.Name()):
                if _leaves(s) or not is_straight(s.body):
                    return False
            case ast.If() if _leaves(s):
                return not s.orelse and _ends(s.body) and is_straight(s.body) and is_straight(body[k + 1 :])
            case ast.If():
                if not (is_straight(s.body) and is_straight(s.orelse)):
                    return False
            case _:
                return False
    return True


def _leaves(s: ast.stmt) -> bool:
    return any(isinstance(x, (ast.Return, ast.Break, ast.Continue)) for x in nodes(s))


def _ends(body: Sequence[ast.stmt]) -> bool:
    return isinstance(body[-1], ast.Return)


# ------------------------------------------------------------ expressions


class Lanes(ast.NodeTransformer):
    """Expressions whose values may be arrays; they call functions of :mod:`tp.kernel.lanewise`."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        test, one, other = (self.visit(x) for x in (node.test, node.body, node.orelse))
        if _safe(node.body) and _safe(node.orelse):
            return calling("pick", test, one, other)
        return calling("choose", test, _later(one), _later(other))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        *before, last = [self.visit(v) for v in node.values]
        name = "both" if isinstance(node.op, ast.And) else "either"
        for v in reversed(before):
            last = calling(name, v, _later(last))
        return last

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        operand = self.visit(node.operand)
        return calling("negated", operand) if isinstance(node.op, ast.Not) else ast.UnaryOp(node.op, operand)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        values = [self.visit(x) for x in (node.left, *node.comparators)]
        *before, last = [ast.Compare(a, [op], [b]) for a, op, b in zip(values, node.ops, values[1:], strict=False)]
        found: ast.expr = last
        for one in reversed(before):
            found = calling("both", one, _later(found))
        return found

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left, right = self.visit(node.left), self.visit(node.right)
        return calling("power_", left, right) if is_odd_power(node) else ast.BinOp(left, node.op, right)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node:
            case ast.Call(func=ast.Attribute(attr="float32"), args=[ast.Constant() as number]):
                return number
            case ast.Call(func=ast.Name(id="min" | "max" | "int" | "float" | "round" as name)):
                return calling(f"{name}_", *(self.visit(a) for a in node.args))
        node.args = [self.visit(a) for a in node.args]
        return node


def calling(name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(args), [])


def is_odd_power(x: ast.AST) -> bool:
    """Whether an expression is a power that may be no real number."""
    match x:
        case ast.BinOp(op=ast.Pow(), right=ast.Constant(value=int())):
            return False
        case ast.BinOp(op=ast.Pow()):
            return True
    return False


def _later(value: ast.expr) -> ast.Lambda:
    return ast.Lambda(ast.arguments([], [], None, [], [], None, []), value)


def _safe(e: ast.expr) -> bool:
    """Whether a value can be computed where it is not asked for."""
    return not any(
        isinstance(x, (ast.Subscript, ast.Pow, ast.Div, ast.Mod)) or (isinstance(x, ast.Call) and not _plain(x)) for x in nodes(e)
    )


def _plain(x: ast.Call) -> bool:
    return ast.unparse(x.func) in ("abs", "math.copysign", "np.float32")


# ------------------------------------------------------------ straight functions


class Straight(Lanes):
    """A straight function for numbers and arrays alike."""

    def __init__(self, f: ast.FunctionDef) -> None:
        self.f = f
        self.parts = 0

    def function(self) -> ast.FunctionDef:
        known = {a.arg for a in self.f.args.args}
        self.f.decorator_list = []
        self.f.body = self.block(self.f.body, known)
        return self.f

    def block(self, body: Sequence[ast.stmt], known: set[str]) -> list[ast.stmt]:
        """Statements, of which ``known`` are the names that have a value, and then those that have one afterwards."""
        found: list[ast.stmt] = []
        for k, s in enumerate(body):
            if isinstance(s, ast.If) and _leaves(s):
                return [*found, *self.left(s, body[k + 1 :], known)]
            if isinstance(s, ast.If):
                found += self.parted(s, known)
            elif isinstance(s, ast.For):
                s.iter = self.visit(s.iter)
                inner = {*known, *names_in([s.target])}
                s.body = self.block(s.body, inner)
                known |= inner
                found.append(s)
            elif isinstance(s, ast.AugAssign):
                assert isinstance(s.target, ast.Name)
                value = ast.BinOp(ast.Name(s.target.id, ast.Load()), s.op, s.value)
                found.append(ast.Assign([s.target], self.visit(value)))
            else:
                assert isinstance(s, (ast.Assign, ast.Return)) and s.value is not None
                s.value = self.visit(s.value)
                found.append(s)
                known |= stored([s])
        return found

    def left(self, s: ast.If, rest: Sequence[ast.stmt], known: set[str]) -> list[ast.stmt]:
        """A condition under which the function is left, and what follows where it does not hold."""
        test = self.visit(s.test)
        taken = self.taken([*s.body, *rest], known)
        yes, one = self.inner(self.block(s.body, {*known}), taken)
        no, other = self.inner(self.block(rest, {*known}), taken)
        return [yes, no, ast.Return(self.part(test, one, other, taken))]

    def parted(self, s: ast.If, known: set[str]) -> list[ast.stmt]:
        """A condition whose sides set names."""
        test = self.visit(s.test)
        names = sorted(stored([*s.body, *s.orelse]))
        taken = self.taken([*s.body, *s.orelse], known, names)
        sides = []
        for body in (s.body, s.orelse):
            inside = {*known}
            block = self.block(body, inside)
            values: list[ast.expr] = [ast.Name(n, ast.Load()) if n in inside else ast.Constant(None) for n in names]
            sides.append(self.inner([*block, ast.Return(ast.Tuple(values, ast.Load()))], taken))
        (yes, one), (no, other) = sides
        known |= {*names}
        target = ast.Tuple([ast.Name(n, ast.Store()) for n in names], ast.Store())
        return [yes, no, ast.Assign([target], self.part(test, one, other, taken))]

    def taken(self, body: Sequence[ast.stmt], known: set[str], names: Sequence[str] = ()) -> list[str]:
        return sorted((names_in(body) | {*names}) & known)

    def inner(self, body: list[ast.stmt], taken: Sequence[str]) -> tuple[ast.FunctionDef, str]:
        self.parts += 1
        name = f"part_{self.parts}"
        arguments = ast.arguments([], [ast.arg(n) for n in taken], None, [], [], None, [])
        return ast.FunctionDef(name, arguments, body or [ast.Pass()], []), name

    def part(self, test: ast.expr, one: str, other: str, taken: Sequence[str]) -> ast.Call:
        return calling("part", test, *(ast.Name(n, ast.Load()) for n in (one, other, *taken)))


def names_in(body: Sequence[ast.AST]) -> set[str]:
    return {x.id for s in body for x in nodes(s) if isinstance(x, ast.Name)}
