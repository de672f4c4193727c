"""Source text of scalar functions: our own functions with all they call, templates filled in, SymPy expressions printed.

Nothing here runs what it writes. The printer knows a closed list of functions and makes every name itself, so no text
of a user reaches the code; the rest is source of this package, stripped of annotations and docstrings.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import FunctionType
from typing import Any

import sympy as sp
from sympy.codegen.cfunctions import log1p

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian import functions as known
from tp.gaussian import scalars

Source = tuple[str, str]
Function = Callable[..., Any]


def sources_of(*functions: Function) -> tuple[Source, ...]:
    """(name, text) of ``functions`` and of all functions of this package they call, in dependency order."""
    found: dict[str, str] = {}
    for function in functions:
        _collect(function, found)
    return tuple(found.items())


def renamed(function: Function, name: str) -> Source:
    """A function's text under another name, for it to take that one's place."""
    return name, _text(function).replace(f"def {function.__name__}(", f"def {name}(", 1)


def merge(*groups: Iterable[Source]) -> tuple[Source, ...]:
    """All sources once, in order."""
    return tuple({name: text for group in groups for name, text in group}.items())


def _collect(function: Function, found: dict[str, str]) -> None:
    assert isinstance(function, FunctionType)
    if function.__name__ in found:
        return
    for callee in _callees(function):
        _collect(callee, found)
    single = function.__globals__.get(f"{function.__name__}_single")
    if single is not None:
        _collect(single, found)
    found[function.__name__] = _text(function)


def _callees(function: FunctionType) -> list[FunctionType]:
    """Functions of this package named in the body."""
    names = dict.fromkeys(n.id for n in ast.walk(_tree(function)) if isinstance(n, ast.Name))
    values = (function.__globals__.get(n) for n in names)
    return [f for f in values if isinstance(f, FunctionType) and f.__module__.startswith("tp.gaussian.") and f is not function]


@cache
def _text(function: FunctionType) -> str:
    return ast.unparse(_tree(function))


def _tree(function: FunctionType) -> ast.FunctionDef:
    """The definition without annotations and docstring."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    tree.returns = None
    for argument in tree.args.args:
        argument.annotation = None
    if isinstance(tree.body[0], ast.Expr) and isinstance(tree.body[0].value, ast.Constant):
        del tree.body[0]
    return tree


class _Fill(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str], extra: Mapping[str, Sequence[str]]) -> None:
        self.names, self.extra = names, extra

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name):
            at = _place([a.id if isinstance(a, ast.Name) else "" for a in node.args])
            node.args[at:at] = [ast.Name(p, ast.Load()) for p in self.extra.get(node.func.id, ())]
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)


def fill(
    template: Function, name: str, names: Mapping[str, str], params: Sequence[str], extra: Mapping[str, Sequence[str]]
) -> Source:
    """``template`` as a function ``name``: global ``names`` replaced, ``params`` added to its arguments.

    ``extra[f]`` are the arguments added to every call of the global ``f``; all go last, but before ``out`` and ``eps``.
    """
    assert isinstance(template, FunctionType)
    tree = _Fill(names, extra).visit(_tree(template))
    at = _place([a.arg for a in tree.args.args])
    tree.args.args[at:at] = [ast.arg(p) for p in params]
    tree.name = name
    return name, ast.unparse(ast.fix_missing_locations(tree))


def _place(arguments: Sequence[str]) -> int:
    """Where parameters are put in: last, but before ``out`` and ``eps``."""
    return len(arguments) - 1 if arguments and arguments[-1] in ("out", "eps") else len(arguments)


