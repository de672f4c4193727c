"""Whether two formulas are one at other indices."""

from __future__ import annotations

import sympy as sp

from tp.limit.clauses import at
from tp.program.ir import Ref, Softmax, Sum


def same_up_to_indices(ref: Ref, pattern: sp.Expr, linear: sp.Expr) -> Ref | None:
    """``ref`` at the indices for which its definition is ``linear``; None when there are none."""
    slots = [s for s in ref.index if isinstance(s, sp.Symbol)]
    actual = sorted(linear.atoms(Ref), key=str)
    candidates: list[dict[sp.Symbol, sp.Expr]] = [{}]
    for part in sorted(pattern.atoms(Ref), key=str):
        own = [(k, e) for k, e in enumerate(part.index) if e in slots]
        if not own:
            continue
        grown = []
        for binding in candidates:
            for other in (r for r in actual if r.name == part.name and len(r.index) == len(part.index)):
                new = {**binding, **{e: other.index[k] for k, e in own if e not in binding}}
                if all(new[e] == other.index[k] for k, e in own) and new not in grown:
                    grown.append(new)
        candidates = grown
        if candidates and all(len(b) == len(slots) for b in candidates):
            break
    for binding in candidates:
        if len(binding) == len(slots) and _alpha(at(pattern, binding)) == _alpha(linear):
            return at(ref, binding)
    return None


def _alpha(expr: sp.Basic, depth: int = 0) -> sp.Basic:
    """``expr`` with bound indices named by their depth, so that equal sums compare equal."""
    if not expr.args or isinstance(expr, Ref):
        return expr
    if isinstance(expr, sp.Sum):
        body, limits = expr.function, []
        for k, (index, lo, hi) in enumerate(expr.limits):
            new = sp.Symbol(f"_bound{depth + k}", integer=True)
            body = body.subs(index, new)
            limits.append((new, lo, hi))
        return Sum(_alpha(body, depth + len(limits)), *limits)
    if isinstance(expr, Softmax):
        entry, body, index, lo, hi = expr.args
        new = sp.Symbol(f"_bound{depth}", integer=True)
        return Softmax(_alpha(entry, depth), _alpha(body.subs(index, new), depth + 1), new, lo, hi)
    return expr.func(*(_alpha(a, depth) for a in expr.args))
