"""Expressions of a spec as SymPy expressions of one coordinate.

A :class:`Value` knows its axes and, for indices of its finite axes, the coordinate as a SymPy expression; the coordinate
along a width stays implicit, as in every tensor program. Taking a coordinate makes the instructions it needs. The user's
functions are macros and have been written out by ``check``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sympy as sp

from tp.errors import Message, Span, SpecError
from tp.gaussian import functions
from tp.network.tree import Binary, Call, Expr, Name, Neg, Num, Reduce, Table, Transpose
from tp.network.tree import Range as TreeRange
from tp.program.ir import Ref, Softmax, Space, Sum
from tp.program.temporaries import BOUND, Temporaries

Coordinates = tuple[sp.Symbol, ...]
"""One index per finite axis, in the order of the axes."""

FUNCTIONS: dict[str, Callable[..., sp.Expr]] = {
    "exp": sp.exp, "log": sp.log, "sqrt": sp.sqrt, "sin": sp.sin, "cos": sp.cos, "tanh": sp.tanh, "erf": sp.erf,
    "abs": sp.Abs, "sign": sp.sign, "step": functions.step, "relu": functions.relu, "gelu": functions.gelu,
    "normal_cdf": functions.normal_cdf, "sigmoid": functions.sigmoid, "softplus": functions.softplus,
    "silu": functions.silu, "elu": functions.elu, "leaky_relu": functions.leaky_relu, "hermite": functions.hermite,
    "max": sp.Max, "min": sp.Min,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Factor:
    """``scale · W``, or ``scale · Wᵀ``: a term of what may stand left of ``@``."""

    scale: sp.Expr
    W: Ref
    transpose: bool


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression stands for. A Matrix between widths has no coordinate; it has ``factors``."""

    axes: tuple[str, ...]
    at: Callable[[Coordinates], sp.Expr]
    factors: Callable[[], list[Factor]] | None = None


@dataclass(frozen=True)
class Scope:
    """The indices at a place, by name."""

    indices: Mapping[str, sp.Symbol] = field(default_factory=dict)

    def bind(self, name: str, symbol: sp.Symbol) -> Scope:
        return Scope({**self.indices, name: symbol})

    @property
    def used(self) -> frozenset[sp.Symbol]:
        return frozenset(self.indices.values())


@dataclass(frozen=True)
class Global:
    """What the names of a whole spec stand for."""

    spaces: Mapping[str, Space]
    dims: Mapping[str, sp.Expr]
    constants: Mapping[str, sp.Expr]
    tables: Mapping[str, tuple[Any, ...]]
    axes: Callable[[Name], tuple[str, ...]]  # of a family's member
    indices: frozenset[sp.Symbol]  # all indices that the spec names