def digest(*parts: str) -> str:
    """Ten hex digits that identify ``parts``."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


# ------------------------------------------------------------ SymPy to Python

MATH = {
    sp.sin: "sin", sp.cos: "cos", sp.tan: "tan", sp.sinh: "sinh", sp.cosh: "cosh", sp.tanh: "tanh", sp.asin: "asin",
    sp.acos: "acos", sp.atan: "atan", sp.asinh: "asinh", sp.acosh: "acosh", sp.atanh: "atanh", sp.log: "log", sp.erf: "erf",
    sp.erfc: "erfc", sp.atan2: "atan2",
    log1p: "log1p",
}  # fmt: skip
OURS: dict[type, Function] = {
    sp.exp: scalars.exponential, sp.sign: scalars.sign, known.relu: scalars.relu, known.step: scalars.step,
    known.elu: scalars.elu, known.leaky_relu: scalars.leaky_relu, known.normal_pdf: scalars.normal_pdf,
    known.normal_cdf: scalars.normal_cdf, known.gelu: scalars.gelu, known.sigmoid: scalars.sigmoid,
    known.softplus: scalars.softplus, known.silu: scalars.silu,
}  # fmt: skip


class Printer:
    """Prints SymPy expressions as Python; ``used`` collects the functions of ours that the text calls."""

    def __init__(self, names: Mapping[sp.Basic, str]) -> None:
        self.names = names
        self.used: dict[str, Function] = {}

    def __call__(self, e: sp.Basic) -> str:
        if e in self.names:
            return self.names[e]
        if isinstance(e, (sp.Number, sp.NumberSymbol)):
            return self.number(e)
        match e:
            case sp.Add():
                return "(" + " + ".join(map(self, e.args)) + ")"
            case sp.Mul():
                return "(" + " * ".join(map(self, e.args)) + ")"
            case sp.Pow():
                return self.power(e.base, e.exp)
            case sp.Max() | sp.Min():
                return self.extreme(e)
            case sp.Abs():
                return f"abs({self(e.args[0])})"
            case sp.Heaviside():
                return self.ours(scalars.heaviside, *map(self, e.args))
            case known.hermite():
                if e.args[0].is_Integer and e.args[0] >= 0:
                    return self.ours(scalars.hermite, str(int(e.args[0])), self(e.args[1]))
            case sp.Piecewise():
                return self.piecewise(e)
        if type(e) in MATH:
            return f"math.{MATH[type(e)]}({', '.join(map(self, e.args))})"
        if type(e) in OURS:
            return self.ours(OURS[type(e)], *map(self, e.args))
        remedy = "use the functions of the language"
        shown = e.xreplace({symbol: sp.Symbol(name) for symbol, name in self.names.items()})
        raise LimitError(Message(NOWHERE, f"`{shown}` has no numerical value here", remedy, "no numbers"))

    def number(self, e: sp.Basic) -> str:
        if e in (sp.nan, sp.zoo, sp.oo, -sp.oo):
            raise LimitError(Message(NOWHERE, f"`{e}` is not a finite number", "", "no numbers"))
        text = repr(float(e))
        return f"({text})" if text.startswith("-") else text

    def ours(self, function: Function, *args: str) -> str:
        self.used[function.__name__] = function
        return f"{function.__name__}({', '.join(args)})"

    def power(self, base: sp.Expr, exponent: sp.Expr) -> str:
        text = self(base)
        if exponent.is_Integer and 1 < int(exponent) <= 3:
            return "(" + " * ".join([text] * int(exponent)) + ")"
        if exponent.is_Integer:
            if exponent < 0:
                return f"(1.0 / {self.power(base, -exponent) if exponent != -1 else text})"
            return f"{text} ** {int(exponent)}"
        if exponent == sp.S.Half:
            return f"math.sqrt({text})"
        if exponent == -sp.S.Half:
            return f"(1.0 / math.sqrt({text}))"
        return f"({text} ** {self(exponent)})"

    def extreme(self, e: sp.Expr) -> str:
        function = scalars.larger if isinstance(e, sp.Max) else scalars.smaller
        first, *rest = sorted(map(self, e.args))
        for text in rest:
            first = self.ours(function, first, text)
        return first

    def piecewise(self, e: sp.Piecewise) -> str:
        text = "math.nan"
        for value, condition in reversed(e.args):
            text = self(value) if condition == sp.true else f"({self(value)} if {self.condition(condition)} else {text})"
        return text

    def condition(self, e: sp.Basic) -> str:
        signs = {sp.Gt: ">", sp.Ge: ">=", sp.Lt: "<", sp.Le: "<="}
        if type(e) in signs:
            return f"{self(e.args[0])} {signs[type(e)]} {self(e.args[1])}"
        if isinstance(e, (sp.And, sp.Or)):
            return "(" + (" and " if isinstance(e, sp.And) else " or ").join(map(self.condition, e.args)) + ")"
        raise LimitError(Message(NOWHERE, f"the condition `{e}` has no numerical value here", "", "no numbers"))


def _grows(e: sp.Expr) -> bool:
    """Whether ``e`` is a sum with powers of e."""
    return isinstance(e, sp.Add) and any(isinstance(p, sp.exp) for t in e.args for p in sp.Mul.make_args(t))


def _multiplied_out(e: sp.Expr) -> sp.Expr:
    """A sum in which sums with powers of e were squared."""
    terms = [p for t in sp.Add.make_args(e) for p in sp.Mul.make_args(t)] if isinstance(e, sp.Add) else []
    return sp.expand(e) if any(isinstance(p, sp.Pow) and p.exp.is_Integer and p.exp > 1 and _grows(p.base) for p in terms) else e


def _scaled(total: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Σ c eᵃ as e^M times a sum, M the largest a."""
    terms = []
    for t in total.args:
        grown = [p for p in sp.Mul.make_args(t) if isinstance(p, sp.exp)]
        terms.append((t / sp.Mul(*grown), sp.Add(*(p.args[0] for p in grown))))
    most = sp.Max(*(a for _, a in terms))
    return most, sp.Add(*(c * sp.exp(a - most) for c, a in terms))


