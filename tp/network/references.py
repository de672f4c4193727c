"""Does every name mean something where it stands, with the right number of indices or arguments?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from tp.errors import Diagnostic, Span
from tp.network import faults
from tp.network.diagnostics import locate, nearest
from tp.network.names import Clause, Declarations, Report
from tp.network.prelude import CONSTANTS, FORMS, PARAMETERS, PRIMITIVES, builtin_names
from tp.network.show import show, tight
from tp.network.tree import (
    Binary,
    Call,
    Define,
    Expr,
    Function,
    Input,
    Let,
    Name,
    Neg,
    Num,
    Range,
    Reduce,
    Table,
    Transpose,
    Weight,
)
from tp.network.walk import walk


@dataclass(frozen=True)
class Scope:
    """What may stand in an expression: indices that run, parameters of a function; ``constant`` says what for."""

    indices: frozenset[str] = frozenset()
    function: Function | None = None
    constant: str | None = None
    hidden: tuple[str, ...] = ()

    def with_index(self, *names: str) -> Scope:
        return Scope(self.indices | set(names), self.function, self.constant, self.hidden)


def every(found: Iterable[bool]) -> bool:
    """Whether all hold; every one is looked at, so that everything wrong is reported."""
    return all(tuple(found))


class References:
    """Checks names; every method says whether all is well, having reported what is not."""

    def __init__(self, d: Declarations, report: Report) -> None:
        self.d, self.report = d, report
        self.ok = True

    def near(self, word: str, names: Iterable[str]) -> str:
        """A suggestion, as long as it will be shown."""
        return "" if self.report.full else nearest(word, names)

    def fail(self, diagnostic: Diagnostic) -> bool:
        self.report(diagnostic)
        return False

    # ------------------------------------------------------------ statements

    def clause(self, c: Clause) -> tuple[bool, bool]:
        """One line that declares or defines a member of a family: is its left side right, and the rest?"""
        first = self.d.families[c.name][0]
        if len(c.index) != len(first.index):
            return self.fail(_count(left_side(c), c.name, (first,), len(c.index))), False
        bound = self._left(c)
        if bound is None:
            return False, False
        left = self.ranges(c.ranges, Scope(), set(bound), c.name)
        if isinstance(c, Define):
            return left, self.expr(c.body, Scope(frozenset(bound)))
        return left, every([self._axes(c), self._numbers(c, bound)])

    def _numbers(self, c: Clause, bound: Sequence[str]) -> bool:
        """The constants of a weight."""
        ok = True
        if isinstance(c, Weight):
            parts = (("the multiplier", c.multiplier), ("the mean", c.mean), ("the variance", c.variance), ("the rate", c.rate))
            for what, e in parts:
                if e is not None and not self.expr(e, Scope(frozenset(bound), constant=what)):
                    ok = False
        return ok

    def _left(self, c: Clause) -> list[str] | None:
        """The free indices of the left side, None when something is wrong with them."""
        ranged = {r.index for r in c.ranges}
        bound: list[str] = []
        ok = True
        for e in c.index:
            if isinstance(e, Name) and e.name in self.d.broken and e.name not in ranged:
                return None
            if isinstance(e, Name) and not e.index and self._runs(e.name, ranged):
                ok &= self._left_name(e, ranged, bound)
            elif any(isinstance(x, Name) and (x.name in ranged or x.name in self.d.indices) for x in walk(e)):
                ok = self.fail(faults.LeftIndex(e.span, show(e)))
            else:
                ok &= self.index(e, Scope())
        return bound if ok else None

    def _runs(self, name: str, ranged: set[str]) -> bool:
        """Whether a name on the left is an index, and not a constant."""
        return name in ranged or name in self.d.indices or not self.d.kind(name)

    def _left_name(self, e: Name, ranged: set[str], bound: list[str]) -> bool:
        if e.name not in ranged and e.name not in self.d.indices:
            hint = self.near(e.name, (*ranged, *self.d.indices, *self.d.lets)) if len(e.name) > 1 else ""
            hint = hint or f"give it one: `for {e.name} in a..b` at the end of the line"
            return self.fail(faults.NoRange(e.span, e.name, hint))
        if e.name in bound:
            return self.fail(faults.IndexTwiceOnLeft(e.span, e.name))
        bound.append(e.name)
        return True

    def ranges(self, ranges: Sequence[Range], scope: Scope, bound: set[str], name: str | None) -> bool:
        """The ranges of a line, ``bound`` being the indices of its left side, or of a sum where ``name`` is None."""
        ok, seen = True, set[str]()
        for r in ranges:
            if r.index in seen:
                ok = self.fail(faults.RangeTwice(r.span, r.index))
            elif name is not None and r.index not in bound:
                ok = self.fail(faults.UnusedRange(r.span, r.index, name))
            elif name is None and r.index in scope.indices:
                ok = self.fail(faults.IndexInUse(r.span, r.index))
            elif not self._index_name(r):
                ok = False
            else:
                inner = scope.with_index(*bound, *(other.index for other in ranges))
                ok &= every([self.index(b, inner) for b in (r.lo, r.hi) if b is not None])
            seen.add(r.index)
        return ok

    def _index_name(self, r: Range) -> bool:
        if r.index in self.d.broken and r.lo is None:
            return False
        if r.index in builtin_names():
            return self.fail(faults.BuiltinName(r.span, r.index))
        known = self.d.kind(r.index)
        if known and r.index not in self.d.indices:
            return self.fail(faults.IndexHidesName(r.span, r.index, known[0], known[1].line))
        if r.lo is None and r.index not in self.d.indices:
            hint = self.near(r.index, self.d.indices) or f"write `{r.index} in a..b`, or declare it: `index {r.index} in a..b`"
            return self.fail(faults.NoRange(r.span, r.index, hint))
        return True

    def _axes(self, c: Input | Weight) -> bool:
        ok = every([self._axis(c, a) for a in c.axes])
        if len(c.axes) > 2:
            return self.fail(faults.TooManyAxes(left_side(c), c.name, len(c.axes)))
        width = next((a for a in c.axes if a in self.d.widths), None)
        if isinstance(c, Input) and width:
            return self.fail(faults.InputOnWidth(locate(c.span, width, ":"), c.name, width))
        return ok

    def _axis(self, c: Input | Weight, axis: str) -> bool:
        if axis in self.d.widths or axis in self.d.dims:
            return True
        known = self.d.kind(axis)
        hint = self.near(axis, (*self.d.widths, *self.d.dims))
        if known:
            hint = f"`{axis}` is {known[0]}; declare the axis with `dim`"
        hint = hint or f"declare it: `width {axis}`, or `dim {axis} = 10`"
        return self.fail(faults.UnknownAxis(locate(c.span, axis, ":"), axis, hint))

    def function(self, f: Function) -> bool:
        """A function's definition: parameters, constants and other functions."""
        names = (*f.params, f.over) if f.over else f.params
        if len(set(names)) < len(names):
            twice = next(p for i, p in enumerate(names) if p in names[:i])
            return self.fail(faults.ParameterTwice(f.span, twice))
        return self.expr(f.body, Scope(frozenset((f.over,) if f.over else ()), function=f))

    # ------------------------------------------------------------ expressions

    def expr(self, e: Expr, scope: Scope) -> bool:
        match e:
            case Num():
                return True
            case Name():
                return self.name(e, scope)
            case Neg(arg) | Transpose(arg):
                return self.expr(arg, scope)
            case Binary(op, left, right):
                if scope.constant and op == "@":
                    return self.fail(faults.NotConstant(e.span, show(e), scope.constant))
                if op == "^" and isinstance(right, Name) and right.name == "T" and self.d.kind("T") is None:
                    return self.fail(faults.UndefinedName(_head(right), "T", f"the transpose is written `{show(left)}.T`"))
                return every([self.expr(left, scope), self.expr(right, scope)])
            case Call():
                return self.call(e, scope)
            case Reduce(body=body, ranges=ranges):
                own = scope.function.over if scope.function else None
                free = [r for r in ranges if own is None or r.index != own]
                inner = scope.with_index(*(r.index for r in ranges))
                return every([self.ranges(free, scope, set(), None), self.expr(body, inner)])
            case Table():
                return self.fail(faults.TableOutsideLet(e.span))
            case _:
                assert_never(e)

    def name(self, e: Name, scope: Scope) -> bool:
        """A name in an expression."""
        d, f = self.d, scope.function
        if e.name in d.broken and e.name not in scope.indices:  # already reported where it is defined
            return False
        if e.name in scope.indices or (f and e.name in f.params) or e.name in CONSTANTS or e.name in d.widths or e.name in d.dims:
            return self._no_index(e)
        if e.name in d.lets:
            return self._indexed(e, (d.lets[e.name],), scope)
        if e.name in d.families:
            if f:
                return self.fail(faults.FamilyInFunction(e.span, e.name, f.name))
            if scope.constant:
                return self.fail(faults.NotConstant(e.span, show(e), scope.constant))
            return self._indexed(e, d.families[e.name], scope)
        if e.name in d.indices:
            return self.fail(faults.FreeIndex(e.span, e.name))
        if e.name in d.functions or e.name in PRIMITIVES or e.name in FORMS:
            return self.fail(faults.FunctionAsValue(e.span, e.name))
        near = self.near(e.name, (*d.names(), *scope.indices, *(f.params if f else ())))
        return self.fail(faults.UndefinedName(_head(e), e.name, near or _suggest(e, scope)))

    def _no_index(self, e: Name) -> bool:
        if e.index:
            return self.fail(faults.WrongIndexCount(e.span, e.name, "no index", f"{len(e.index)}", e.name))
        return True

    def _indexed(self, e: Name, declared: Sequence[Clause | Let], scope: Scope) -> bool:
        if len(declared[0].index) != len(e.index):
            return self.fail(_count(e.span, e.name, declared, len(e.index)))
        return every([self.index(i, scope) for i in e.index])

    def index(self, e: Expr, scope: Scope) -> bool:
        """An index expression: whole numbers, indices and constants."""
        for x in walk(e):
            if isinstance(x, Name):
                if x.name in self.d.broken:
                    return False
                known = x.name in scope.indices or x.name in self.d.lets or x.name in self.d.dims
                if known and not x.index and not (x.name in self.d.lets and self.d.lets[x.name].index):
                    continue
                if x.name in self.d.indices and not x.index:
                    return self.fail(faults.FreeIndex(x.span, x.name))
                if self.d.kind(x.name) is None and x.name not in builtin_names():
                    near = self.near(x.name, (*scope.indices, *self.d.lets, *self.d.dims)) if len(x.name) > 1 else ""
                    return self.fail(faults.UndefinedName(_head(x), x.name, near or f"give it a value: `let {x.name} = …`"))
                if x.name in self.d.widths:
                    return self.fail(faults.WidthAsIndex(_head(x), x.name))
                return self.fail(faults.BadIndex(e.span, show(e)))
            if not isinstance(x, Num | Neg) and not (isinstance(x, Binary) and x.op in "+-*/^"):
                return self.fail(faults.BadIndex(e.span, show(e)))
        return True

    def call(self, e: Call, scope: Scope) -> bool:
        """A function with its arguments."""
        d = self.d
        if e.fn in d.broken:
            return False
        if e.fn == "N":
            return self.fail(faults.GaussianInside(e.span))
        if e.fn in PRIMITIVES:
            least, most, along = *PRIMITIVES[e.fn], False
        elif e.fn in d.functions:
            least = most = len(d.functions[e.fn].params)
            along = d.functions[e.fn].over is not None
        elif e.fn in ("avg", "dot", "softmax"):
            least = most = 2 if e.fn == "dot" else 1
            along = e.fn == "softmax"
        else:
            return self._no_function(e)
        ok = every([self.expr(a, scope) for a in e.args]) and self._constant_arguments(e, scope)
        if not least <= len(e.args) <= most:
            wanted = f"{least} argument{'s' * (least > 1)}" if least == most else f"{least} or {most} arguments"
            ok = self.fail(faults.WrongArgumentCount(e.span, e.fn, wanted, len(e.args), _form(e.fn, d.functions.get(e.fn))))
        if scope.constant and (e.fn in ("avg", "dot", "softmax") or along):
            ok = self.fail(faults.NotConstant(e.span, show(e), scope.constant))
        return ok and self._over(e, along, scope)

    def _constant_arguments(self, e: Call, scope: Scope) -> bool:
        where = PARAMETERS.get(e.fn, ())
        if scope.function:  # its parameters may turn out to be constants: known where it is called
            return True
        inner = Scope(scope.indices, scope.function, f"this argument of `{e.fn}`")
        return every([self.expr(e.args[i], inner) for i in where if i < len(e.args)])

    def _over(self, e: Call, along: bool, scope: Scope) -> bool:
        if e.over is None:
            return not along or self.fail(faults.NeedsOver(e.span, e.fn))
        if not along:
            return self.fail(faults.TakesNoOver(e.span, e.fn))
        known = self.d.kind(e.over.index) is not None and e.over.index not in self.d.indices
        if e.over.index not in scope.indices and not known:
            return self.fail(faults.FreeIndex(e.over.span, e.over.index))
        if e.over.lo is None and e.over.index not in self.d.indices:
            return self._index_name(e.over)
        outer = Scope(scope.indices - {e.over.index}, scope.function, scope.constant)
        return every([self.index(b, outer) for b in (e.over.lo, e.over.hi) if b is not None])

    def _no_function(self, e: Call) -> bool:
        known = self.d.kind(e.fn)
        span = Span(e.span.source, e.span.line, e.span.column, len(e.fn))
        if known:
            return self.fail(faults.NotAFunction(span, e.fn, known[0]))
        hint = self.near(e.fn, (*self.d.callables(), "N"))
        hint = FOREIGN.get(e.fn, hint)
        if not hint and scope_free(e):
            hint = f"define it: `let {e.fn}(z) = …`"
        return self.fail(faults.UndefinedFunction(span, e.fn, hint))


