"""What a spec declares of the matrix that an instruction reads.

A family may have several declarations, ``W[1]`` and ``W[l] … for l in 2..3``, each with a law and a rate that may depend on the
index: which of them a product means is decided by the indices it has there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sympy as sp

from tp.program.ir import Ref, Sum, Weight


def matrices(weights: Sequence[Weight], name: str) -> tuple[Weight, ...]:
    """The declarations of a family of matrices."""
    return tuple(w for w in weights if w.ref.name == name and w.cols is not None)


def of_member(weights: Sequence[Weight], ref: Ref, value: Callable[[Weight], sp.Expr]) -> sp.Expr:
    """``value`` of the declaration that the matrix ``ref`` falls under, in the indices of ``ref``.

    Where declarations differ, a sum over their members, of which one is ``ref``.
    """
    found = matrices(weights, ref.name)
    put = [value(w).xreplace(dict(zip(w.ref.index, ref.index, strict=True))) for w in found]
    if all(one == put[0] for one in put):
        return put[0]
    return sp.Add(*(_where(w, ref, value(w)) for w in found))


def _where(w: Weight, ref: Ref, value: sp.Expr) -> sp.Expr:
    """``value`` where ``ref`` is one of the members that ``w`` declares, else 0."""
    own = {r.index: sp.Symbol(f"{r.index.name}″", integer=True) for r in w.domain}
    slots = [e.xreplace(own) for e in w.ref.index]
    same = sp.Mul(*(sp.KroneckerDelta(e, f) for e, f in zip(slots, ref.index, strict=True)))
    limits = [(own[r.index], r.lo.xreplace(own), r.hi.xreplace(own)) for r in reversed(w.domain)]
    found = value.xreplace(own) * same
    return Sum(found, *limits) if limits and found != 0 else found