class Lowering:
    """Lowers the expressions of one statement; ``temporaries`` receives the instructions they need."""

    def __init__(self, world: Global, temporaries: Temporaries) -> None:
        self.world, self.temporaries = world, temporaries
        self.coordinates: list[sp.Symbol] = []  # those of the sums one is inside of

    def value(self, e: Expr, scope: Scope) -> Value:
        match e:
            case Num(value=number):
                return _constant(sp.Rational(number.numerator, number.denominator))
            case Name():
                return self._name(e, scope)
            case Neg(arg=arg):
                return _scaled(sp.S.NegativeOne, self.value(arg, scope))
            case Transpose(arg=arg):
                return _transpose(self.value(arg, scope))
            case Binary(op="@", left=left, right=right):
                return self._product(self.value(left, scope), self.value(right, scope), e.span)
            case Binary(op=op, left=left, right=right):
                return _binary(op, self.value(left, scope), self.value(right, scope), e.span)
            case Call():
                return self._call(e, scope)
            case Reduce():
                return self._reduce(e, scope)
            case Table():
                raise SpecError(Message(e.span, "a table has a name", "define it with `let A[u, v] = …`", "misplaced table"))

    def scalar(self, e: Expr, scope: Scope) -> sp.Expr:
        """The number ``e``."""
        return self.value(e, scope).at(())

    def index(self, e: Expr, scope: Scope) -> sp.Expr:
        """The index expression ``e``, as a sum of terms."""
        return sp.expand(self.scalar(e, scope))

    # ------------------------------------------------------------ names

    def _name(self, e: Name, scope: Scope) -> Value:
        world = self.world
        if not e.index:
            if e.name in scope.indices:
                return _constant(scope.indices[e.name])
            if (number := self._constant(e.name)) is not None:
                return _constant(number)
        index = tuple(self.index(i, scope) for i in e.index)
        if e.name in world.tables:
            return _constant(_entry(e.name, index, world.tables[e.name]))
        return self.member(Ref(e.name, *index), world.axes(e))

    def _constant(self, name: str) -> sp.Expr | None:
        world = self.world
        if name in world.constants:
            return world.constants[name]
        if name in world.spaces:
            return world.spaces[name].size
        return sp.pi if name == "pi" else world.dims.get(name)

    def member(self, ref: Ref, axes: tuple[str, ...]) -> Value:
        """A variable: a Matrix, or a value with a coordinate."""
        if sum(a in self.world.spaces for a in axes) == 2:
            return Value(axes, _no_coordinate(ref), lambda: [Factor(sp.S.One, ref, False)])
        return Value(axes, lambda c: Ref(ref.name, *ref.index, *c))

    # ------------------------------------------------------------ products

    def _product(self, left: Value, right: Value, span: Span) -> Value:
        """``left @ right``: the last axis of ``left`` is summed against the axis of ``right``."""
        if not left.axes or len(right.axes) != 1 or left.axes[-1] != right.axes[0]:
            reason = f"`@` joins {_axes(left)} and {_axes(right)}"
            raise SpecError(Message(span, reason, "the inner axes must agree", "axis mismatch"))
        rows, inner = left.axes[:-1], right.axes[0]
        if inner not in self.world.spaces:
            return Value(rows, lambda c: self._finite_product(left, right, inner, c))
        if left.factors is not None:
            return Value(rows, lambda _: self._matmul(left, right, span))
        space = self.world.spaces[inner]
        return Value(rows, lambda c: self.temporaries.moment(left.at(c) * right.at(()), space, space.size, span))

    def _matmul(self, left: Value, right: Value, span: Span) -> sp.Expr:
        out, of = (self.world.spaces[a] for a in left.axes)
        assert left.factors is not None
        terms, x = left.factors(), right.at(())
        return sp.Add(*(t.scale * self.temporaries.matmul(t.W, t.transpose, x, out, of, span) for t in terms))

    def coordinate(self, axis: str, others: Iterable[sp.Symbol]) -> sp.Symbol:
        """An index for a finite axis: ``j_d``, or ``j_d2`` where that is in use."""
        avoid = {*others, *self.coordinates, *self.world.indices}
        return self.temporaries.bind(f"j_{axis}", sp.S.One, self.world.dims[axis], avoid)

    def _finite_product(self, left: Value, right: Value, axis: str, c: Coordinates) -> sp.Expr:
        j = self.coordinate(axis, c)
        self.coordinates += [*c, j]
        term = left.at((*c, j)) * right.at((j,))
        del self.coordinates[-1 - len(c) :]
        return Sum(term, (j, 1, self.world.dims[axis]))

    # ------------------------------------------------------------ calls

    def _call(self, e: Call, scope: Scope) -> Value:
        match e:
            case Call(fn="avg", args=(arg,)):
                return self._average(self.value(arg, scope), e.span)
            case Call(fn="dot", args=(u, w)):
                return self._product(self.value(u, scope), self.value(w, scope), e.span)
            case Call(fn="softmax", args=(arg,)):
                return self._softmax(e, arg, scope)
            case _:
                return self._primitive(e, [self.value(a, scope) for a in e.args])

    def _average(self, arg: Value, span: Span) -> Value:
        (axis,) = (a for a in arg.axes if a in self.world.spaces)
        space = self.world.spaces[axis]
        rest = tuple(a for a in arg.axes if a != axis)
        return Value(rest, lambda c: self.temporaries.moment(arg.at(c), space, sp.S.One, span))

    def _primitive(self, e: Call, args: list[Value]) -> Value:
        """A function applied coordinatewise."""
        axes = next((a.axes for a in args if a.axes), ())
        function = FUNCTIONS[e.fn]

        def at(c: Coordinates) -> sp.Expr:
            parts = [a.at(c if a.axes else ()) for a in args]
            if e.fn in ("max", "min"):  # SymPy compares the arguments, and takes a closed sum for a number
                parts = [self._named(p, axes, e.span) for p in parts]
            return function(*parts)

        return Value(axes, at)

    def _named(self, part: sp.Expr, axes: tuple[str, ...], span: Span) -> sp.Expr:
        """``part``, as a variable when it holds a finite sum."""
        if not part.has(sp.Sum):
            return part
        return self.temporaries.nonlin(part, self._space(axes), span)

    def _space(self, axes: tuple[str, ...]) -> Space | None:
        return next((self.world.spaces[a] for a in axes if a in self.world.spaces), None)

    def _softmax(self, e: Call, arg: Expr, scope: Scope) -> Value:
        """``softmax(a[t,s] over s)``: the index is free in the numerator and bound in the denominator."""
        assert e.over is not None
        lo, hi = self.ends(e.over, scope)
        name = e.over.index
        bound = self.temporaries.bind(name + BOUND, lo, hi, scope.used)
        body = self.value(arg, scope.bind(name, bound))
        free = scope.indices[name]

        def at(c: Coordinates) -> sp.Expr:
            logit = body.at(c)
            return Softmax(logit.xreplace({bound: free}), logit, bound, lo, hi)

        return Value(body.axes, at)

    # ------------------------------------------------------------ finite sums

    def _reduce(self, e: Reduce, scope: Scope) -> Value:
        """``sum(body for k in a..b, …)``, or the mean."""
        inner, limits = scope, []
        for r in e.ranges:
            lo, hi = self.ends(r, inner)
            symbol = self.temporaries.bind(r.index, lo, hi, inner.used)
            limits.append((symbol, lo, hi))
            inner = inner.bind(r.index, symbol)
        body = self.value(e.body, inner)
        if any((hi - lo).is_negative for _, lo, hi in limits):  # nothing to add, as of the steps before a first one
            return Value(body.axes, lambda c: sp.S.Zero)
        number = _count(limits) if e.kind == "mean" else sp.S.One
        return Value(body.axes, lambda c: Sum(body.at(c), *reversed(limits)) / number)

    def ends(self, r: TreeRange, scope: Scope) -> tuple[sp.Expr, sp.Expr]:
        """The bounds of a range, which ``check`` has filled in."""
        assert r.lo is not None and r.hi is not None
        return self.index(r.lo, scope), self.index(r.hi, scope)


