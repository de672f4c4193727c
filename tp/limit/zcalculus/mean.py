"""E[g(u, v, …)] of jointly Gaussian atoms: linearity, independence, symmetry and Stein before any integral is written.

What is left is an ``Expectation`` over the atoms that really meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.limit.terms import MOST
from tp.limit.zcalculus.atoms import RANDOM, Image, Jump
from tp.program.derivative import derivative
from tp.program.ir import spelled

Covariance = Callable[[sp.Expr, sp.Expr], sp.Expr]
SINGULAR = (sp.DiracDelta, sp.Derivative, sp.Subs, Jump)
TINY = 1e-3
"""What a denominator is at 0, below which its function is taken for one that jumps there."""


def gaussians(expr: sp.Basic) -> list[sp.Expr]:
    """The Gaussian atoms of an expression, in a fixed order; not those inside expectations and covariances."""
    found: set[sp.Expr] = set()
    stack = [expr]
    while stack:
        e = stack.pop()
        if isinstance(e, RANDOM):
            found.add(e)
        elif _opaque(e):
            continue
        else:
            stack.extend(e.args)
    return sorted(found, key=spelled)


def rough(expr: sp.Expr, variables: Iterable[sp.Expr]) -> bool:
    """Whether ``expr`` jumps at 0, or nearly so, as g/(|g| + ε) does: derivatives would be spikes that no quadrature sees."""
    zero = dict.fromkeys(variables, sp.S.Zero)
    for power in expr.atoms(sp.Pow):
        if power.exp.is_number and (power.exp < 0 or not power.exp.is_Integer):
            at = power.base.xreplace(zero)
            if at != power.base and at.is_comparable and abs(at) < TINY:
                return True
    return False


def nested(expr: sp.Expr) -> bool:
    """Whether a function stands inside another: derivatives of these are long, and no rule closes their means."""
    inside = (a for f in expr.atoms(sp.Function, Image) for a in f.args)
    return any(gaussians(f) for a in inside for f in a.atoms(sp.Function, Image))


def coefficients(expr: sp.Expr) -> dict[sp.Expr, sp.Expr] | None:
    """The c of Σ c·u + c₀ over Gaussian atoms u, c₀ under the key 1; None of what is no such combination."""
    if isinstance(expr, RANDOM):
        return {expr: sp.S.One}
    if not gaussians(expr):
        return {sp.S.One: expr}
    if isinstance(expr, sp.Add):
        terms: dict[sp.Expr, list[sp.Expr]] = {}
        for found in map(coefficients, expr.args):
            if found is None:
                return None
            for u, c in found.items():
                terms.setdefault(u, []).append(c)
        return {u: sp.Add(*cs) for u, cs in terms.items()}
    if isinstance(expr, sp.Mul):
        varying = [f for f in expr.args if gaussians(f)]
        found = coefficients(varying[0]) if len(varying) == 1 else None
        scale = sp.Mul(*(f for f in expr.args if f is not varying[0]))
        return None if found is None else {u: scale * c for u, c in found.items()}
    return None


def _opaque(e: sp.Basic) -> bool:
    from tp.limit.equations import Entry, Value
    from tp.limit.zcalculus.atoms import Cov, Slope

    return isinstance(e, (Expectation, Cov, Slope, Entry, Value))


def mean(expr: sp.Expr, cov: Covariance) -> sp.Expr:
    """E[expr], by the rules above."""
    return sp.Add(*(_term(t, cov) for t in products(expr)))


def products(expr: sp.Expr) -> list[sp.Expr]:
    """The terms of ``expr`` with products multiplied out; a nonlinear sum in one atom stays whole, and so do very many terms."""
    if isinstance(expr, sp.Add):
        if len(gaussians(expr)) == 1 and _curved(expr):
            return [expr]
        return [t for a in expr.args for t in products(a)]
    if isinstance(expr, sp.Mul):
        out = _multiplied([products(factor) for factor in expr.args])
        return [expr] if out is None or len(out) == 1 else out
    if isinstance(expr, sp.Pow) and expr.exp.is_Integer and 1 < expr.exp <= 8 and isinstance(expr.base, sp.Add):
        inner = products(expr.base)
        out = _multiplied([inner] * int(expr.exp)) if len(inner) > 1 else None
        return [expr] if out is None else out
    return [expr]


def _multiplied(factors: list[list[sp.Expr]]) -> list[sp.Expr] | None:
    """The terms of a product of sums, equal ones taken together; None of more than ``MOST``."""
    out = [sp.S.One]
    for terms in factors:
        if len(out) * len(terms) > MOST:
            return None
        out = [a * b for a in out for b in terms]
        out = list(sp.Add.make_args(sp.Add(*out))) if min(len(out), len(terms)) > 1 else out
    return out


def _curved(expr: sp.Expr) -> bool:
    (atom,) = gaussians(expr)
    return not expr.is_polynomial(atom) and any(not gaussians(a) for a in expr.args)


def _term(term: sp.Expr, cov: Covariance) -> sp.Expr:
    """One product: independent groups of factors have independent means."""
    groups: list[tuple[set[sp.Expr], list[sp.Expr]]] = []
    outside = []
    for factor in sp.Mul.make_args(term):
        atoms = set(gaussians(factor))
        if not atoms:
            outside.append(factor)
            continue
        meeting = [g for g in groups if _meet(atoms, g[0], cov)]
        groups = [g for g in groups if g not in meeting]
        groups.append((atoms.union(*(g[0] for g in meeting)), [f for g in meeting for f in g[1]] + [factor]))
    value = sp.Mul(*outside)
    for _, factors in sorted(groups, key=lambda g: len(g[0])):
        if value == 0:
            break
        value *= _group(sp.Mul(*factors), cov)
    return value


def _meet(one: set[sp.Expr], two: set[sp.Expr], cov: Covariance) -> bool:
    return bool(one & two) or any(cov(a, b) != 0 for a in sorted(one, key=spelled) for b in sorted(two, key=spelled))


def _group(expr: sp.Expr, cov: Covariance) -> sp.Expr:
    """The mean of a product whose atoms all meet."""
    atoms = gaussians(expr)
    if expr == atoms[0]:
        return sp.S.Zero
    if len(atoms) <= 2 and expr == atoms[0] * atoms[-1]:
        return cov(atoms[0], atoms[-1])
    flipped = expr.xreplace({a: -a for a in atoms})
    if flipped == -expr:
        return sp.S.Zero
    reduced = _by_stein(expr, atoms, cov)
    return _written(expr, atoms, cov) if reduced is None else reduced


def _by_stein(expr: sp.Expr, atoms: list[sp.Expr], cov: Covariance) -> sp.Expr | None:
    """E[u g(v)] = Σ_v Cov(u, v) E[∂g/∂v] for a factor u that g does not depend on: one variable less."""
    for u in atoms:
        if u not in sp.Mul.make_args(expr):
            continue
        rest = sp.Mul(*(f for f in sp.Mul.make_args(expr) if f != u))
        if u in gaussians(rest) or rough(rest, atoms):
            continue
        slopes = {v: derivative(rest, v) for v in atoms if v != u}
        if not any(s.has(*SINGULAR) for s in slopes.values()):
            return sp.Add(*(c * mean(s, cov) for v, s in slopes.items() if s != 0 and (c := cov(u, v)) != 0))
    return None


def _written(expr: sp.Expr, atoms: list[sp.Expr], cov: Covariance) -> Expectation:
    n = len(atoms)
    matrix = [[sp.S.Zero] * n for _ in atoms]
    for i in range(n):
        matrix[i][i] = cov(atoms[i], atoms[i])
    for i, j in combinations(range(n), 2):
        matrix[i][j] = matrix[j][i] = cov(atoms[i], atoms[j])
    return Expectation(expr, atoms, matrix)
