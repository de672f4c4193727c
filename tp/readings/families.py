"""Products with whole families of vectors at once: where almost all of a training run's time goes.

After T steps on B samples an updated matrix is a sum over T B outer products; its action on one vector is one
inner product and one multiple of a vector for each. Written member by member these are passes over arrays; together they
are two matrix–vector products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

from tp.program.ir import Range, Ref


@dataclass(frozen=True)
class Terms:
    """Σ over ``ranges`` of ``coefficient · vector``: a sum in a vector's definition that is linear in a family."""

    ranges: tuple[Range, ...]
    coefficient: sp.Expr
    vector: Ref


def split(expr: sp.Expr, is_vector: Callable[[str], bool]) -> tuple[tuple[Terms, ...], sp.Expr]:
    """The sums of ``expr`` that are linear in one family each, and the rest."""
    found, rest = [], []
    for term in sp.Add.make_args(expr):
        factors = sp.Mul.make_args(term)
        sums = [f for f in factors if isinstance(f, sp.Sum)]
        others = [f for f in factors if not isinstance(f, sp.Sum)]
        terms = _linear(sums[0], sp.Mul(*others), is_vector) if len(sums) == 1 else None
        if terms is None:
            rest.append(term)
        else:
            found.append(terms)
    return tuple(found), sp.Add(*rest)


def _linear(total: sp.Sum, outside: sp.Expr, is_vector: Callable[[str], bool]) -> Terms | None:
    factors = sp.Mul.make_args(total.function)
    vectors = [f for f in factors if isinstance(f, Ref) and is_vector(f.name)]
    if len(vectors) != 1:
        return None
    coefficient = sp.Mul(outside, *(f for f in factors if f is not vectors[0]))
    if coefficient.has(sp.Sum) or any(is_vector(r.name) for r in coefficient.atoms(Ref)):
        return None
    return Terms(tuple(Range(s, lo, hi) for s, lo, hi in reversed(total.limits)), coefficient, vectors[0])


def product(expr: sp.Expr, is_vector: Callable[[str], bool]) -> tuple[float, Ref, Ref] | None:
    """``(c, x, y)`` where ``expr`` is ``c x y`` for a number c and two vectors."""
    factors = sp.Mul.make_args(expr)
    refs = [f for f in factors if isinstance(f, Ref)]
    numbers = [f for f in factors if f.is_number]
    if len(refs) != 2 or len(refs) + len(numbers) != len(factors) or not all(is_vector(r.name) for r in refs):
        return None
    return float(sp.Mul(*numbers)), refs[0], refs[1]
