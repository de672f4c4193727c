"""The oracle: a limit's equations evaluated as they stand, by memoised recursion on concrete indices.

Slow, plain and independent of the compiler: no scheduling, no specialisation, expectations by quadrature.
An entry at the samples (i, j) is an array over all pairs, at (i, i) a column, at (j, j) a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import LimitError
from tp.gaussian.expectation import Expectation
from tp.kernel.indices import Env, holds, inside, integer, points
from tp.kernel.quadrature import FUNCTIONS, expect
from tp.limit.equations import Entry, Equation, I, J, Limit, Value
from tp.program.ir import Ref, Softmax, Sum

Array = NDArray[np.float64]
Samples = Mapping[str, Array]


def reference(
    limit: Limit,
    X1: Samples | Array,
    X2: Samples | Array | None = None,
    kinds: tuple[str, ...] | None = None,
    constants: Mapping[str, float] | None = None,
    output: str | None = None,
) -> tuple[Array, ...]:
    """One array [N1, N2, …] per kind, with an axis for every index of the output."""
    first = _named(limit, X1)
    second = first if X2 is None else _named(limit, X2)
    across = Interpreter(limit, {I: first, J: second}, constants or {})
    results = []
    for kind in kinds or limit.kinds:
        with np.errstate(invalid="ignore"):  # roots of less than 0 by rounding: not a number, unless it is found alone below
            value = _output(across, kind, output, I, J)
        if X2 is None:
            alone = Interpreter(limit, {I: first}, constants or {})
            at = np.arange(value.shape[0])
            value[at, at] = _output(alone, kind, output, I, I)[at, 0]
        results.append(value)
    return tuple(results)


def _named(limit: Limit, X: Samples | Array) -> Samples:
    if isinstance(X, Mapping):
        return {k: np.asarray(v, dtype=np.float64) for k, v in X.items()}
    return {limit.program.data[0].ref.name: np.asarray(X, dtype=np.float64)}


def _output(run: Interpreter, kind: str, output: str | None, s: sp.Symbol, t: sp.Symbol) -> Array:
    """The answer for an output, [N1, N2, …]: one axis per index of its left side."""
    name = output or run.limit.outputs[0].name
    clauses = run.clauses[kind, name, name]
    shape = (run.count(s), run.count(t) if s != t else 1)
    found = {}
    for clause in clauses:
        for env in points(clause.domain, {}):
            entry = Entry(kind, clause.lhs.a, clause.lhs.b, s, t)
            index = tuple(integer(e, env) for e in clause.lhs.a.index)
            found[index] = np.array(np.broadcast_to(run.value(entry, env), shape))
    if list(found) == [()]:
        return found[()]
    lows = np.min(list(found), axis=0)
    result = np.zeros((*shape, *(np.max(list(found), axis=0) - lows + 1)))
    for index, value in found.items():
        result[(..., *(np.array(index) - lows))] = value
    return result


class Interpreter:
    """Equations by memoised recursion. ``samples`` gives the inputs for each of the samples I (and J)."""

    def __init__(self, limit: Limit, samples: Mapping[sp.Symbol, Samples], constants: Mapping[str, float]) -> None:
        self.limit, self.samples = limit, samples
        self.constants = {sp.Symbol(k): v for k, v in constants.items()} | {
            s: constants[s.name] for s in limit.program.constants if s.name in constants
        }
        self.memo: dict[Any, Array] = {}
        self.sided: dict[tuple[sp.Expr, sp.Symbol, sp.Symbol], sp.Expr] = {}
        self.clauses: dict[tuple[str, ...], list[Equation]] = {}
        for e in limit.equations:
            self.clauses.setdefault(_family(e.lhs), []).append(e)

    def count(self, side: sp.Symbol) -> int:
        return len(next(iter(self.samples[side].values())))

    # ------------------------------------------------------------ expressions

    def value(self, expr: sp.Expr, env: Env) -> Any:
        """An expression where indices have the values in ``env``."""
        match expr:
            case Entry():
                return self.entry(expr, env)
            case Value():
                return self.single(expr, env)
            case Expectation():
                return self.expectation(expr, env)
            case Ref():
                return self.table(expr, env)
            case sp.Sum():
                return self.sum(expr, env)
            case Softmax():
                return self.softmax(expr, env)
            case sp.KroneckerDelta():
                return float(integer(expr.args[0], env) == integer(expr.args[1], env))
            case sp.Piecewise():
                return next(self.value(branch, env) for branch, when in expr.args if holds(when, env))
            case sp.Symbol():
                return float(env[expr]) if expr in env else self.constant(expr)
        if expr.is_Number or expr.is_NumberSymbol:
            return float(expr)
        if isinstance(expr, sp.Mul) and (parts := sp.fraction(expr, exact=True))[1] != 1:
            above, below = (self.value(part, env) for part in parts)
            return above / below  # c/√(q q) is 1 where c is q, and c times the inverse is not
        args = [self.value(a, env) for a in expr.args]
        if isinstance(expr, sp.Add):
            return sum(args[1:], args[0])
        if isinstance(expr, sp.Mul):
            return np.prod(np.broadcast_arrays(*args), axis=0) if len(args) > 1 else args[0]
        if isinstance(expr, sp.Pow):
            return np.power(args[0], args[1])
        return FUNCTIONS[type(expr).__name__](*args)

    def constant(self, symbol: sp.Symbol) -> float:
        if symbol not in self.constants:
            raise LimitError(f"the constant `{symbol}` has no value")
        return float(self.constants[symbol])

    def table(self, ref: Ref, env: Env) -> float:
        """A constant table at an index; tables are stored from the first value of each index on."""
        index = tuple(integer(e, env) for e in ref.index)
        return float(table_value(self.limit.program.tables[ref.name], index))

    def sum(self, expr: sp.Sum, env: Env) -> Any:
        *inner, (index, lo, hi) = expr.limits
        body = Sum(expr.function, *inner) if inner else expr.function
        total: Any = 0.0
        for k in range(integer(lo, env), integer(hi, env) + 1):
            total = total + self.value(body, {**env, index: k})
        return total

    def softmax(self, expr: Softmax, env: Env) -> Any:
        at, body, bound, lo, hi = expr.args
        terms = [self.value(body, {**env, bound: k}) for k in range(integer(lo, env), integer(hi, env) + 1)]
        top = np.maximum.reduce(np.broadcast_arrays(*terms))
        return np.exp(self.value(at, env) - top) / sum(np.exp(t - top) for t in terms)

    # ------------------------------------------------------------ entries

    def entry(self, e: Entry, env: Env) -> Any:
        a, b = self._member(e.a, env), self._member(e.b, env)
        if a is None or b is None:
            return 0.0
        return self.pair(e.kind_name, a, b, e.s, e.t)

    def pair(self, kind: str, a: tuple[Any, ...], b: tuple[Any, ...], s: sp.Symbol, t: sp.Symbol) -> Any:
        """A number per pair of samples for concrete members a, b; symmetry K[a,b](s,t) = K[b,a](t,s) is used."""
        key = (kind, a, b, s, t)
        if key not in self.memo:
            if kind == "Gram":
                self.memo[key] = self._gram(a, b, s, t)
            else:
                found = self._solve(Entry(kind, Ref(*a), Ref(*b), s, t)) or self._solve(Entry(kind, Ref(*b), Ref(*a), t, s))
                if found is None:
                    raise LimitError(f"no equation gives {kind}[{a}, {b}]")
                self.memo[key] = self.value(*found)
        return self.memo[key]

    def single(self, e: Value, env: Env) -> Any:
        a = self._member(e.a, env)
        if a is None:
            return 0.0
        if e.kind_name == "data":
            return self._column(self._data(a, e.s), e.s)
        key = (e.kind_name, a, e.s)
        if key not in self.memo:
            found = self._solve(Value(e.kind_name, Ref(*a), e.s))
            if found is None:
                raise LimitError(f"no equation gives {e.kind_name}[{a}]")
            self.memo[key] = self.value(*found)
        return self.memo[key]

    def _member(self, ref: Ref, env: Env) -> tuple[Any, ...] | None:
        index = inside(self.limit.program, ref.name, tuple(integer(e, env) for e in ref.index))
        return None if index is None else (ref.name, *index)

    def _solve(self, wanted: Entry | Value) -> tuple[sp.Expr, dict[sp.Symbol, int]] | None:
        """The right side and the indices of the equation that gives a concrete number."""
        for equation in self.clauses.get(_family(wanted), ()):
            env: dict[sp.Symbol, int] = {}
            slots = [*equation.lhs.a.index, *(equation.lhs.b.index if isinstance(wanted, Entry) else ())]
            values = [*wanted.a.index, *(wanted.b.index if isinstance(wanted, Entry) else ())]
            for slot, value in zip(slots, values, strict=True):
                if isinstance(slot, sp.Symbol) and env.setdefault(slot, int(value)) != int(value):
                    break
                if not isinstance(slot, sp.Symbol) and integer(slot, env) != int(value):
                    break
            else:
                if all(integer(r.lo, env) <= env[r.index] <= integer(r.hi, env) for r in equation.domain if r.index in env):
                    return self._at(equation.rhs, wanted.s, wanted.t if isinstance(wanted, Entry) else J), env
        return None

    def _at(self, expr: sp.Expr, s: sp.Symbol, t: sp.Symbol) -> sp.Expr:
        """What an equation says of the samples I and J, for s and t in their place."""
        if (expr, s, t) not in self.sided:
            self.sided[expr, s, t] = expr.subs({I: s, J: t}, simultaneous=True)
        return self.sided[expr, s, t]

    # ------------------------------------------------------------ inputs and expectations

    def _data(self, a: tuple[Any, ...], side: sp.Symbol) -> Array:
        name, *index = a
        declared = next(d for d in self.limit.program.data if d.ref.name == name)
        starts = [integer(r.lo, {}) for r in declared.domain]
        array = self.samples[side][name]
        return array[(slice(None), *(k - lo for k, lo in zip(index, starts, strict=False)))]

    def _column(self, array: Array, side: sp.Symbol) -> Array:
        return array[:, None] if side == I else array[None, :]

    def _gram(self, a: tuple[Any, ...], b: tuple[Any, ...], s: sp.Symbol, t: sp.Symbol) -> Array:
        left, right = self._data(a, s), self._data(b, t)
        if s == t:
            return self._column(np.einsum("nc,nc->n", left, right), s)
        return left @ right.T if s == I else (left @ right.T).T

    def expectation(self, e: Expectation, env: Env) -> Any:
        """Variables that are the same member at the same sample are one variable; a zero one is 0."""
        keys: list[Any] = []
        symbols: dict[sp.Basic, sp.Basic] = {}
        rows = []
        for k, z in enumerate(e.variables):
            member = self._member(z.a, env)
            if member is None:
                symbols[z] = sp.S.Zero
                continue
            key = (member, z.s)
            if key not in keys:
                keys.append(key)
                rows.append(k)
            symbols[z] = sp.Symbol(f"_z{keys.index(key)}", real=True)
        integrand, values = self._atoms(e.integrand.xreplace(symbols), env)
        cov = [[self.value(e.cov[a, b], env) for b in rows] for a in rows]
        return expect(integrand, [sp.Symbol(f"_z{k}", real=True) for k in range(len(keys))], cov, values)

    def _atoms(self, integrand: sp.Expr, env: Env) -> tuple[sp.Expr, dict[sp.Basic, Any]]:
        """What is deterministic in an integrand, as symbols with values."""
        swap: dict[sp.Basic, sp.Basic] = {}
        for atom in _outermost(integrand, (Entry, Value, Ref, Softmax, sp.Sum)):
            swap.setdefault(atom, sp.Symbol(f"_p{len(swap)}", real=True))
        rest = integrand.xreplace(swap)
        for symbol in rest.free_symbols:
            if not symbol.name.startswith(("_z", "_p")):
                swap[symbol] = symbol
        return rest, {new: self.value(old, env) for old, new in swap.items()}


def _outermost(expr: sp.Basic, kinds: tuple[type, ...]) -> list[sp.Basic]:
    """The parts of ``expr`` of these kinds that lie in no other such part."""
    if isinstance(expr, kinds):
        return [expr]
    return [found for a in expr.args for found in _outermost(a, kinds)]


def _family(lhs: Entry | Value) -> tuple[str, ...]:
    return (lhs.kind_name, lhs.a.name, lhs.b.name) if isinstance(lhs, Entry) else (lhs.kind_name, lhs.a.name)


def table_value(table: tuple[Any, Any], index: tuple[int, ...]) -> Any:
    """An entry of a constant table, (domain, nested values)."""
    domain, values = table
    for r, k in zip(domain, index, strict=True):
        values = values[k - integer(r.lo, {})]
    return values


__all__ = ["Interpreter", "reference"]
