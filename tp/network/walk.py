"""Going through a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import assert_never

from tp.errors import Span
from tp.network.tree import (
    Binary,
    Call,
    Define,
    Dim,
    Expr,
    Function,
    Index,
    Input,
    Let,
    Name,
    Neg,
    Network,
    Num,
    Range,
    Reduce,
    Statement,
    Table,
    Train,
    Transpose,
    Weight,
    Width,
)


def children(e: Expr) -> tuple[Expr, ...]:
    """The expressions directly inside ``e``, the bounds of its ranges included."""
    match e:
        case Num():
            return ()
        case Name(index=index):
            return index
        case Neg(arg) | Transpose(arg):
            return (arg,)
        case Binary(_, left, right):
            return (left, right)
        case Call(_, args, over):
            return args if over is None else (*args, *bounds(over))
        case Reduce(_, body, ranges):
            return (body, *(b for r in ranges for b in bounds(r)))
        case Table(rows):
            return rows
        case _:
            assert_never(e)


def bounds(r: Range) -> tuple[Expr, ...]:
    """``lo`` and ``hi`` where they are written."""
    return tuple(b for b in (r.lo, r.hi) if b is not None)


def expressions(s: Statement) -> Iterator[Expr]:
    """The expressions directly inside a statement."""
    match s:
        case Width(value=value) | Dim(value=value) | Let(value=value):
            yield from () if value is None else (value,)
        case Function(body=body):
            yield body
        case Index(lo=lo, hi=hi):
            yield from (lo, hi)
        case Input(index=index, ranges=ranges):
            yield from index
            yield from (b for r in ranges for b in bounds(r))
        case Weight():
            yield from s.index
            yield from (e for e in (s.multiplier, s.mean, s.variance, s.rate) if e is not None)
            yield from (b for r in s.ranges for b in bounds(r))
        case Define(index=index, body=body, ranges=ranges):
            yield from index
            yield body
            yield from (b for r in ranges for b in bounds(r))
        case Train(options=options):
            yield from (e for _, e in options)
        case _:
            assert_never(s)


def walk(e: Expr) -> Iterator[Expr]:
    """``e`` and everything inside it, without recursion."""
    stack = [e]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def deepest(network: Network, limit: int) -> Span | None:
    """The place of an expression nested more than ``limit`` levels deep, if there is one."""
    stack = [(e, 1) for s in network.statements for e in expressions(s)]
    while stack:
        node, depth = stack.pop()
        if depth > limit:
            return node.span
        stack.extend((child, depth + 1) for child in children(node))
    return None


def rebuild(e: Expr, f: Callable[[Expr], Expr], g: Callable[[Range], Range] = lambda r: r) -> Expr:
    """``e`` with ``f`` applied to the expressions directly inside it and ``g`` to its ranges."""
    match e:
        case Num():
            return e
        case Name(index=index):
            return replace(e, index=tuple(map(f, index))) if index else e
        case Neg(arg) | Transpose(arg):
            return replace(e, arg=f(arg))
        case Binary(_, left, right):
            return replace(e, left=f(left), right=f(right))
        case Call(_, args, over):
            return replace(e, args=tuple(map(f, args)), over=None if over is None else g(over))
        case Reduce(_, body, ranges):
            return replace(e, body=f(body), ranges=tuple(map(g, ranges)))
        case Table(rows):
            return replace(e, rows=tuple(map(f, rows)))
        case _:
            assert_never(e)