def _constant(number: sp.Expr) -> Value:
    return Value((), lambda _: number)


def _no_coordinate(ref: Ref) -> Callable[[Coordinates], sp.Expr]:
    def at(_: Coordinates) -> sp.Expr:
        raise SpecError(f"the matrix `{ref.name}` stands outside of a product `{ref.name} @ …`")

    return at


def _entry(name: str, index: tuple[sp.Expr, ...], table: tuple[Any, ...]) -> sp.Expr:
    """An entry of a table; at numbers the number that stands there."""
    ranges, rows = table
    if rows is None or not all(i.is_Integer for i in index):
        return Ref(name, *index)
    for i, r in zip(index, ranges, strict=True):
        rows = rows[int(i - r.lo)]
    return rows


def _transpose(v: Value) -> Value:
    factors = v.factors
    flipped = None if factors is None else lambda: [Factor(t.scale, t.W, not t.transpose) for t in factors()]
    return Value(v.axes[::-1], lambda c: v.at(c[::-1]), flipped)


def _scaled(scale: sp.Expr, v: Value) -> Value:
    factors = v.factors
    terms = None if factors is None else lambda: [Factor(scale * t.scale, t.W, t.transpose) for t in factors()]
    return Value(v.axes, lambda c: scale * v.at(c), terms)


def _binary(op: str, a: Value, b: Value, span: Span) -> Value:
    """Coordinatewise; a scalar goes with everything."""
    axes = a.axes or b.axes
    if a.factors is not None or b.factors is not None:
        return Value(axes, a.at if a.factors is not None else b.at, _matrices(op, a, b, span))
    return Value(axes, lambda c: _OPERATORS[op](a.at(c if a.axes else ()), b.at(c if b.axes else ())))


def _matrices(op: str, a: Value, b: Value, span: Span) -> Callable[[], list[Factor]]:
    """``c*W``, ``W/c``, ``V + W``, ``V - W``."""

    def factors() -> list[Factor]:
        match op:
            case "*" if a.factors is None or b.factors is None:
                c, terms = (a.at(()), b.factors) if a.factors is None else (b.at(()), a.factors)
                return [replace(t, scale=c * t.scale) for t in terms()] if terms is not None else []
            case "/" if a.factors is not None and b.factors is None:
                return [replace(t, scale=t.scale / b.at(())) for t in a.factors()]
            case "+" | "-" if a.factors is not None and b.factors is not None:
                sign = sp.S.One if op == "+" else sp.S.NegativeOne
                return a.factors() + [replace(t, scale=sign * t.scale) for t in b.factors()]
        reason = "matrices can be added and scaled, nothing else"
        raise SpecError(Message(span, reason, "apply them to vectors first", "not a product"))

    return factors


_OPERATORS: dict[str, Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "^": lambda a, b: a**b,
}


def _count(limits: list[tuple[sp.Symbol, sp.Expr, sp.Expr]]) -> sp.Expr:
    """How many terms a sum has."""
    number: sp.Expr = sp.S.One
    for symbol, lo, hi in reversed(limits):
        terms = hi - lo + 1
        number = sp.summation(number, (symbol, lo, hi)) if number.has(symbol) else number * terms
    return sp.factor(number)


def _axes(v: Value) -> str:
    return f"[{', '.join(v.axes)}]"
