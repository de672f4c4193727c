"""Finite indices: integer values of index expressions, and what lies beyond a boundary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import reduce
from operator import mul
from typing import Any

import sympy as sp

from tp.errors import LimitError
from tp.program.ir import Domain, Program

Env = Mapping[sp.Symbol, int]


def integer(expr: sp.Expr, env: Env) -> int:
    """The value of an index expression; symbols not in ``env`` are an error."""
    value = _number(expr, env)
    if isinstance(value, Fraction):
        if value.denominator != 1:
            raise LimitError(f"the index `{expr}` is {value}, not an integer")
        return int(value)
    return value


def _number(expr: sp.Expr, env: Env) -> int | Fraction:
    if isinstance(expr, sp.Integer):
        return int(expr)
    if isinstance(expr, sp.Rational):
        return Fraction(int(expr.p), int(expr.q))
    if isinstance(expr, sp.Symbol):
        if expr not in env:
            raise LimitError(f"the index `{expr}` has no value here")
        return env[expr]
    args = [_number(a, env) for a in expr.args]
    match expr:
        case sp.Add():
            return sum(args)
        case sp.Mul():
            return reduce(mul, args)
        case sp.floor():
            return args[0] // 1
        case sp.ceiling():
            return -(-args[0] // 1)
        case sp.Mod():
            return args[0] % args[1]
        case sp.Min():
            return min(args)
        case sp.Max():
            return max(args)
    raise LimitError(f"`{expr}` cannot be an index")


def points(domain: Domain, env: Env) -> Iterator[dict[sp.Symbol, int]]:
    """``env`` extended by every point of ``domain``, whose ranges may use outer ones."""
    if not domain:
        yield dict(env)
        return
    head, *rest = domain
    for value in range(integer(head.lo, env), integer(head.hi, env) + 1):
        yield from points(tuple(rest), {**env, head.index: value})


def holds(condition: Any, env: Env) -> bool:
    """A condition on indices: comparisons joined by and, or, not."""
    if condition in (sp.true, sp.false):
        return bool(condition)
    match condition:
        case sp.And():
            return all(holds(c, env) for c in condition.args)
        case sp.Or():
            return any(holds(c, env) for c in condition.args)
        case sp.Not():
            return not holds(condition.args[0], env)
    left, right = (_number(a, env) for a in condition.args)
    compare = {
        sp.Eq: left == right,
        sp.Ne: left != right,
        sp.Lt: left < right,
        sp.Le: left <= right,
        sp.Gt: left > right,
        sp.Ge: left >= right,
    }
    return compare[type(condition)]


def reflected(at: int, lo: int, hi: int) -> int:
    """``at`` mirrored at the ends, which are not repeated: -1 is 1."""
    period = max(2 * (hi - lo), 1)
    distance = (at - lo) % period
    return lo + min(distance, period - distance) if hi > lo else lo


def inside(program: Program, name: str, index: tuple[int, ...]) -> tuple[int, ...] | None:
    """The member that ``name[index]`` means under the boundary of its slots; None where it reads as 0."""
    found = list(index)
    for slot, (mode, low, high) in enumerate(program.boundary.get(name, ())):
        if mode in (None, "valid") or slot >= len(found):
            continue
        lo, hi = integer(low, {}), integer(high, {})
        if lo <= found[slot] <= hi:
            continue
        if mode == "zero":
            return None
        if mode == "circular":
            found[slot] = lo + (found[slot] - lo) % (hi - lo + 1)
        if mode == "reflect":
            found[slot] = reflected(found[slot], lo, hi)
    return tuple(found)
