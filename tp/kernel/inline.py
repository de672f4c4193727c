"""Helpers of a generated module written out in each other, so that numba has fewer functions to infer and to lower.

A function costs numba some 20 ms however short it is, and LLVM would put all of these in their places anyway: statement for
statement it sees the same. Written out are *straight* functions, without loops and with one return, at their end; not where
only one of two values is computed inside an expression; and where there are several places, short ones alone. ``min`` and
``max`` of two, for numba functions like any other, become conditions.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

MOST = 40
"""Operations that may be written out once more to save a function."""

Functions = dict[str, ast.FunctionDef]


def inlined(sources: Mapping[str, str], own: Callable[[str], bool], called: Sequence[str]) -> dict[str, str]:
    """The helpers that ``called`` (texts of functions) need, in order, written out in each other where that pays.

    ``own`` says which must be left by themselves as their arithmetic is special. Where a helper calls something that has a
    namesake ``…_single``, it gets one, too.
    """
    functions = _with_singles({name: _definition(text) for name, text in sources.items()})
    special = {name for name, text in sources.items() if own(text)}
    outside = Counter(n for text in called for n in _names(ast.parse(text)) if n in functions)
    uses = outside + Counter(n for f in functions.values() for n in _names(f) if n in functions)
    straight: Functions = {}
    for name, f in functions.items():  # those that are called come first
        if name not in special:
            f.body = _Places(straight, {n.id for n in ast.walk(f) if isinstance(n, ast.Name)}).block(f.body)
            if _straight(f) and (uses[name] - 1) * _operations(f) <= MOST:
                straight[name] = f
    kept = _reached(functions, outside)
    return {name: ast.unparse(ast.fix_missing_locations(f)) for name, f in functions.items() if name in kept}


def _definition(text: str) -> ast.FunctionDef:
    (f,) = ast.parse(text).body
    assert isinstance(f, ast.FunctionDef)
    return f


def _names(tree: ast.AST) -> Iterator[str]:
    return (n.id for n in ast.walk(tree) if isinstance(n, ast.Name))


def _with_singles(functions: Functions) -> Functions:
    """Each function followed by the namesake that calls what is there for single precision, as does one that is there."""
    found: Functions = {}
    for name, f in functions.items():
        found[name] = f
        swap = {n: f"{n}_single" for n in _names(f) if f"{n}_single" in found}
        if name.endswith("_single"):
            _rename(f, swap)
        elif swap and f"{name}_single" not in functions:
            twin = deepcopy(f)
            twin.name = f"{name}_single"
            found[twin.name] = _rename(twin, swap)
    return found


def _rename(f: ast.FunctionDef, swap: Mapping[str, str]) -> ast.FunctionDef:
    for n in ast.walk(f):
        if isinstance(n, ast.Name):
            n.id = swap.get(n.id, n.id)
    return f


def _reached(functions: Functions, front: Iterable[str]) -> set[str]:
    found: set[str] = set()
    left = list(front)
    while left:
        name = left.pop()
        if name in functions and name not in found:
            found.add(name)
            left += [*_names(functions[name]), f"{name}_single"]
    return found


def _straight(f: ast.FunctionDef) -> bool:
    """Whether a function does one thing after another, with conditions at most, and returns at the end."""
    *before, last = f.body
    odd = (ast.Return, ast.For, ast.While)
    return isinstance(last, ast.Return) and not any(isinstance(n, odd) for s in before for n in ast.walk(s))


def _operations(f: ast.FunctionDef) -> int:
    return sum(isinstance(n, (ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.IfExp)) for n in ast.walk(f))


@dataclass
class _Places:
    """The body of a function with calls of ``straight`` functions written out; ``taken`` are its names."""

    straight: Functions
    taken: set[str]
    ahead: list[ast.stmt] = field(default_factory=list)

    def block(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for s in statements:
            s = self.statement(s)
            found += [*self.ahead, s]
            self.ahead = []
        return found

    def statement(self, s: ast.stmt) -> ast.stmt:
        match s:
            case ast.Assign(targets=[ast.Name()], value=ast.IfExp(test, one, other)) if self.concerns(one, other):
                both = [ast.Assign(deepcopy(s.targets), value) for value in (one, other)]
                return self.statement(ast.If(test, [both[0]], [both[1]]))
            case ast.Return(value=ast.IfExp() as value) if self.concerns(value.body, value.orelse):
                result = self.fresh("result")
                self.ahead += self.inside([ast.Assign([ast.Name(result, ast.Store())], value)])
                return ast.Return(ast.Name(result, ast.Load()))
            case ast.Assign() | ast.AugAssign() | ast.Return() if s.value is not None:
                s.value = self.value(s.value)
            case ast.If():
                s.test = self.value(s.test)
                s.body, s.orelse = self.inside(s.body), self.inside(s.orelse)
            case ast.For():
                s.iter = self.value(s.iter)
                s.body = self.inside(s.body)
            case ast.While():
                s.body = self.inside(s.body)
        return s

    def inside(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        before, self.ahead = self.ahead, []
        found = self.block(statements)
        self.ahead = before
        return found

    def concerns(self, *values: ast.expr) -> bool:
        return any(n in self.straight or n in EXTREMES for v in values for n in _names(v))

    def fresh(self, stem: str) -> str:
        k = next(k for k in range(1, 1 << 30) if f"{stem}_{k}" not in self.taken)
        self.taken.add(f"{stem}_{k}")
        return f"{stem}_{k}"

    def value(self, e: ast.expr) -> ast.expr:
        """An expression of which nothing is left to write out; statements that come first are ``ahead``."""
        match e:
            case ast.IfExp():  # one of two values is computed
                e.test = self.value(e.test)
                return e
            case ast.BoolOp():
                e.values[0] = self.value(e.values[0])
                return e
        for name, child in ast.iter_fields(e):
            if isinstance(child, ast.expr):
                setattr(e, name, self.value(child))
            elif isinstance(child, list):
                setattr(e, name, [self.value(c) if isinstance(c, ast.expr) else c for c in child])
        match e:
            case ast.Call(func=ast.Name(id=name), args=[a, b]) if name in EXTREMES:
                one, other = self.known(a, "a"), self.known(b, "b")
                return ast.IfExp(ast.Compare(other, [EXTREMES[name]()], [one]), deepcopy(other), deepcopy(one))
            case ast.Call(func=ast.Name(id=name)) if name in self.straight:
                return self.written(self.straight[name], e.args)
            case ast.Subscript(value=ast.Tuple(elts=elements), slice=ast.Constant(value=int(k))):
                return elements[k]
        return e

    def known(self, e: ast.expr, stem: str) -> ast.expr:
        """A value as a name or a number."""
        number = e.operand if isinstance(e, ast.UnaryOp) else e
        if isinstance(e, ast.Name) or isinstance(number, ast.Constant):
            return e
        name = self.fresh(stem)
        self.ahead.append(ast.Assign([ast.Name(name, ast.Store())], e))
        return ast.Name(name, ast.Load())

    def written(self, f: ast.FunctionDef, arguments: Sequence[ast.expr]) -> ast.expr:
        """What a function returns; what it does before comes first."""
        f = deepcopy(f)
        stored = {n.id for n in ast.walk(f) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        swap: dict[str, ast.expr] = {name: ast.Name(self.fresh(name), ast.Load()) for name in sorted(stored)}
        for parameter, argument in zip(f.args.args, arguments, strict=True):
            if parameter.arg in stored:
                target = swap[parameter.arg]
                assert isinstance(target, ast.Name)
                self.ahead.append(ast.Assign([ast.Name(target.id, ast.Store())], argument))
            else:
                swap[parameter.arg] = self.known(argument, parameter.arg)
        *before, last = [_Swap(swap).visit(s) for s in f.body]
        self.ahead += before
        assert isinstance(last, ast.Return) and last.value is not None
        return last.value


EXTREMES: dict[str, type[ast.cmpop]] = {"min": ast.Lt, "max": ast.Gt}
"""How the second of two must compare with the first to be the one; where they do not compare, the first is."""


class _Swap(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        found = self.names.get(node.id)
        if found is None:
            return node
        return ast.Name(found.id, node.ctx) if isinstance(found, ast.Name) else deepcopy(found)
