"""Finite indices: the values an index takes, index expressions, and what lies beyond the edge.

A program speaks of families, ``h[l, p]``; a reading at finite width expands them to members,
``("h", 3, 7)``. All arithmetic here is exact: an index is an integer or it is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from math import floor, prod
from typing import Any

import numpy as np
import sympy as sp

from tp.errors import NOWHERE, DataError, Message, Span, SpecError
from tp.program.ir import Domain, Program, Range, Ref

Key = tuple[Any, ...]
"""A member of a family: its name, then its indices; ``("h", 3, 7)`` is ``h[3, 7]``."""

Env = Mapping[str, Any]
"""Numbers by name: the indices that are bound, the symbolic constants and the widths."""

Edge = tuple[str | None, int, int]
"""What an index slot does outside ``lo..hi``."""

_ROUNDINGS: dict[str, Callable[..., Any]] = {
    "floor": floor,
    "ceiling": lambda x: -floor(-x),
    "Mod": lambda a, b: a % b,
    "Min": min,
    "Max": max,
    "Abs": abs,
}


def show(key: Key) -> str:
    """``h[3,7]``, as a spec would write it."""
    name, *index = key
    return f"{name}[{','.join(map(str, index))}]" if index else str(name)


class Indexer:
    """Evaluates index expressions and walks domains; every expression is compiled once."""

    def __init__(self) -> None:
        self._compiled: dict[sp.Expr, Callable[[Env], Any]] = {}
        self._keys: dict[Ref, tuple[str, tuple[Callable[[Env], Any], ...]]] = {}

    def value(self, expr: sp.Expr, env: Env) -> Any:
        """The value of an index expression: a number, or an array of them where ``env`` holds arrays."""
        return self._code(expr)(env)

    def _code(self, expr: sp.Expr) -> Callable[[Env], Any]:
        code = self._compiled.get(expr)
        if code is None:
            code = self._compiled[expr] = _compile(expr)
        return code

    def integer(self, expr: sp.Expr, env: Env) -> int:
        """The value of ``l - 1``, ``2*p + k``, ``T/2``, which has to be an integer."""
        value = self.value(expr, env)
        if isinstance(value, int):
            return value
        if value != value or Fraction(value).denominator != 1:
            raise DataError(Message(NOWHERE, f"`{expr}` is {value}, not an integer", heading="not an index"))
        return int(value)

    def key(self, ref: Ref, env: Env) -> Key:
        """The member that ``ref`` names where the indices have the values in ``env``."""
        found = self._keys.get(ref)
        if found is None:
            found = self._keys[ref] = (ref.name, tuple(map(self._code, ref.index)))
        name, codes = found
        index = [code(env) for code in codes]
        if all(type(k) is int for k in index):
            return (name, *index)
        return (name, *(self.integer(e, env) for e in ref.index))

    def columns(self, ref: Ref, env: Env, count: int) -> list[Key]:
        """The members that ``ref`` names where indices are arrays: one for each of ``count`` lanes."""
        if not ref.index:
            return [(ref.name,)] * count
        columns = [np.broadcast_to(self.value(e, env), count).tolist() for e in ref.index]
        return [(ref.name, *index) for index in zip(*columns, strict=True)]

    def interval(self, r: Range, env: Env) -> range:
        """The values of an index, upwards; empty when ``hi < lo``."""
        return range(self.integer(r.lo, env), self.integer(r.hi, env) + 1)

    def points(self, domain: Domain, env: Env) -> Iterator[Env]:
        """``env`` extended by every point of ``domain``. A bound may use any other index of the domain."""
        if not domain:
            yield env
            return
        head, rest = _outermost(domain)
        for value in self.interval(head, env):
            yield from self.points(rest, {**env, head.index.name: value})

    def count(self, domain: Domain, env: Env, limit: int) -> int:
        """How many points ``domain`` has, or something above ``limit``; rectangular ranges are not walked."""
        if not domain:
            return 1
        head, rest = _outermost(domain)
        values = self.interval(head, env)
        if not values:
            return 0
        if len(values) > limit:  # len() of a range is limited to the machine's integers, and so are we
            return len(values)
        if any(head.index in r.lo.free_symbols | r.hi.free_symbols for r in rest):
            total = 0
            for value in values:
                total += self.count(rest, {**env, head.index.name: value}, limit)
                if total > limit:
                    break
            return total
        return len(values) * self.count(rest, {**env, head.index.name: values[0]}, limit)


def _outermost(domain: Domain) -> tuple[Range, Domain]:
    """A range whose bounds use no other index of ``domain``, and the ranges that remain."""
    indices = {r.index for r in domain}
    for k, r in enumerate(domain):
        if not (r.lo.free_symbols | r.hi.free_symbols) & indices:
            return r, domain[:k] + domain[k + 1 :]
    raise SpecError(f"the ranges {', '.join(map(str, domain))} depend on each other in a circle")


def _compile(expr: sp.Expr) -> Callable[[Env], Any]:
    """A closure for an index expression over ints and Fractions; float constants stay exact in ``integer``."""
    if isinstance(expr, sp.Integer):
        whole = int(expr)
        return lambda env: whole
    if isinstance(expr, sp.Rational):
        ratio = Fraction(int(expr.p), int(expr.q))
        return lambda env: ratio
    if isinstance(expr, sp.Symbol):
        name = expr.name
        return lambda env: env[name]
    args = [_compile(a) for a in expr.args]
    if isinstance(expr, sp.Add):
        return lambda env: sum(a(env) for a in args)
    if isinstance(expr, sp.Mul):
        return lambda env: prod(a(env) for a in args)
    if isinstance(expr, sp.Pow):
        return lambda env: _power(args[0](env), args[1](env))
    rounding = _ROUNDINGS.get(type(expr).__name__)
    if rounding is not None:
        return lambda env: rounding(*(a(env) for a in args))
    raise SpecError(Message(NOWHERE, f"`{expr}` cannot be an index", "use +, -, * and integers", "not an index"))


def _power(base: Any, exponent: Any) -> Any:
    return Fraction(base) ** exponent if exponent < 0 else base**exponent


def resolve(key: Key, known: Mapping[Key, Any], edges: tuple[Edge, ...], span: Span = NOWHERE) -> Key | None:
    """The member that a read of ``key`` means under the boundary of its slots; None where it reads as zero.

    zero: 0 outside; circular: modulo the range; reflect: mirrored at the first and last member, which are not
    repeated (``-1`` is ``1``).
    """
    if key in known:
        return key
    index, inside = list(key[1:]), True
    for slot, (mode, lo, hi) in enumerate(edges):
        at = index[slot]
        if lo <= at <= hi:
            continue
        if mode == "zero":
            inside = False
        elif mode == "circular":
            index[slot] = lo + (at - lo) % (hi - lo + 1)
        elif mode == "reflect":
            index[slot] = _mirror(at, lo, hi)
    if not inside:
        return None
    found = (key[0], *index)
    if found not in known:
        raise SpecError(Message(span, f"`{show(key)}` is read but nothing defines it before", heading="undefined member"))
    return found


def edges_of(program: Program, integer: Callable[[sp.Expr, Env], int], env: Env) -> dict[str, tuple[Edge, ...]]:
    """The boundary of every family, with numbers for its ranges.

    Adjoints may end at another of their indices, s in 1..t: of these all that is not defined reads as zero.
    """

    def edge(mode: str | None, lo: sp.Expr, hi: sp.Expr) -> Edge:
        if mode is None:
            return None, 0, -1
        if mode == "zero" and not {s.name for s in lo.free_symbols | hi.free_symbols} <= env.keys():
            return mode, 1, 0
        return mode, integer(lo, env), integer(hi, env)

    return {name: tuple(edge(*slot) for slot in slots) for name, slots in program.boundary.items()}


def _mirror(at: int, lo: int, hi: int) -> int:
    period = 2 * (hi - lo)
    if period == 0:
        return lo
    distance = (at - lo) % period
    return lo + min(distance, period - distance)
