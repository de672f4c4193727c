"""Writing an equation the way a paper does."""

from __future__ import annotations

import math
from dataclasses import replace

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, Equation, I, Value
from tp.limit.terms import MOST
from tp.program.ir import Ref, Sum
from tp.program.parts import within
from tp.program.replace import replaced


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


def share_means(equations: list[Equation]) -> list[Equation]:
    """A mean m and what it is are one thing in a sum with products of the two: E[φ²] − 2 m E[φ] + m² is E[φ²] − m².

    That is an expectation's letter m; but a covariance K(x, x) stands for its own, so that E[u⁴] − K² closes to 2 K².
    """
    means: dict[str, list[Equation]] = {}
    for e in equations:
        if isinstance(e.lhs, Value) and e.lhs.kind_name == "theta":
            means.setdefault(e.lhs.a.name, []).append(e)
    known = {
        name: e for name, (e, *others) in means.items()
        if not others and isinstance(e.rhs, (Entry, Expectation)) and all(i.is_Symbol for i in e.lhs.a.index)
    }  # fmt: skip
    if not known:
        return equations
    return [e if e is known.get(e.lhs.args[1].name) else replace(e, rhs=_shared(e.rhs, known)) for e in equations]


def merge_scalars(equations: list[Equation]) -> list[Equation]:
    """Scalars with equal equations are one: norms of one vector that stand on two lines share their averages.

    The name is that of the line above; what only the others are needed for is left for the caller to drop.
    """
    families: dict[str, list[Equation]] = {}
    for e in equations:
        if isinstance(e.lhs, Value) and e.lhs.kind_name == "theta":
            families.setdefault(e.lhs.a.name, []).append(e)
    alike: dict[tuple[object, ...], list[str]] = {}
    names: dict[str, str] = {}
    for name, family in families.items():  # what is read comes before its readers, which then are equal too
        meaning = tuple((e.lhs.a.index, _renamed(e.rhs, names), e.domain) for e in family)
        names[name] = alike.setdefault(meaning, [name])[0]
        alike[meaning].append(name)
    for same in alike.values():
        first = min(same, key=lambda name: (families[name][0].span.line, families[name][0].span.column))
        names |= dict.fromkeys(same, first)
    names = {name: first for name, first in names.items() if name != first}
    return [replace(e, rhs=_renamed(e.rhs, names)) for e in equations] if names else equations


def _renamed(expr: sp.Expr, names: dict[str, str]) -> sp.Expr:
    values = (v for v in within(expr, Value) if v.kind_name == "theta" and v.a.name in names)
    return replaced(expr, {v: Value("theta", Ref(names[v.a.name], *v.a.index), v.s) for v in values})


def _shared(expr: sp.Expr, known: dict[str, Equation]) -> sp.Expr:
    values = sorted((v for v in within(expr, Value) if v.kind_name == "theta" and v.a.name in known), key=sp.default_sort_key)
    if not values or isinstance(expr, Expectation) or not (expr.is_Add or expr.is_Mul or expr.is_Pow or isinstance(expr, sp.Sum)):
        return expr
    expr = expr.func(*(_shared(a, known) if isinstance(a, sp.Expr) else a for a in expr.args))
    for name in {v.a.name: None for v in values} if expr.is_Add else ():
        mean = known[name]
        meant = {
            v: replaced(mean.rhs, {**dict(zip(mean.lhs.a.index, v.a.index, strict=True)), I: v.s})
            for v in values
            if v.a.name == name
        }
        factors = [{f.as_base_exp()[0] for f in sp.Mul.make_args(t)} for t in expr.args]
        if any(not f.isdisjoint(meant) and not f.isdisjoint(meant.values()) for f in factors):
            swap = meant if isinstance(mean.rhs, Entry) else {meaning: v for v, meaning in meant.items()}
            expr = sp.Add(*(_in_factors(t, swap) for t in sp.Add.make_args(expr)))
    return expr


def _in_factors(term: sp.Expr, swap: dict[sp.Expr, sp.Expr]) -> sp.Expr:
    """Factors of a product, or their bases, in place of which others stand."""
    powers = (f.as_base_exp() for f in sp.Mul.make_args(term))
    return sp.Mul(*(swap.get(base, base) ** exponent for base, exponent in powers))
