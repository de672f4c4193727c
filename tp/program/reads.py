"""What instructions read and write, and how their indices are renamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import sympy as sp

from tp.errors import LimitError, Message
from tp.program.ir import Domain, Instruction, Loop, MatMul, Moment, Nonlin, OuterNonlin, Plain, Range, Ref, Simple, Softmax


def reads_of(expr: sp.Basic, ranges: Domain = ()) -> Iterator[tuple[Ref, Domain]]:
    """The refs of an expression, each with the ranges of the finite sums around it."""
    match expr:
        case Ref():
            yield expr, ranges
        case sp.Sum():
            bound = tuple(Range(v, lo, hi) for v, lo, hi in reversed(expr.limits))
            yield from reads_of(expr.function, (*ranges, *bound))
        case Softmax():
            at, body, bound, lo, hi = expr.args
            yield from reads_of(at, ranges)
            yield from reads_of(body, (*ranges, Range(bound, lo, hi)))
        case _:
            for arg in expr.args:
                yield from reads_of(arg, ranges)


def reads(ins: Simple) -> Iterator[tuple[Ref, Domain]]:
    """What one instruction reads."""
    match ins:
        case MatMul(W=W, x=x):
            yield W, ()
            yield x, ()
        case Nonlin(expr=expr):
            yield from reads_of(expr)
        case Moment(expr=expr, coeff=coeff):
            yield from reads_of(expr)
            yield from reads_of(coeff)
        case OuterNonlin(entry=entry, x=x):
            yield from reads_of(entry)
            yield x, ()


def flat(body: Iterable[Instruction]) -> Iterator[Simple]:
    """The instructions of a body, those inside loops included."""
    for ins in body:
        if isinstance(ins, Loop):
            yield from flat(ins.body)
        else:
            yield ins


def plain(ins: Simple, wanted: str) -> Plain:
    """The instruction, unless it is an OuterNonlin; ``LimitError`` then, saying that there is no rule for what is ``wanted``."""
    if isinstance(ins, OuterNonlin):
        reason = f"`{ins.out}` is an entrywise update of a matrix, and {wanted} has no rule for it"
        remedy = "its numbers are those of `run.limit()` and `run.simulate(width=…)`; or train by sgd or momentum"
        raise LimitError(Message(ins.span, reason, remedy, "entrywise update"))
    return ins


def rename(ins: Simple, names: Mapping[sp.Expr, sp.Expr], domain: Domain) -> Simple:
    """The instruction over ``domain``, with ``names`` applied to all it reads and writes."""
    match ins:
        case MatMul():
            return replace(ins, out=ins.out.xreplace(names), W=ins.W.xreplace(names), x=ins.x.xreplace(names), domain=domain)
        case Nonlin():
            return replace(ins, out=ins.out.xreplace(names), expr=ins.expr.xreplace(names), domain=domain)
        case Moment():
            coeff = ins.coeff.xreplace(names)
            return replace(ins, out=ins.out.xreplace(names), expr=ins.expr.xreplace(names), coeff=coeff, domain=domain)
        case OuterNonlin():
            entry, x = ins.entry.xreplace(names), ins.x.xreplace(names)
            return replace(ins, out=ins.out.xreplace(names), entry=entry, x=x, domain=domain)
