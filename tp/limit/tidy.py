"""Writing an equation the way a paper does."""

from __future__ import annotations

import math
from dataclasses import replace

import sympy as sp

from tp.limit.equations import Entry, Equation
from tp.limit.terms import MOST
from tp.program.ir import Sum


def tidy(expr: sp.Expr) -> sp.Expr:
    """Products multiplied out, sums over indices taken term by term, what does not vary pulled out of them."""
    return sp.Add(*(_term(t) for t in multiplied_out(expr)))


def multiplied_out(expr: sp.Expr) -> list[sp.Expr]:
    """The terms of a sum of products of sums; what stands inside functions and expectations is left alone."""
    expanded = sp.expand_mul(expr, deep=False) if _few(expr) else expr
    if not expanded.is_Add:
        return [expanded]
    return [t for arg in expanded.args for t in multiplied_out(arg)]


def _few(expr: sp.Expr) -> bool:
    """Whether a product is few terms multiplied out."""
    return math.prod(len(f.args) for f in sp.Mul.make_args(expr) if f.is_Add) <= MOST


def _term(term: sp.Expr) -> sp.Expr:
    factors = [_sum(f) if isinstance(f, sp.Sum) else f for f in sp.Mul.make_args(term)]
    if (
        _few(sp.Mul(*factors))
        and any(isinstance(f, sp.Add) for f in factors)
        and any(isinstance(f, sp.Sum) for f in sp.Mul.make_args(term))
    ):
        return tidy(sp.Mul(*factors))
    return sp.Mul(*factors)


def _sum(total: sp.Sum) -> sp.Expr:
    """Σ (a + c b) = Σ a + c Σ b."""
    if len(total.limits) > 1:
        inner = _sum(Sum(total.function, *total.limits[:-1]))
        return _sum_terms(inner, total.limits[-1])
    return _sum_terms(tidy(total.function), total.limits[0])


def _sum_terms(body: sp.Expr, limit: sp.Tuple) -> sp.Expr:
    pieces = []
    for term in sp.Add.make_args(body):
        inside: list[sp.Expr] = []
        outside: list[sp.Expr] = []
        for f in sp.Mul.make_args(term):
            (inside if limit[0] in f.free_symbols else outside).append(f)
        if inside:
            pieces.append(sp.Mul(*outside) * Sum(sp.Mul(*inside), limit))
        else:
            pieces.append(term * (limit[2] - limit[1] + 1))
    return sp.Add(*pieces)


def share_direct_terms(equations: list[Equation]) -> list[Equation]:
    """Θ = (all terms of K) + … is written Θ = K + …: in the NTK parametrization the direct terms are the covariance."""
    covariances = {(e.lhs.args[1:], e.domain): e for e in equations if e.lhs.args[0].name == "K"}
    written = []
    for e in equations:
        twin = covariances.get((e.lhs.args[1:], e.domain)) if e.lhs.args[0].name == "Theta" else None
        if twin is not None and twin.rhs != 0:
            mine, theirs = list(sp.Add.make_args(e.rhs)), sp.Add.make_args(twin.rhs)
            if all(t in mine for t in theirs):
                rest = [t for t in mine if t not in theirs]
                e = replace(e, rhs=sp.Add(Entry("K", *e.lhs.args[1:]), *rest))
        written.append(e)
    return written
