"""Degrees of a program's expressions in its vectors: which programs are linear, which polynomial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sympy as sp

from tp.program.ir import MatMul, Moment, Nonlin, OuterNonlin, Program, Ref, Simple
from tp.readings.elementwise import TABLE
from tp.transform.backprop import flat

PLAIN = (sp.Add, sp.Mul, sp.Pow, sp.Sum, sp.Symbol, sp.Number, sp.NumberSymbol, sp.KroneckerDelta, sp.Tuple, Ref)


def is_linear(program: Program) -> bool:
    """Whether every vector of a leading-order program is linear and homogeneous in vectors, and every average bilinear."""
    vectors = _vectors(program)
    if any(w.mean != 0 for w in program.weights if w.ref.name in vectors):
        return False
    for ins, _ in flat(program.body):
        if isinstance(ins, MatMul):
            continue
        if isinstance(ins, OuterNonlin):
            return False
        degree = degrees(ins.expr, vectors)
        allowed = {2, 0} if isinstance(ins, Moment) else {1} if _is_vector(ins) else {0}
        if degree is None or not degree <= allowed or len(degree) > 1 or not _known(ins.expr):
            return False
    return True


def _known(expr: sp.Expr) -> bool:
    """Whether the exact method knows the functions of scalars."""
    return all(isinstance(e, PLAIN) or type(e).__name__ in TABLE for e in _nodes(expr))


def _nodes(expr: sp.Basic) -> Iterable[sp.Basic]:
    """The parts of an expression, but not of the indices of what it reads."""
    yield expr
    for part in () if isinstance(expr, (Ref, sp.KroneckerDelta, sp.Tuple)) else expr.args:
        yield from _nodes(part)


def is_polynomial(program: Program) -> bool:
    """Whether every vector and every average is a polynomial in vectors, and every scalar in scalars."""
    names = _vectors(program) | {ins.out.name for ins, _ in flat(program.body)}
    return all(
        isinstance(ins, MatMul) or (not isinstance(ins, OuterNonlin) and degrees(ins.expr, names) is not None)
        for ins, _ in flat(program.body)
    )


def _vectors(program: Program) -> set[str]:
    found = {w.ref.name for w in program.weights if w.rows is not None and w.cols is None}
    return found | {ins.out.name for ins, _ in flat(program.body) if isinstance(ins, MatMul) or _is_vector(ins)}


def _is_vector(ins: Simple) -> bool:
    return isinstance(ins, Nonlin) and ins.space is not None


def degrees(expr: sp.Basic, vectors: Iterable[str] | Mapping[str, int]) -> set[int] | None:
    """The degrees of the terms of a polynomial in vectors; None for what is no polynomial. Zero has none."""
    names = vectors if isinstance(vectors, Mapping) else dict.fromkeys(vectors, 1)
    if expr == 0:
        return set()
    if isinstance(expr, Ref):
        return {names.get(expr.name, 0)}
    if not any(r.name in names for r in expr.atoms(Ref)):
        return {0}
    parts = [degrees(a, names) for a in (expr.args[:1] if isinstance(expr, (sp.Sum, sp.Pow)) else expr.args)]
    known = [p for p in parts if p is not None]
    if len(known) < len(parts):
        return None
    match expr:
        case sp.Add():
            return set().union(*known)
        case sp.Mul():
            total = {0}
            for part in known:
                total = {a + b for a in total for b in part}
            return total
        case sp.Pow(exp=power) if power.is_Integer and power > 0:
            total = {0}
            for _ in range(int(power)):
                total = {a + b for a in total for b in known[0]}
            return total
        case sp.Sum():
            return known[0]
        case _:
            return None
