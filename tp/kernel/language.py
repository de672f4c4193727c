"""The small language of generated modules: functions of numbers and arrays, and nothing else.

A module that was kept on disk is a text from outside. It is compiled again only if it stays within this language: its
head is ours word for word, then come functions whose bodies are assignments, loops over ranges, conditions and returns;
what they call is each other, ``math``, or one of a few functions that make or compare numbers and arrays. So to load
such a text defines functions and does nothing more, and these reach nothing but their arguments.
"""

from __future__ import annotations

import ast
import builtins

from tp.kernel.text import ENTRY, EXACT, HEAD, HELPER, LOOPING, SUMMING
from tp.kernel.trees import nodes

CALLS = frozenset({"range", "min", "max", "abs", "int", "float", "len", "round"})
ARRAYS = frozenset({"empty", "zeros", "float32"})
"""What may be called of NumPy; ``float32`` may be named, too."""

MATH = frozenset(
    {
        *("sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh"),
        *("asinh", "acosh", "atanh", "erf", "erfc", "gamma", "lgamma", "floor", "ceil", "pow", "fabs", "hypot", "copysign"),
        *("inf", "nan", "pi", "e", "isfinite", "isnan", "isinf", "fmod", "trunc"),
    }
)

PLAIN = (
    *(ast.Assign, ast.AugAssign, ast.Return, ast.For, ast.While, ast.If, ast.Continue, ast.Break, ast.Pass, ast.IfExp),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Tuple, ast.Subscript, ast.Slice, ast.Load, ast.Store),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Expr),
)


def within(text: str) -> bool:
    """Whether a text is a module of this language."""
    if not text.startswith(HEAD):
        return False
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    head = len(ast.parse(HEAD).body)
    body = tree.body[head:]
    functions = {f.name for f in body if isinstance(f, ast.FunctionDef)}
    return all(isinstance(f, ast.FunctionDef) and _function(f, functions) for f in body)


_KINDS = (ENTRY, HELPER, LOOPING, SUMMING, EXACT)
_DECORATORS = frozenset(ast.dump(ast.parse(text.strip()[1:], mode="eval").body) for text in _KINDS)


def _function(f: ast.FunctionDef, functions: set[str]) -> bool:
    """Whether a definition has one of our decorators, plain arguments and a body within the language."""
    a = f.args
    odd = (a.posonlyargs, a.kwonlyargs, a.defaults, a.kw_defaults, a.vararg, a.kwarg, f.returns)
    if any(odd) or any(x.annotation for x in a.args) or len(f.decorator_list) != 1:
        return False
    if ast.dump(f.decorator_list[0]) not in _DECORATORS or f.name in _TAKEN:
        return False
    return all(type(x) in _ALWAYS or _allowed(x, functions) for statement in f.body for x in nodes(statement))


def _kinds(kind: type[ast.AST]) -> frozenset[type[ast.AST]]:
    """A kind of node and those that are of that kind."""
    return frozenset({kind}).union(*map(_kinds, kind.__subclasses__()))


_ALWAYS = frozenset().union(*(_kinds(k) for k in PLAIN if k not in (ast.Name, ast.Constant, ast.Call, ast.Attribute)))
"""Nodes that are allowed wherever they stand: most are."""
_TAKEN = CALLS | {"math", "np", "njit"}


def _allowed(node: ast.AST, functions: set[str]) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return name in CALLS or name in functions
        case ast.Call(func=ast.Attribute(value=ast.Name(id="math" | "np")), keywords=[]):
            return True  # its name is checked below, as it is an attribute
        case ast.Call():
            return False
        case ast.Attribute(value=ast.Name(id="math"), attr=name, ctx=ast.Load()):
            return name in MATH
        case ast.Attribute(value=ast.Name(id="np"), attr=name, ctx=ast.Load()):
            return name in ARRAYS
        case ast.Attribute(attr=name, ctx=ast.Load()):
            return name == "shape"
        case ast.Attribute():
            return False
        case ast.Name(id=name):
            ours = name in CALLS or name in functions or name not in vars(builtins)  # else one of Python's, under another name
            return ours and not name.startswith("__") and (isinstance(node.ctx, ast.Load) or name not in _TAKEN)
        case ast.Constant(value=value):
            return type(value) in (int, float, bool)
    return isinstance(node, PLAIN)