def _uncut(e: sp.Expr) -> sp.Expr:
    """With one power of e for each product of such, of roots of their sums and of quotients by them: each alone would be cut."""
    if not e.has(sp.exp) or not e.args:
        return e
    factors = sp.Mul.make_args(e)
    powers = [(f, sp.S.One) if isinstance(f, sp.exp) else f.as_base_exp() for f in factors]
    powers = [(_multiplied_out(b), p) for b, p in powers]
    grown = [(b, p) for b, p in powers if isinstance(b, sp.exp) or _grows(b)]
    if not any(_grows(b) and (not p.is_Integer or (p.is_negative and len(grown) > 1)) for b, p in grown):
        return e.func(*map(_uncut, e.args))
    shift, rest = sp.S.Zero, []
    for b, p in powers:
        most, left = (b.args[0], sp.S.One) if isinstance(b, sp.exp) else _scaled(b) if _grows(b) else (sp.S.Zero, b)
        shift += p * most
        rest.append(_uncut(left) ** p)
    return sp.exp(shift) * sp.Mul(*rest)


def _in_logarithms(e: sp.Expr) -> sp.Expr:
    """log Σ c eᵃ as M + log Σ c e^{a − M}, M the largest a, where eᵃ itself would be cut; and log(1 + y) as ``log1p``."""

    def logarithm(part: sp.Expr) -> sp.Expr:
        most, rest = _scaled(part.args[0])
        return most + sp.log(rest)

    e = _uncut(e).replace(lambda p: isinstance(p, sp.log) and _grows(p.args[0]), logarithm)
    return e.replace(lambda p: isinstance(p, sp.log) and sp.S.One in sp.Add.make_args(p.args[0]), lambda p: log1p(p.args[0] - 1))


def scalar_function(
    kind: str, results: Sequence[sp.Expr], arguments: Sequence[sp.Basic], names: Sequence[str], first: Sequence[str] = ()
) -> tuple[Source, ...]:
    """A function of ``arguments``, ``names`` in the text, returning ``results`` (a tuple if several), after what it needs.

    ``first`` are lines that go before. Its name is ``kind`` and a digest of its text, so equal functions are one function.
    """
    shared, plain = sp.cse([_in_logarithms(e) for e in results], symbols=(sp.Dummy(f"t{k}") for k in range(10**6)), order="none")
    table = dict(zip(arguments, names, strict=True))
    printer, lines = Printer(table), list(first)
    for k, (symbol, value) in enumerate(shared):
        lines.append(f"    t{k} = {printer(value)}")
        table[symbol] = f"t{k}"
    lines.append("    return " + ", ".join(map(printer, plain)))
    head, body = ", ".join(names), "\n".join(lines)
    name = f"{kind}_{digest(head, body)}"
    return merge(sources_of(*printer.used.values()), ((name, f"def {name}({head}):\n{body}"),))