_GAUSSIAN = "weights are Gaussian: `~ N(0, variance)`; U(-a, a) has variance a^2/3"
_JOINED = "vectors are not joined: `A @ x + B @ y` is what a matrix [A, B] makes of x and y"
FOREIGN = {
    **dict.fromkeys(("U", "Uniform", "uniform", "Normal", "normal"), _GAUSSIAN),
    **dict.fromkeys(("concat", "cat", "concatenate", "stack"), _JOINED),
    **dict.fromkeys(("transpose", "t", "T"), "the transpose is written `W.T`"),
    **dict.fromkeys(("dropout", "Dropout"), "a network is random in its weights alone: leave it out"),
}
"""Functions of other languages, and what stands for them here."""


FORMS_OF = {"elu": "elu(z)` or `elu(z, a)", "leaky_relu": "leaky_relu(z)` or `leaky_relu(z, a)", "hermite": "hermite(k, z)"}


def _form(name: str, own: Function | None) -> str:
    """How a function is called."""
    if own is not None:
        return f"write `{name}({', '.join(own.params)}{f' over {own.over}' if own.over else ''})`"
    most = {"max": "y, z", "min": "y, z", "dot": "u, w"}
    return f"write `{FORMS_OF.get(name) or f'{name}({most.get(name, chr(122))})'}`"


