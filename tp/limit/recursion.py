"""Which vector families read themselves, and which of their members are read."""

from __future__ import annotations

import sympy as sp

from tp.limit.clauses import Families
from tp.program.affine import affine, highest, lowest
from tp.program.ir import Domain, MatMul, Nonlin, Ref


def recursive(families: Families, leave: set[str] | None = None) -> set[str]:
    """Vector families that read themselves through Nonlins only, or through anything but the families to ``leave`` out."""
    reads: dict[str, set[str]] = {}
    for name, clauses in families.clauses.items():
        reads[name] = set()
        for c in clauses:
            if isinstance(c.ins, Nonlin):
                reads[name] |= {r.name for r in families.vectors(c.ins.expr) if r.name in families.clauses}
            elif isinstance(c.ins, MatMul) and leave is not None:
                reads[name].add(c.ins.x.name)
        reads[name] -= leave or set()
    found = set()
    for name in reads:
        seen, stack = set(), list(reads[name])
        while stack:
            at_name = stack.pop()
            if at_name not in seen:
                seen.add(at_name)
                stack.extend(reads[at_name])
        if name in seen:
            found.add(name)
    return found


def read_beyond(families: Families) -> set[str]:
    """Vector families that are read at a computed index whose value beyond the range is set by a boundary mode."""
    found = set()
    for clauses in families.clauses.values():
        for clause in clauses:
            reads = [clause.ins.x] if isinstance(clause.ins, MatMul) else families.vectors(clause.expr)
            for ref in reads:
                edges = [families.boundary(ref.name, k) for k in range(len(ref.index))]
                computed = [not isinstance(e, (sp.Symbol, sp.Integer)) for e in ref.index]
                if any(edge and edge[0] and c for edge, c in zip(edges, computed, strict=True)):
                    found.add(ref.name)
    return found


def is_factor(expr: sp.Expr, ref: Ref) -> bool:
    """Whether ``ref`` stands in a sum of products as one factor of each."""
    if expr == ref or not expr.has(ref):
        return True
    if isinstance(expr, sp.Add):
        return all(is_factor(a, ref) for a in expr.args)
    if isinstance(expr, sp.Mul):
        having = [a for a in expr.args if a.has(ref)]
        return len(having) == 1 and is_factor(having[0], ref)
    return False


def misses(out: Ref, ref: Ref, domain: Domain) -> bool:
    """Whether a clause for a constant index, ``h[0]``, is none of ``h[t-1]`` as ``t`` runs over its range."""
    for slot, e in zip(out.index, ref.index, strict=True):
        difference = affine(e - slot) if slot.is_number else None
        if difference is not None and (lowest(difference, domain) > 0 or highest(difference, domain) < 0):
            return True
    return False
