"""First layers inside a read-out, made vectors of their own: ``V.T @ (U @ x)`` is lowered to one average over the width.

What U does there is what a first layer does, and its size matters by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sympy as sp

from tp.program.ir import Instruction, Loop, Moment, Nonlin, Program, Ref


def hoisted(program: Program) -> Program:
    """The same program; factors of averages that apply a weight to data beside another weight become Nonlins."""
    vectors = {w.ref.name for w in program.weights if w.rows is not None and w.cols is None}
    data = {d.ref.name for d in program.data}
    taken = {r.name for ins in _simple(program.body) for r in ins.atoms(Ref)} | vectors | data
    made: list[str] = []
    body = _body(program.body, vectors, data, taken, made)
    return replace(program, body=body, temps=program.temps | set(made)) if made else program


def _simple(body: Sequence[Instruction]) -> list[sp.Expr]:
    found: list[sp.Expr] = []
    for ins in body:
        if isinstance(ins, Loop):
            found += _simple(ins.body)
        else:
            found += [ins.out, ins.expr] if isinstance(ins, Nonlin | Moment) else [ins.out]
    return found


def _body(
    body: Sequence[Instruction], vectors: set[str], data: set[str], taken: set[str], made: list[str]
) -> tuple[Instruction, ...]:
    result: list[Instruction] = []
    for ins in body:
        if isinstance(ins, Loop):
            ins = replace(ins, body=_body(ins.body, vectors, data, taken, made))
        elif isinstance(ins, Moment):
            factors = list(sp.Mul.make_args(ins.expr))
            for k, factor in enumerate(factors):
                others = {r.name for j, f in enumerate(factors) if j != k for r in f.atoms(Ref)}
                names = {r.name for r in factor.atoms(Ref)}
                if not (names & vectors and names & data and others & vectors):
                    continue
                name = next(n for n in (f"first{i}" for i in range(1, 10**6)) if n not in taken)
                taken.add(name)
                made.append(name)
                domain = tuple(r for r in ins.domain if r.index in factor.free_symbols)
                indices = sorted((s for s in factor.free_symbols if s.is_integer), key=str)
                widths = ins.space.size.free_symbols
                out = Ref(name, *(s for s in indices if s not in widths))
                result.append(Nonlin(out, factor, ins.space, domain, ins.span))
                factors[k] = out
            ins = replace(ins, expr=sp.Mul(*factors))
        result.append(ins)
    return tuple(result)
