"""Sums over finite indices, with an input's coordinates gathered into inner products."""

from __future__ import annotations

import sympy as sp

from tp.limit.equations import Entry, Value
from tp.program.ir import Range, Ref, Sum


def sum_over(value: sp.Expr, bounds: list[Range]) -> sp.Expr:
    """Σ over the bounds; an index that does not occur multiplies by its count; input coordinates become a Gram entry."""
    for r in reversed(bounds):
        if value == 0:
            return sp.S.Zero
        if r.index not in value.free_symbols:
            value = value * (r.hi - r.lo + 1)
            continue
        gram = _gram(value, r)
        inside: list[sp.Expr] = []
        outside: list[sp.Expr] = []
        if gram is None:
            for factor in sp.Mul.make_args(value):
                (inside if r.index in factor.free_symbols else outside).append(factor)
            value = sp.Mul(*outside) * Sum(sp.Mul(*inside), (r.index, r.lo, r.hi))
        else:
            value = gram
    return value


def _gram(value: sp.Expr, r: Range) -> sp.Expr | None:
    """Σ_c x[…,c](s) x[…,c](t) over the finite axis of an input."""
    factors = sp.Mul.make_args(value)
    data, rest = [], []
    for f in factors:
        base, power = f.as_base_exp()
        if (
            isinstance(base, Value)
            and base.kind_name == "data"
            and power in (1, 2)
            and base.a.index
            and base.a.index[-1] == r.index
        ):
            data += [base] * int(power)
        else:
            rest.append(f)
    if len(data) != 2 or any(r.index in f.free_symbols for f in rest):
        return None
    if any(r.index in e.free_symbols for d in data for e in d.a.index[:-1]):
        return None
    one, two = sorted(data, key=lambda d: str(d.s))
    a, b = Ref(one.a.args[0], *one.a.index[:-1]), Ref(two.a.args[0], *two.a.index[:-1])
    return sp.Mul(*rest) * Entry("Gram", a, b, one.s, two.s)
