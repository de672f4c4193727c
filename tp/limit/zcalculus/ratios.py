"""A program at leading order and width 1: several free widths become ratios ρ to the first, powers of the width go.

Source: Yang 2020, *Tensor Programs III*, Setup F.5 (all widths go to infinity with fixed ratios).
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from tp.program.ir import Instruction, Loop, MatMul, Moment, OuterNonlin, Program
from tp.readings.orders import leading_order
from tp.transform.normalize import normalize


def widths(program: Program) -> list[sp.Symbol]:
    """The free widths; the first is the one that goes to infinity."""
    found: dict[sp.Symbol, None] = {}
    for space in program.spaces:
        found.update(dict.fromkeys(sorted(space.size.free_symbols & _free(program), key=str)))
    return list(found)


def _free(program: Program) -> set[sp.Basic]:
    return {s.size for s in program.spaces if s.size.is_Symbol}


def one_width(program: Program) -> Program:
    """The program with every free width but the first written as ρ times the first."""
    found = widths(program)
    return substituted(program, {m: _ratio(m) * found[0] for m in found[1:]})


def _ratio(m: sp.Symbol) -> sp.Expr:
    """ρ, for now as a constant that no one takes for a width."""
    return sp.Function(f"rho_{m.name}", positive=True)()


def substituted(program: Program, swap: dict[sp.Expr, sp.Expr]) -> Program:
    """The program with expressions in its sizes, weights and instructions replaced."""
    if not swap:
        return program
    spaces = {s.name: replace(s, size=s.size.subs(swap)) for s in program.spaces}

    def scaled(ins: Instruction) -> Instruction:
        if isinstance(ins, Loop):
            return replace(ins, body=tuple(map(scaled, ins.body)))
        if isinstance(ins, MatMul):
            return replace(ins, space=spaces[ins.space.name])
        if isinstance(ins, Moment):
            return replace(ins, space=spaces[ins.space.name], expr=ins.expr.subs(swap), coeff=ins.coeff.subs(swap))
        if isinstance(ins, OuterNonlin):
            return replace(ins, space=spaces[ins.space.name], over=spaces[ins.over.name], entry=ins.entry.subs(swap))
        return replace(ins, space=ins.space and spaces[ins.space.name], expr=ins.expr.subs(swap))

    weights = tuple(
        replace(
            w,
            rows=w.rows and spaces[w.rows.name],
            cols=w.cols and spaces[w.cols.name],
            multiplier=w.multiplier.subs(swap),
            mean=w.mean.subs(swap),
            variance=w.variance.subs(swap),
            rate=w.rate.subs(swap),
        )
        for w in program.weights
    )
    return replace(program, spaces=tuple(spaces.values()), weights=weights, body=tuple(map(scaled, program.body)))


def leading(program: Program) -> Program:
    """Normalised, at leading order, at width 1. Raises ``LimitError`` for what diverges with the width."""
    at_one = leading_order(normalize(one_width(program)))
    return sized(substituted(at_one, named_ratios(program)))


def named_ratios(program: Program) -> dict[sp.Expr, sp.Expr]:
    """The symbols that ratios are printed as."""
    return {_ratio(m): sp.Symbol(f"rho_{m.name}", positive=True) for m in widths(program)}


def sized(program: Program) -> Program:
    """Weights with the sizes their spaces have at width 1."""
    spaces = {s.name: s for s in program.spaces}
    weights = tuple(replace(w, rows=w.rows and spaces[w.rows.name], cols=w.cols and spaces[w.cols.name]) for w in program.weights)
    return replace(program, weights=weights)
