"""The gradient-independence check: may a weight's transpose be taken as an independent copy?

Where it holds, every dot part vanishes and the recursions of :mod:`tp.limit.take` are right; where it fails, the full
calculus of :mod:`tp.limit.zcalculus` is needed, and the failure says which two uses meet.

Source: Yang 2020, *Tensor Programs II*, Condition 1 (simple GIA check): the readout is independent, centred and
used nowhere else, and no weight's transpose appears in the forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

import sympy as sp

from tp.errors import Message
from tp.limit.clauses import Clause, Families, flatten
from tp.program.ir import MatMul, Moment, Program, Ref


def gradient_dependence(program: Program) -> Message | None:
    """Why gradient independence fails, naming the vector and the two uses; None where it holds."""
    return transposed(program) or _shared_readout(program)


def transposed(program: Program) -> Message | None:
    """A matrix that is used both as W and as Wᵀ."""
    uses: dict[tuple[str, bool], MatMul] = {}
    for clause in flatten(program.body):
        ins = clause.ins
        if not isinstance(ins, MatMul):
            continue
        uses.setdefault((ins.W.name, ins.transpose), ins)
        other = uses.get((ins.W.name, not ins.transpose))
        if other is not None:
            forward, back = (other, ins) if ins.transpose else (ins, other)
            return Message(
                back.span,
                f"gradient independence fails: `{back.out}` uses the transpose of `{back.W}`, and `{forward.out}`"
                f" (line {forward.span.line}) uses `{forward.W}` itself, so the two are correlated through the matrix",
                f"use a separate weight for the transpose; with `{back.W}` tied the limit needs the full Z-calculus",
                "W and its transpose",
            )
    return None


def _shared_readout(program: Program) -> Message | None:
    """A Gaussian vector that an output averages against and that the network reads as well: a tied embedding."""
    families = Families(program)
    clauses = list(flatten(program.body))
    last = feeding_no_vector(clauses, families)
    read = set().union(*(_names(c) for c in clauses if c.out.name not in last))
    settled = _settled(
        program, [c for c in clauses if c.out.name in last], families.weights.keys() - families.clauses.keys() - read
    )
    for clause in clauses:
        ins = clause.ins
        if not isinstance(ins, Moment) or ins.out.name not in last - settled:
            continue
        for v in (r for r in families.vectors(ins.expr) if r.name in families.weights and r.name not in families.clauses):
            if all(w.variance == 0 for w in families.weights[v.name]):
                continue
            for other in (c.ins for c in clauses if c.out.name not in last and v.name in _names(c)):
                return Message(
                    ins.span,
                    f"gradient independence fails: `{ins.out}` reads out with `{v}`, and `{other.out}`"
                    f" (line {other.span.line}) is made of it too",
                    "read out with a weight vector that is used nowhere else; tied, the limit needs the full Z-calculus",
                    "readout used twice",
                )
    return None


def _settled(program: Program, last: list[Clause], own: Set[str]) -> set[str]:
    """Scalars all of whose terms have a readout among ``own``, and averages over the width, such as norms, that only they read.

    Whatever else stands in them is no readout: behind a readout its gradients are those of any vector, and an average's vanish.
    """
    others = {c.out.name for c in last if not isinstance(c.ins, Moment) or not _reads_out(c.ins.expr, own)}
    settled = {c.out.name for c in last} - others
    grows = {c.out.name for c in last if isinstance(c.ins, Moment) and c.ins.coeff.free_symbols}
    while True:
        inside = others - settled - grows - {f.name for f in program.outputs}
        found = inside - set().union(*(_names(c) for c in last if c.out.name not in settled))
        if not found:
            return settled
        settled |= found


def _reads_out(expr: sp.Expr, own: Set[str]) -> bool:
    """Whether every term of ``expr``, multiplied out, has a factor among the vectors ``own``."""
    match expr:
        case Ref():
            return expr.name in own
        case sp.Mul():
            return any(_reads_out(a, own) for a in expr.args)
        case sp.Add():
            return all(_reads_out(a, own) for a in expr.args)
        case sp.Sum():
            return _reads_out(expr.function, own)
    return bool(expr == 0)


def feeding_no_vector(clauses: list[Clause], families: Families) -> set[str]:
    """Scalars that no vector depends on."""
    feeding: set[str] = set()
    while True:
        before = len(feeding)
        for clause in clauses:
            if families.is_vector(clause.out) or clause.out.name in feeding:
                feeding.update(_names(clause))
        if len(feeding) == before:
            return {c.out.name for c in clauses if not families.is_vector(c.out)} - feeding


def _names(clause: Clause) -> set[str]:
    return {r.name for r in _reads(clause)}


def _reads(clause: Clause) -> Iterator[Ref]:
    ins = clause.ins
    if isinstance(ins, MatMul):
        yield ins.x
        return
    yield from ins.expr.atoms(Ref)
    if isinstance(ins, Moment):
        yield from ins.coeff.atoms(Ref)
