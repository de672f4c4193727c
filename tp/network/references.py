"""Does every name mean something where it stands, with the right number of indices or arguments?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from tp.errors import Span
from tp.network import faults
from tp.network.diagnostics import nearest
from tp.network.names import Clause, Declarations, Report
from tp.network.prelude import CONSTANTS, FORMS, PARAMETERS, PRIMITIVES, builtin_names
from tp.network.show import show
from tp.network.tree import (
    Binary, Call, Define, Expr, Function, Name, Neg, Num, Range, Reduce, Table, Transpose, Weight,
)  # fmt: skip
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


class References:
    """Checks names; every method says whether all is well, having reported what is not."""

    def __init__(self, d: Declarations, report: Report) -> None:
        self.d, self.report = d, report
        self.ok = True

    def fail(self, diagnostic: faults.Diagnostic) -> bool:
        self.report(diagnostic)
        return False

    # ------------------------------------------------------------ statements

    def clause(self, c: Clause) -> bool:
        """One line that declares or defines a member of a family."""
        first = self.d.families[c.name][0]
        if len(c.index) != len(first.index):
            return self.fail(_count(c.span, c.name, first, len(c.index), len(c.name)))
        bound = self._left(c)
        if bound is None:
            return False
        ok = all([self.ranges(c.ranges, Scope(), set(bound), c.name)])
        scope = Scope(frozenset(bound))
        if isinstance(c, Define):
            return all([ok, self.expr(c.body, scope)])
        ok = all([ok, *(self._axis(c, a) for a in c.axes)])
        if len(c.axes) > 2:
            ok = self.fail(faults.TooManyAxes(c.span, c.name, len(c.axes)))
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
            free = isinstance(e, Name) and not e.index and (e.name in ranged or e.name in self.d.indices or not self.d.kind(e.name))
            if free:
                assert isinstance(e, Name)
                ok &= self._left_name(e, ranged, bound)
            elif any(isinstance(x, Name) and (x.name in ranged or x.name in self.d.indices) for x in walk(e)):
                ok = self.fail(faults.LeftIndex(e.span, show(e)))
            else:
                ok &= self.index(e, Scope())
        return bound if ok else None

    def _left_name(self, e: Name, ranged: set[str], bound: list[str]) -> bool:
        if e.name not in ranged and e.name not in self.d.indices:
            hint = nearest(e.name, (*ranged, *self.d.indices, *self.d.lets))
            return self.fail(faults.NoRange(e.span, e.name, hint or f"give it one: `for {e.name} in a..b` at the end of the line"))
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
                inner = scope.with_index(*bound) if name is not None else scope.with_index(*seen)
                ok &= all([self.index(b, inner) for b in (r.lo, r.hi) if b is not None])
            seen.add(r.index)
        return ok

    def _index_name(self, r: Range) -> bool:
        if r.index in builtin_names():
            return self.fail(faults.BuiltinName(r.span, r.index))
        known = self.d.kind(r.index)
        if known and r.index not in self.d.indices:
            return self.fail(faults.IndexHidesName(r.span, r.index, known[0], known[1].line))
        if r.lo is None and r.index not in self.d.indices:
            hint = nearest(r.index, self.d.indices) or f"write `{r.index} in a..b`, or declare it: `index {r.index} in a..b`"
            return self.fail(faults.NoRange(r.span, r.index, hint))
        return True

    def _axis(self, c: Clause, axis: str) -> bool:
        if axis in self.d.widths or axis in self.d.dims:
            return True
        known = self.d.kind(axis)
        hint = f"`{axis}` is {known[0]}; declare the axis with `dim`" if known else nearest(axis, (*self.d.widths, *self.d.dims))
        return self.fail(faults.UnknownAxis(c.span, axis, hint or f"declare it: `width {axis}`, or `dim {axis} = 10`"))

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
                return all([self.expr(left, scope), self.expr(right, scope)])
            case Call():
                return self.call(e, scope)
            case Reduce(body=body, ranges=ranges):
                own = scope.function.over if scope.function else None
                free = [r for r in ranges if own is None or r.index != own]
                inner = scope.with_index(*(r.index for r in ranges))
                return all([self.ranges(free, scope, set(), None), self.expr(body, inner)])
            case Table():
                return self.fail(faults.TableOutsideLet(e.span))
            case _:
                assert_never(e)

    def name(self, e: Name, scope: Scope) -> bool:
        """A name in an expression."""
        d, f = self.d, scope.function
        if e.name in scope.indices or (f and e.name in f.params) or e.name in CONSTANTS or e.name in d.widths or e.name in d.dims:
            return self._no_index(e)
        if e.name in d.lets:
            return self._indexed(e, d.lets[e.name], scope)
        if e.name in d.families:
            if f:
                return self.fail(faults.FamilyInFunction(e.span, e.name, f.name))
            if scope.constant:
                return self.fail(faults.NotConstant(e.span, show(e), scope.constant))
            return self._indexed(e, d.families[e.name][0], scope)
        if e.name in d.indices:
            return self.fail(faults.FreeIndex(e.span, e.name))
        if e.name in d.functions or e.name in PRIMITIVES or e.name in FORMS:
            return self.fail(faults.FunctionAsValue(e.span, e.name))
        near = nearest(e.name, (*d.names(), *scope.indices, *(f.params if f else ())))
        return self.fail(faults.UndefinedName(_head(e), e.name, near or _suggest(e)))

    def _no_index(self, e: Name) -> bool:
        if e.index:
            return self.fail(faults.WrongIndexCount(e.span, e.name, "no index", len(e.index), e.name))
        return True

    def _indexed(self, e: Name, declared: Clause | faults.Diagnostic | object, scope: Scope) -> bool:
        index: Sequence[object] = declared.index  # type: ignore[attr-defined]
        if len(index) != len(e.index):
            return self.fail(_count(e.span, e.name, declared, len(e.index)))
        return all([self.index(i, scope) for i in e.index])

    def index(self, e: Expr, scope: Scope) -> bool:
        """An index expression: whole numbers, indices and constants."""
        for x in walk(e):
            if isinstance(x, Name):
                known = x.name in scope.indices or x.name in self.d.lets or x.name in self.d.dims
                if known and not x.index and not (x.name in self.d.lets and self.d.lets[x.name].index):
                    continue
                if x.name in self.d.indices and not x.index:
                    return self.fail(faults.FreeIndex(x.span, x.name))
                if self.d.kind(x.name) is None and x.name not in builtin_names():
                    near = nearest(x.name, (*scope.indices, *self.d.lets, *self.d.dims))
                    return self.fail(faults.UndefinedName(_head(x), x.name, near or f"give it a value: `let {x.name} = …`"))
                return self.fail(faults.BadIndex(e.span, show(e)))
            if not isinstance(x, Num | Neg) and not (isinstance(x, Binary) and x.op in "+-*/^"):
                return self.fail(faults.BadIndex(e.span, show(e)))
        return True

    def call(self, e: Call, scope: Scope) -> bool:
        """A function with its arguments."""
        d = self.d
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
        ok = all([self.expr(a, scope) for a in e.args]) and self._constant_arguments(e, scope)
        if not least <= len(e.args) <= most:
            wanted = f"{least} argument{'s' * (least > 1)}" if least == most else f"{least} or {most} arguments"
            ok = self.fail(faults.WrongArgumentCount(e.span, e.fn, wanted, len(e.args)))
        if scope.constant and (e.fn in ("avg", "dot", "softmax") or along):
            ok = self.fail(faults.NotConstant(e.span, show(e), scope.constant))
        return ok and self._over(e, along, scope)

    def _constant_arguments(self, e: Call, scope: Scope) -> bool:
        where = PARAMETERS.get(e.fn, ())
        if scope.function:  # its parameters may turn out to be constants: known where it is called
            return True
        inner = Scope(scope.indices, scope.function, f"this argument of `{e.fn}`")
        return all([self.expr(e.args[i], inner) for i in where if i < len(e.args)])

    def _over(self, e: Call, along: bool, scope: Scope) -> bool:
        if e.over is None:
            return not along or self.fail(faults.NeedsOver(e.span, e.fn))
        if not along:
            return self.fail(faults.TakesNoOver(e.span, e.fn))
        if e.over.index not in scope.indices:
            if self.d.kind(e.over.index) is None or e.over.index in self.d.indices:
                return self.fail(faults.FreeIndex(e.over.span, e.over.index))
        if e.over.lo is None and e.over.index not in self.d.indices:
            return self._index_name(e.over)
        outer = Scope(scope.indices - {e.over.index}, scope.function, scope.constant)
        return all([self.index(b, outer) for b in (e.over.lo, e.over.hi) if b is not None])

    def _no_function(self, e: Call) -> bool:
        known = self.d.kind(e.fn)
        span = Span(e.span.source, e.span.line, e.span.column, len(e.fn))
        if known:
            return self.fail(faults.NotAFunction(span, e.fn, known[0]))
        hint = nearest(e.fn, (*self.d.callables(), "N"))
        if not hint and scope_free(e):
            hint = f"define it: `let {e.fn}(z) = …`"
        return self.fail(faults.UndefinedFunction(span, e.fn, hint))


def scope_free(e: Call) -> bool:
    """Whether the call looks like one of a function of one variable."""
    return len(e.args) == 1


def _head(e: Name) -> Span:
    """The name without its index."""
    return Span(e.span.source, e.span.line, e.span.column, len(e.name))


def _suggest(e: Name) -> str:
    return f"define it, `{show(e)} = …`" if e.index else f"define it, `{e.name} = …`, or give a constant a name, `let {e.name}`"


def _count(span: Span, name: str, declared: object, found: int, length: int | None = None) -> faults.WrongIndexCount:
    index: Sequence[Expr | str] = declared.index  # type: ignore[attr-defined]
    shown = ", ".join(i if isinstance(i, str) else show(i) for i in index)
    wanted = f"{len(index)} {'index' if len(index) == 1 else 'indices'}" if index else "no index"
    place = span if length is None else Span(span.source, span.line, span.column, span.length)
    return faults.WrongIndexCount(place, name, wanted, found, f"{name}[{shown}]" if index else name)
