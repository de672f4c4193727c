"""SymPy expressions at finite width: each is compiled once, to a tree of :mod:`tp.readings.ops`."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp

from tp.errors import NOWHERE, Message, SpecError
from tp.program.ir import Outer, Range, Ref, Softmax, Sum
from tp.readings.elementwise import TABLE
from tp.readings.indexing import Indexer
from tp.readings.ops import (
    Add,
    Call,
    Const,
    Delta,
    Extreme,
    Frame,
    LogSumExp,
    Mul,
    Name,
    Op,
    Outers,
    Power,
    Read,
    Select,
    SumOver,
)


class Compiler(Indexer):
    """Expressions to Ops, each distinct subexpression once."""

    def __init__(self) -> None:
        super().__init__()
        self._ops: dict[sp.Expr, Op] = {}

    def op(self, expr: sp.Expr) -> Op:
        found = self._ops.get(expr)
        if found is None:
            found = self._ops[expr] = self._build(expr)
        return found

    def _build(self, expr: sp.Expr) -> Op:
        known: Any = {"free": frozenset(s.name for s in expr.free_symbols), "active": expr.has(Ref)}
        match expr:
            case Ref():
                return Read(expr, self, **known)
            case sp.Number() | sp.NumberSymbol():
                return Const(np.float64(float(expr)), **known)
            case sp.Symbol():
                return Name(expr.name, **known)
            case sp.Add():
                return Add(self._all(expr), **known)
            case sp.Mul():
                return Mul(self._all(expr), **known)
            case sp.Pow():
                return Power(*self._all(expr), **known)
            case Outer() | sp.Sum() if (outers := self._outers(expr, known)) is not None:
                return outers
            case sp.Sum():
                return self._sum(expr, known)
            case Softmax():
                return self._softmax(expr, known)
            case sp.Max() | sp.Min():
                return Extreme(np.maximum if isinstance(expr, sp.Max) else np.minimum, self._all(expr), **known)
            case sp.Piecewise():
                return self._select(expr, known)
            case sp.KroneckerDelta():
                return Delta(expr.args[0], expr.args[1], self, **known)
        return self._call(expr, known)

    def _all(self, expr: sp.Expr) -> tuple[Op, ...]:
        return tuple(map(self.op, expr.args))

    def _call(self, expr: sp.Expr, known: Any) -> Op:
        name = type(expr).__name__
        if name not in TABLE:
            help = "known functions: " + ", ".join(sorted(TABLE))
            raise SpecError(Message(NOWHERE, f"`{name}` has no finite-width rule", help, "unknown function"))
        return Call(TABLE[name], self._all(expr), **known)

    def _sum(self, expr: sp.Sum, known: Any) -> Op:
        """Σ over several indices is a sum of sums; the last limit is the outermost."""
        *inner, (index, lo, hi) = expr.limits
        body = self.op(Sum(expr.function, *inner) if inner else expr.function)
        return SumOver(body, Range(index, lo, hi), self, **known)

    def _outers(self, expr: sp.Expr, known: Any) -> Op | None:
        """A sum of outer products with numbers as coefficients; None for anything else."""
        function, limits = (expr.function, expr.limits) if isinstance(expr, sp.Sum) else (expr, ())
        factors = sp.Mul.make_args(function)
        pairs = [f for f in factors if isinstance(f, Outer)]
        coefficient = sp.Mul(*(f for f in factors if not isinstance(f, Outer)))
        if len(pairs) != 1 or coefficient.has(Outer):
            return None
        u, v = map(self.op, pairs[0].args)
        assert isinstance(u, Read) and isinstance(v, Read)
        ranges = tuple(Range(s, lo, hi) for s, lo, hi in reversed(limits))
        return Outers(self.op(coefficient), u, v, ranges, self, **known)

    def _softmax(self, expr: Softmax, known: Any) -> Op:
        at, body, bound, lo, hi = expr.args
        free = (body.free_symbols - {bound}) | lo.free_symbols | hi.free_symbols
        normaliser = {"free": frozenset(s.name for s in free), "active": body.has(Ref)}
        whole = LogSumExp(self.op(body), Range(bound, lo, hi), self, **normaliser)
        minus = Mul((self.op(sp.S.NegativeOne), whole), **normaliser)
        return Call(TABLE["exp"], (Add((self.op(at), minus), **known),), **known)

    def _select(self, expr: sp.Piecewise, known: Any) -> Op:
        compared = [side for _, c in expr.args for r in c.atoms(sp.core.relational.Relational) for side in r.args]
        conditions = tuple(self._condition(c) for _, c in expr.args)
        return Select(tuple(self.op(branch) for branch, _ in expr.args), conditions, tuple(map(self.op, compared)), **known)

    def _condition(self, condition: Any) -> Callable[[Frame], Any]:
        """A boolean of a Piecewise: comparisons, and what combines them."""
        if condition in (sp.true, sp.false):
            return lambda at: bool(condition)
        if isinstance(condition, sp.core.relational.Relational):
            compare = _COMPARE[type(condition).__name__]
            left, right = self.op(condition.lhs), self.op(condition.rhs)
            return lambda at: compare(at.value(left), at.value(right))
        parts = [self._condition(c) for c in condition.args]
        if isinstance(condition, sp.Not):
            return lambda at: np.logical_not(parts[0](at))
        combine = np.logical_and if isinstance(condition, sp.And) else np.logical_or
        return lambda at: reduce(combine, (part(at) for part in parts))


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "StrictGreaterThan": np.greater,
    "GreaterThan": np.greater_equal,
    "StrictLessThan": np.less,
    "LessThan": np.less_equal,
    "Equality": np.equal,
    "Unequality": np.not_equal,
}
