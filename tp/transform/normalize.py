"""Vectors of size 1: the width's powers move from a weight's coordinates to where it is read.

A tensor program's vectors have Θ(1) coordinates. A readout declared ``~ N(0, 1/n^2)`` has coordinates of size n^(-1); it
is rewritten as n^(-1) times a weight of size 1, with the multiplier that keeps the function and its training the same:
the symmetry (a, b, c) → (a + θ, b − θ, c − 2θ) of abc-parametrizations, exact at every width.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 3.2 (symmetries of abc-parametrizations).
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, OuterNonlin, Program, Ref, Weight


def normalize(program: Program) -> Program:
    """The same program with vector and scalar weights of size 1: multiplier·n^b, and n^(-b) at every use."""
    widths = sorted(set().union(*(s.size.free_symbols for s in program.spaces)), key=str)
    factors = {}
    weights = []
    for w in program.weights:
        factor = _size(w, widths) if w.cols is None else sp.S.One
        if factor != 1:
            factors[w.ref.name, len(w.ref.index)] = factor
            w = replace(w, multiplier=sp.expand(w.multiplier / factor))
        weights.append(w)
    if not factors:
        return program
    body = tuple(_scaled(ins, factors) for ins in program.body)
    return replace(program, weights=tuple(weights), body=body)


def _size(w: Weight, widths: list[sp.Symbol]) -> sp.Expr:
    """The power of the width in the size of an entry: of multiplier · std, or multiplier · mean."""
    square = w.multiplier**2 * (w.variance if w.variance != 0 else sp.S.One)
    factor = sp.S.One
    for n in widths:
        if square.has(n):
            factor *= n ** (_exponent(square, n) / 2)
    return factor


def _exponent(expr: sp.Expr, n: sp.Symbol) -> sp.Expr:
    """k where expr = c n^k."""
    return sp.expand_log(sp.log(sp.powsimp(expr, force=True)), force=True).coeff(sp.log(n))


def _scaled(ins: Instruction, factors: dict[tuple[str, int], sp.Expr]) -> Instruction:
    match ins:
        case Loop():
            return replace(ins, body=tuple(_scaled(i, factors) for i in ins.body))
        case MatMul() | OuterNonlin():
            return ins
        case Nonlin() | Moment():
            swap = {r: factors[key] * r for r in ins.expr.atoms(Ref) if (key := (r.name, len(r.index))) in factors}
            return replace(ins, expr=ins.expr.xreplace(swap)) if swap else ins
