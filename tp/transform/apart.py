"""Indices of a network that have the names of those a transform adds get other names.

A training program runs over samples ``i``; so may a network's own taps, layers or positions. Symbols of one name are one symbol,
so a sum over the network's ``i`` would bind the sample as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count

import sympy as sp

from tp.program.ir import Domain, Instruction, Loop, Moment, Nonlin, Program, Range
from tp.program.reads import rename


def apart(program: Program, reserved: Iterable[sp.Symbol], taken: Iterable[str]) -> Program:
    """The same program with no index among ``reserved``: ``i`` becomes the first of ``i1, i2, …`` that is not ``taken``."""
    domains = [w.domain for w in program.weights] + [d.domain for d in program.data]
    symbols = set().union(*map(_symbols, program.body), *map(_running, domains))
    used = {*taken, *(s.name for s in symbols)}
    names: dict[sp.Expr, sp.Expr] = {}
    for symbol in reserved:
        if symbol in symbols:
            name = next(name for k in count(1) if (name := f"{symbol.name}{k}") not in used)
            names[symbol] = sp.Symbol(name, integer=True)
            used.add(name)
    if not names:
        return program

    def ranges(domain: Domain) -> Domain:
        return tuple(Range(r.index.xreplace(names), r.lo.xreplace(names), r.hi.xreplace(names)) for r in domain)

    def renamed(ins: Instruction) -> Instruction:
        if isinstance(ins, Loop):
            return replace(ins, range=ranges((ins.range,))[0], body=tuple(map(renamed, ins.body)))
        return rename(ins, names, ranges(ins.domain))

    weights = tuple(
        replace(
            w,
            ref=w.ref.xreplace(names),
            domain=ranges(w.domain),
            multiplier=w.multiplier.xreplace(names),
            mean=w.mean.xreplace(names),
            variance=w.variance.xreplace(names),
            rate=w.rate.xreplace(names),
        )
        for w in program.weights
    )
    return replace(
        program,
        data=tuple(replace(d, ref=d.ref.xreplace(names), domain=ranges(d.domain)) for d in program.data),
        weights=weights,
        body=tuple(map(renamed, program.body)),
        outputs=tuple(ref.xreplace(names) for ref in program.outputs),
        boundary={
            name: tuple((mode, lo.xreplace(names), hi.xreplace(names)) for mode, lo, hi in slots)
            for name, slots in program.boundary.items()
        },
        tables={name: (ranges(domain), values) for name, (domain, values) in program.tables.items()},
    )


def _symbols(ins: Instruction) -> set[sp.Symbol]:
    """All symbols of an instruction's ranges and of its sums."""
    if isinstance(ins, Loop):
        return _running((ins.range,)).union(*map(_symbols, ins.body))
    if isinstance(ins, Nonlin | Moment):
        return _running(ins.domain) | ins.expr.atoms(sp.Symbol)
    return _running(ins.domain)


def _running(domain: Domain) -> set[sp.Symbol]:
    return {r.index for r in domain}
