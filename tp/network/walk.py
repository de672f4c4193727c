"""Going through a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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


def deepest(network: Network, depth: int) -> Span | None:
    """The place of an expression nested more than ``depth`` levels deep, if there is one."""
    stack = [(e, 1) for s in reversed(network.statements) for e in expressions(s)]
    while stack:
        node, level = stack.pop()
        if level > depth:
            return node.span
        stack.extend((child, level + 1) for child in children(node))
    return None


def rebuild(e: Expr, f: Callable[[Expr], Expr], g: Callable[[Range], Range] = lambda r: r) -> Expr:
    """``e`` with ``f`` applied to the expressions directly inside it and ``g`` to its ranges; ``e`` itself if none changes."""
    match e:
        case Num():
            return e
        case Name(index=index):
            new = tuple(map(f, index))
            return e if _same(new, index) else replace(e, index=new)
        case Neg(arg) | Transpose(arg):
            inner = f(arg)
            return e if inner is arg else replace(e, arg=inner)
        case Binary(_, left, right):
            a, b = f(left), f(right)
            return e if a is left and b is right else replace(e, left=a, right=b)
        case Call(_, args, over):
            new, along = tuple(map(f, args)), None if over is None else g(over)
            return e if _same(new, args) and along is over else replace(e, args=new, over=along)
        case Reduce(_, body, ranges):
            inner, around = f(body), tuple(map(g, ranges))
            return e if inner is body and _same(around, ranges) else replace(e, body=inner, ranges=around)
        case Table(rows):
            new = tuple(map(f, rows))
            return e if _same(new, rows) else replace(e, rows=new)
        case _:
            assert_never(e)


def _same(a: Sequence[object], b: Sequence[object]) -> bool:
    return all(x is y for x, y in zip(a, b, strict=True))