def scope_free(e: Call) -> bool:
    """Whether the call looks like one of a function of one variable."""
    return len(e.args) == 1


def _head(e: Name) -> Span:
    """The name without its index."""
    return Span(e.span.source, e.span.line, e.span.column, len(e.name))


def _suggest(e: Name, scope: Scope) -> str:
    """How to define a name that is not."""
    if not scope.constant:
        return f"define it, `{show(e)} = …`" + ("" if e.index else f", or give a constant a name, `let {e.name}`")
    if not e.index:
        return f"give it a value, `let {e.name} = …`, or keep a symbol, `let {e.name}`"
    named = all(isinstance(i, Name) for i in e.index)
    return f"keep symbols, `let {show(e)}`" if named else f"keep symbols, `let {e.name}[l]`"


def _count(span: Span, name: str, declared: Sequence[Clause | Let], found: int) -> faults.WrongIndexCount:
    example = next((c for c in declared if any(isinstance(i, str | Name) for i in c.index)), declared[0])
    index = [i if isinstance(i, str) else tight(i) for i in example.index]
    wanted = f"{len(index)} {'index' if len(index) == 1 else 'indices'}" if index else "no index"
    return faults.WrongIndexCount(span, name, wanted, str(found or "none"), f"{name}[{', '.join(index)}]" if index else name)


def left_side(c: Clause) -> Span:
    """The place of ``h[l]`` in a line that defines it."""
    text = c.span.source.line(c.span.line)
    m = re.compile(rf"\b{re.escape(c.name)}\b\s*(\[[^\]]*\])?").search(text, max(0, c.span.column - 1))
    return c.span if m is None else Span(c.span.source, c.span.line, m.start() + 1, len(m.group().rstrip()))
