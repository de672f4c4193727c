"""Generated text as array code: a number that differs from lane to lane is an array of all lanes, and a loop over lanes is none.

What compiled functions do lane by lane NumPy does statement by statement, for thousands of lanes at a time: all pairs of a block,
or all samples. A number that is the same for all lanes stays a number, and what is done to it is done once; whether it is, shows
when the text is run. Straight functions of numbers become functions of arrays, with both sides of a condition computed, or, where
functions are called or left early, each for its lanes. What else there is runs lane by lane as it stands.

A loop over lanes carries nothing from turn to turn but :func:`flags` and :func:`counts` of them; a text with a loop of another
kind where one over lanes is expected is :class:`Unfit`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from types import CodeType
from typing import Any

from tp.kernel.apart import PITCH
from tp.kernel.loops import carried, stored

PAIRS = "range(i + 1 if upper and i + 1 > j0 else j0, j1, width)"
SAMPLES = "range(start, stop, width)"
"""The loops whose turns take a vector of lanes each."""

SKIPPED = "if hard[i - i0] == 0:\n    continue"


class Unfit(Exception):
    """A text that does not run as array code."""


@lru_cache(16)
def array_code(text: str) -> tuple[CodeType, frozenset[str], frozenset[str], frozenset[str]]:
    """The functions that have lanes and the straight ones, and their names, and those of all; it raises :class:`Unfit`."""
    functions = {f.name: f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef) and "_near" not in f.name}
    tables = {name for f in functions.values() for name in _tables(f)}
    entries = {name: f for name, f in functions.items() if _has_lanes(f) or any(_tables(f))}
    straight = {name: f for name, f in functions.items() if name not in entries and (is_straight(f.body) or _fills_row(f))}
    if not entries:
        raise Unfit
    body: list[ast.stmt] = [_Entry(tables).function(f) for f in entries.values()]
    body += [Straight(f).function() for f in straight.values()]
    code = compile(ast.fix_missing_locations(ast.Module(body, [])), "<arrays>", "exec")
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
    return any(isinstance(x, ast.For) and ast.unparse(x.iter) in (PAIRS, SAMPLES) for x in ast.walk(f))


def is_straight(body: Sequence[ast.stmt]) -> bool:
    """Whether statements set names alone, by what does not go on for longer in one lane than in another."""
    for k, s in enumerate(body):
        match s:
            case ast.Assign(targets=targets):
                if any(isinstance(x, ast.Subscript) for t in targets for x in ast.walk(t)):
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


def _fills_row(f: ast.FunctionDef) -> bool:
    """Whether a function puts what it finds at a point into a row, as those of ``tp.gaussian.planes`` do."""
    *before, last = f.body
    return [a.arg for a in f.args.args[:3]] == ["x", "y", "row"] and is_straight(before) and isinstance(last, ast.Assign)


def _leaves(s: ast.stmt) -> bool:
    return any(isinstance(x, (ast.Return, ast.Break, ast.Continue)) for x in ast.walk(s))


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

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node:
            case ast.Call(func=ast.Attribute(attr="float32"), args=[ast.Constant() as number]):
                return number
            case ast.Call(func=ast.Name(id="min" | "max" | "int" | "float" as name)):
                return calling(f"{name}_", *(self.visit(a) for a in node.args))
        node.args = [self.visit(a) for a in node.args]
        return node


def calling(name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(args), [])


def _later(value: ast.expr) -> ast.Lambda:
    return ast.Lambda(ast.arguments([], [], None, [], [], None, []), value)


def _safe(e: ast.expr) -> bool:
    """Whether a value can be computed where it is not asked for."""
    return not any(
        isinstance(x, (ast.Subscript, ast.Pow, ast.Div, ast.Mod)) or (isinstance(x, ast.Call) and not _plain(x))
        for x in ast.walk(e)
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
                inner = {*known, *_names([s.target])}
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
        return sorted((_names(body) | {*names}) & known)

    def inner(self, body: list[ast.stmt], taken: Sequence[str]) -> tuple[ast.FunctionDef, str]:
        self.parts += 1
        name = f"part_{self.parts}"
        arguments = ast.arguments([], [ast.arg(n) for n in taken], None, [], [], None, [])
        return ast.FunctionDef(name, arguments, body or [ast.Pass()], []), name

    def part(self, test: ast.expr, one: str, other: str, taken: Sequence[str]) -> ast.Call:
        return calling("part", test, *(ast.Name(n, ast.Load()) for n in (one, other, *taken)))


def _names(body: Sequence[ast.AST]) -> set[str]:
    return {x.id for s in body for x in ast.walk(s) if isinstance(x, ast.Name)}


# ------------------------------------------------------------ functions with lanes


class Blocks(Lanes):
    """Statements, each of which may become none or several."""

    def block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for s in body:
            made = self.visit(s)
            found += made if isinstance(made, list) else [made] if made is not None else []
        return found


class _Entry(Blocks):
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
            for x in ast.walk(f)
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
        """Lanes do not part here: were it an array, Python would not take it for a condition."""
        s.test = self.visit(s.test)
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
        if any(x == "z" for x in _names([e])) or isinstance(ctx, ast.Store):
            raise Unfit(ast.unparse(e))
        return ast.Subscript(self.visit(e.value), self.visit(e.slice), ctx)

    def index(self, e: ast.Subscript) -> ast.Subscript | None:
        """A part of a lasting table that lanes have, each its own; None where it is the same for all."""
        if not isinstance(e.value, ast.Name):
            return None
        parts = e.slice.elts if isinstance(e.slice, ast.Tuple) else [e.slice]
        if not _names(parts) & {"i", "at"}:
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
