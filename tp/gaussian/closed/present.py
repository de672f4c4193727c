"""Closed forms made to read well: terms collected under their transcendental factors, roots joined, angles named."""

from __future__ import annotations

import sympy as sp

from tp.gaussian.closed.moments import Combination

THETA = sp.Symbol("theta", real=True)


def collect(values: Combination) -> sp.Expr:
    """Σ factor · coefficient, each coefficient factored; an arcsine is turned into π − θ where that is shorter."""
    values = dict(values)
    plain = values.pop(sp.S.One, sp.S.Zero)
    out = []
    for atom, coef in values.items():
        tidy = by_roots(coef)
        if tidy == 0:
            continue
        if isinstance(atom, sp.asin) and _shorter(plain - tidy * sp.pi / 2, plain):
            plain -= tidy * sp.pi / 2
            atom = sp.pi - sp.acos(atom.args[0])
        out.append(tidy * atom)
    return sp.Add(by_roots(plain), *out)


def _shorter(a: sp.Expr, b: sp.Expr) -> bool:
    return len(sp.Add.make_args(sp.expand(a))) < len(sp.Add.make_args(sp.expand(b)))


def by_roots(e: sp.Expr) -> sp.Expr:
    """``e`` grouped by its square roots, each rational coefficient factored."""
    groups: dict[sp.Expr, list[sp.Expr]] = {}
    for factors in _expanded(e):
        root, rational = sp.S.One, sp.S.One
        for factor in factors:
            base, power = factor.as_base_exp()
            if power.is_Rational and not power.is_Integer and not base.is_Number:
                whole = sp.floor(power)
                root *= base ** (power - whole)
                rational *= base**whole
            else:
                rational *= factor
        groups.setdefault(root, []).append(rational)
    sums = ((root, sp.Add(*parts)) for root, parts in groups.items())
    return sp.Add(*(_reduced(root, sp.factor(r)) if _is_short(r) else root * sp.factor_terms(r) for root, r in sums))


def _is_short(e: sp.Expr) -> bool:
    """Whether factoring ``e`` is quick."""
    return len(sp.Add.make_args(e)) <= 20 and e.count_ops() <= 600


def _expanded(e: sp.Expr) -> list[list[sp.Expr]]:
    """The terms of ``e`` as lists of factors; numerators multiplied out, denominators left as they are."""
    out = []
    for term in sp.Add.make_args(e):
        above, below = sp.fraction(term)
        under = [1 / f for f in sp.Mul.make_args(below)]
        out += [[*sp.Mul.make_args(part), *under] for part in sp.Add.make_args(sp.expand_mul(above))]
    return out


def _reduced(root: sp.Expr, rational: sp.Expr) -> sp.Expr:
    """root · rational, where √b/b is written 1/√b."""
    for base in [f.as_base_exp()[0] for f in sp.Mul.make_args(root) if f != 1]:
        below = sp.fraction(rational)[1]
        if below.has(sp.Symbol):
            raised = sp.factor(rational * base)
            if sp.fraction(raised)[1].count_ops() < below.count_ops():
                root, rational = root / base, raised
    return root * rational


def join_roots(e: sp.Expr) -> sp.Expr:
    """√a √b -> √(ab), below the bar too, where SymPy lets the product stand; exponents factored."""
    e = e.replace(lambda part: isinstance(part, sp.exp), lambda part: sp.exp(sp.factor_terms(part.args[0])))
    return e.replace(lambda part: isinstance(part, sp.Mul), _join)


def _join(product: sp.Mul) -> sp.Expr:
    rest: list[sp.Expr] = []
    joined: dict[int, list[sp.Expr]] = {1: [], -1: []}
    for factor in product.args:
        base, power = factor.as_base_exp()
        if abs(power) == sp.Rational(1, 2) and not base.is_Number and base is not sp.pi:
            joined[int(2 * power)].append(base)
        else:
            rest.append(factor)
    if max(map(len, joined.values())) < 2:
        return product
    roots = [sp.Pow(sp.Mul(*bases), sp.Rational(sign, 2)) for sign, bases in joined.items() if bases]
    return sp.Mul(*rest, *roots)


def name_angle(e: sp.Expr) -> tuple[sp.Expr, tuple[tuple[sp.Symbol, sp.Expr], ...]]:
    """``e`` with its only arc cosine called θ, and the definition of θ."""
    angles = list(e.atoms(sp.acos))
    if len(angles) != 1 or e.has(THETA):
        return e, ()
    return e.xreplace({angles[0]: THETA}), ((THETA, angles[0]),)
