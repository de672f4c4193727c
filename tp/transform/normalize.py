"""Vectors of size 1: the width's powers move from a weight's coordinates to where it is read.

A tensor program's vectors have Θ(1) coordinates. A readout declared ``~ N(0, 1/n^2)`` has coordinates of size n^(-1); it
is rewritten as n^(-1) times a weight of size 1, with the multiplier that keeps the function and its training the same:
the symmetry (a, b, c) → (a + θ, b − θ, c − 2θ) of abc-parametrizations, exact at every width.

In training a weight is as large as the larger of its initial value and its updates: one that starts at 0, as biases do, has the
size of its updates alone. Updates count for no more than makes Θ(1) of what reads the weight: what is larger diverges. Where
entries are normalised an initial value is never left out, for updates do not depend on the size of gradients.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 3.2 (symmetries of abc-parametrizations).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import sympy as sp

from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, OuterNonlin, Program, Ref, Weight
from tp.program.reads import flat


@dataclass(frozen=True, slots=True)
class Updates:
    """What updates are like: ``degree`` 2 where they are proportional to gradients, 1 where entries are normalised.

    ``scale`` is the N for which N ∂f/∂x of vectors x is Θ(1); None: the width.
    """

    degree: int
    scale: sp.Expr | None = None


def normalize(program: Program, updates: Updates | None = None) -> Program:
    """The same program with vector and scalar weights of size 1: multiplier·n^b, and n^(-b) at every use.

    ``updates``: it is trained by such updates; None: sizes are those at initialization.
    """
    widths = sorted(set().union(*(s.size.free_symbols for s in program.spaces)), key=str)
    sizes: dict[tuple[str, int], list[sp.Expr]] = {}  # of a family all members count as the largest does: they are read alike
    for w in program.weights:
        if w.cols is None:
            size = _size(w, widths) if updates is None else _trained(program, w, updates, widths)
            if size is not None:
                sizes.setdefault((w.ref.name, len(w.ref.index)), []).append(size)
    factors = {key: factor for key, found in sizes.items() if (factor := max(found, key=_order)) != 1}
    if not factors:
        return program
    weights = []
    for w in program.weights:
        factor = factors.get((w.ref.name, len(w.ref.index))) if w.cols is None else None
        weights.append(w if factor is None else replace(w, multiplier=sp.expand(w.multiplier / factor)))
    body = tuple(_scaled(ins, factors) for ins in program.body)
    return replace(program, weights=tuple(weights), body=body)


def _size(w: Weight, widths: list[sp.Symbol]) -> sp.Expr:
    """The power of the width in the size of an entry: of multiplier · std, or multiplier · mean, the larger one."""
    parts = [part for part in (w.variance, w.mean**2) if part != 0] or [sp.S.One]
    return sp.sqrt(max((_power(w.multiplier**2 * part, widths) for part in parts), key=_order))


def _trained(program: Program, w: Weight, updates: Updates, widths: list[sp.Symbol]) -> sp.Expr | None:
    """The power of the width in the size of an entry that is trained; None of what starts at 0 and stays there."""
    zero = w.variance == 0 and w.mean == 0
    initial = _size(w, widths)
    reads = list(_reads(program, w, updates, widths))
    unmoved = w.frozen or not reads or w.multiplier == 0 or w.rate == 0
    if unmoved or (updates.degree == 1 and not zero):  # of what is ever so small entries still have a sign
        return None if zero and unmoved else initial
    gradient = max((g for _, g in reads), key=_order) if updates.degree == 2 else sp.S.One
    moved = _power(w.multiplier**updates.degree * w.rate * gradient, widths)
    allowed = min((1 / factor for factor, _ in reads), key=_order)
    moved = min(moved, allowed, key=_order)
    return moved if zero else max(initial, moved, key=_order)


def _reads(program: Program, w: Weight, updates: Updates, widths: list[sp.Symbol]) -> Iterator[tuple[sp.Expr, sp.Expr]]:
    """For every term that reads ``w``: the power of the width before it, and that in the gradient that comes from there.

    Of a number that vectors read, nothing: it is left at its initial size.
    """
    key = (w.ref.name, len(w.ref.index))
    outputs = {out.name for out in program.outputs}
    scale = updates.scale if updates.scale is not None else widths[0]
    readers = [
        i for i in flat(program.body) if isinstance(i, Nonlin | Moment) and any((r.name, len(r.index)) == key for r in _refs(i))
    ]
    if w.rows is None and any(ins.space is not None for ins in readers):
        return
    for ins in readers:
        if ins.space is None and w.rows is not None:
            continue
        whole = sp.expand_mul(ins.coeff * ins.expr) if isinstance(ins, Moment) else ins.expr
        for factor, inside in _factors(whole, key, widths):
            read_out = isinstance(ins, Moment) and ins.out.name in outputs and not inside
            fan = sp.S.One if ins.space is None else ins.space.size if read_out else scale
            yield factor, _power(factor / fan, widths)


def _factors(
    expr: sp.Expr, key: tuple[str, int], widths: list[sp.Symbol], inside: bool = False
) -> Iterator[tuple[sp.Expr, bool]]:
    """The power of the width before every occurrence of a weight, in the sum it stands in, and whether a function is around."""
    for term in _terms(expr):
        factors = sp.Mul.make_args(term)
        if any(isinstance(b := f.as_base_exp()[0], Ref) and (b.name, len(b.index)) == key for f in factors):
            yield _power(sp.Mul(*(f for f in factors if not f.has(Ref))), widths), inside
            continue
        for part in (f for f in factors if any((r.name, len(r.index)) == key for r in f.atoms(Ref))):
            for argument in part.args:
                yield from _factors(argument, key, widths, True)


def _refs(ins: Nonlin | Moment) -> set[Ref]:
    return (ins.expr * ins.coeff if isinstance(ins, Moment) else ins.expr).atoms(Ref)


def _terms(expr: sp.Expr) -> Iterator[sp.Expr]:
    """The terms of a sum, and of sums over indices."""
    for term in sp.Add.make_args(expr):
        sums = [f for f in sp.Mul.make_args(term) if isinstance(f, sp.Sum)]
        if len(sums) == 1:
            yield from (
                sp.Mul(inner, *(f for f in sp.Mul.make_args(term) if f is not sums[0])) for inner in _terms(sums[0].function)
            )
        else:
            yield term


def _power(expr: sp.Expr, widths: list[sp.Symbol]) -> sp.Expr:
    """The powers of widths in a product."""
    return sp.Mul(*(n ** _exponent(expr, n) for n in widths if expr.has(n)))


def _order(power: sp.Expr) -> sp.Expr:
    """The exponent of a power of the width, of all widths together."""
    return sp.Add(*(f.as_base_exp()[1] for f in sp.Mul.make_args(power) if f.free_symbols))


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
