"""Bodies written out: functions put in, all ranges filled in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tp.network import faults, limits
from tp.network.affine import Span1
from tp.network.inline import inline
from tp.network.names import Clause
from tp.network.show import show
from tp.network.tree import Call, Expr, Reduce
from tp.network.walk import rebuild

if TYPE_CHECKING:
    from tp.network.domains import Domains

DEPTH = 150
"""Levels of an expression whose functions are written out."""


class Elaboration:
    """The body of a line with its functions written out and all its ranges filled in."""

    def __init__(self, domains: Domains, c: Clause) -> None:
        self.domains, self.c = domains, c
        self.count = 0
        self.used = domains.names

    def fresh(self, name: str) -> str:
        """``name_1``, ``name_2``, … that nothing here is called."""
        k = 1
        while f"{name}_{k}" in self.used:
            k += 1
        self.used = self.used | {f"{name}_{k}"}
        return f"{name}_{k}"

    def expr(self, e: Expr, box: tuple[Span1, ...], depth: int) -> Expr:
        self.count += 1
        if self.count > limits.EXPANDED or depth > DEPTH:
            raise self.domains.failed(faults.FunctionTooLarge(e.span, limits.EXPANDED))
        match e:
            case Reduce():
                return self.reduce(e, box, depth)
            case Call(fn) if fn in self.domains.d.functions:
                args = tuple(self.expr(a, box, depth + 1) for a in e.args)
                over = None if e.over is None else self.domains.declared(e.over)
                call = replace(e, args=args, over=over)
                return self.expr(inline(self.domains.d.functions[fn], call, args, self.fresh), box, depth + 1)
            case _:
                return rebuild(e, lambda x: self.expr(x, box, depth + 1), self.domains.declared)

    def reduce(self, e: Reduce, box: tuple[Span1, ...], depth: int) -> Expr:
        """A finite sum; an index with ``boundary valid`` runs where all it reads is defined."""
        domains = self.domains
        outer = {s.name: s.name for s in box}
        ranges = domains.ordered([domains.declared(r) for r in e.ranges])
        inner = (*box, *domains.box(ranges, outer))
        body = self.expr(e.body, inner, depth + 1)
        whole = {r.index for r in e.ranges if r.lo is None}
        for i, r in enumerate(ranges):
            if r.index in whole and domains.bounded.valid(r.index):
                ranges[i], inner = domains.bounded.shrink(r, inner, tuple(domains.reads(body, inner)))
        for r, s in zip(ranges, inner[len(box) :], strict=True):
            length = s.hi - s.lo
            if e.kind == "mean" and not length.terms and length.const < 0:
                raise domains.failed(faults.EmptyMean(r.span, show(r)))
        return replace(e, body=body, ranges=tuple(ranges))
