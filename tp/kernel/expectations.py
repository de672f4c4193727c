"""Expectations in normal form: one or two variables, named U and V, over cells; or three or four, named by sample, U and V first.

Variables that are the same member at the same sample are one; which they are is decided by index, at build time
where it can be and else by a :class:`Same` at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sympy as sp

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian.expectation import Expectation
from tp.gaussian.sides import split
from tp.kernel.cells import Same, Spot, U, V
from tp.limit.equations import I, Z

Cells = Callable[[sp.Expr], sp.Expr]
Spots = Callable[[Z], tuple[Spot, ...]]
Matrix = Sequence[Sequence[sp.Expr]]

HIGHEST = 400
"""Degree of a polynomial at most: E[u^400] is 399!!, 10^434."""


def normal(e: Expectation, cells: Cells, spots: Spots) -> sp.Expr:
    """``e`` with entries as cells (by ``cells``), its variables merged and named."""
    variables: list[Z] = []
    rows: list[int] = []
    for k, z in enumerate(e.variables):
        if z not in variables and e.integrand.has(z):
            variables.append(z)
            rows.append(k)
    cov = [[e.cov[a, b] for b in rows] for a in rows]
    return _reduced(e.integrand, variables, cov, cells, spots)


def _reduced(integrand: sp.Expr, variables: list[Z], cov: Matrix, cells: Cells, spots: Spots) -> sp.Expr:
    used = [k for k, z in enumerate(variables) if integrand.has(z)]
    if len(used) < len(variables):
        return _reduced(integrand, [variables[k] for k in used], [[cov[a][b] for b in used] for a in used], cells, spots)
    if not variables:
        return cells(integrand)
    if integrand.is_polynomial(*variables):
        if (highest := degree(integrand, variables)) > HIGHEST:
            reason = f"this takes the mean of a polynomial of degree {highest:,}, which double precision does not hold"
            raise LimitError(Message(NOWHERE, reason, f"powers that come to {HIGHEST} at most, both sides together", "too large"))
        poly = sp.Poly(integrand, *variables)
        if poly.total_degree() <= 2 or len(variables) > 2:
            return sp.Add(*(cells(c) * moment(powers, cov, cells) for powers, c in poly.terms()))
    if len(variables) == 1:
        return Expectation(_named(integrand, variables, cells), (U,), [[cells(cov[0][0])]])
    if len(variables) == 2:
        return _pair(integrand, variables, cov, cells, spots)
    return _many(integrand, variables, cov, cells, spots)


def degree(e: sp.Expr, variables: Sequence[sp.Expr]) -> int:
    """Of a polynomial, without multiplying it out; where leading terms cancel it is less."""
    if e in variables:
        return 1
    if isinstance(e, sp.Pow):
        return int(e.exp) * degree(e.base, variables) if e.exp.is_Integer else 0
    if isinstance(e, (sp.Add, sp.Mul)):
        return (max if isinstance(e, sp.Add) else sum)(degree(a, variables) for a in e.args)
    return 0


def _named(integrand: sp.Expr, variables: Sequence[Z], cells: Cells) -> sp.Expr:
    named = integrand.xreplace(dict(zip(variables, (U, V), strict=False)))
    return cells(named)


def _pair(integrand: sp.Expr, variables: list[Z], cov: Matrix, cells: Cells, spots: Spots) -> sp.Expr:
    first, second = (1, 0) if variables[0].s != I and variables[1].s == I else (0, 1)
    u, v = variables[first], variables[second]
    q1, c, q2 = (cells(cov[a][b]) for a, b in ((first, first), (first, second), (second, second)))
    apart = Expectation(_named(integrand, (u, v), cells), (U, V), [[q1, c], [c, q2]])
    where = _where(u, v, spots)
    if where is None:
        return apart
    one_variable = _named(integrand.xreplace({v: u}), (u,), cells)
    together = Expectation(one_variable, (U,), [[q1]]) if one_variable.has(U) else one_variable
    return Same(sp.Tuple(*where), together, apart)


def _where(u: Z, v: Z, spots: Spots) -> list[sp.Tuple] | None:
    """What has to coincide for two variables to be one; None where they never are."""
    if u.a.name != v.a.name:
        return None
    where = []
    for one, two in zip(spots(u), spots(v), strict=True):
        difference = sp.expand(one.args[0] - two.args[0])
        if (
            difference.is_number
            and difference != 0
            and one.args[3] == two.args[3]
            and str(one.args[3]) not in ("circular", "reflect")
        ):
            return None
        if difference != 0:
            where.append(sp.Tuple(one, two))
    return where


def _many(integrand: sp.Expr, variables: list[Z], cov: Matrix, cells: Cells, spots: Spots) -> sp.Expr:
    """Three or more variables: sums are taken apart, and products where their factors are independent."""
    expanded = sp.expand(integrand)
    if isinstance(expanded, sp.Add):
        terms = sp.Add(*(_reduced(t, variables, cov, cells, spots) for t in expanded.args))
        whole = any(len(e.variables) > 2 for e in terms.atoms(Expectation))
        return _together(integrand, variables, cov, cells, spots) if whole and len(variables) <= 4 else terms
    groups: list[tuple[set[Z], list[sp.Expr]]] = []
    for factor in sp.Mul.make_args(expanded):
        mine = {z for z in variables if factor.has(z)}
        meeting = [g for g in groups if any(cov[variables.index(a)][variables.index(b)] != 0 for a in mine for b in g[0])]
        groups = [g for g in groups if g not in meeting]
        groups.append((mine.union(*(g[0] for g in meeting)), [factor, *(f for g in meeting for f in g[1])]))
    if len(groups) > 1:
        return sp.Mul(*(_reduced(sp.Mul(*factors), variables, cov, cells, spots) for _, factors in groups))
    return _together(expanded, variables, cov, cells, spots)


def _together(integrand: sp.Expr, variables: list[Z], cov: Matrix, cells: Cells, spots: Spots) -> sp.Expr:
    """One expectation over all variables, named by their sample; where those of both are the same, over half as many."""
    named: list[sp.Symbol] = []
    for z in variables:
        base = V if z.s != I else U
        taken = sum(x.name.startswith(base.name) for x in named)
        named.append(sp.Symbol(f"{base.name}{taken or ''}", real=True))
    inside = cells(integrand.xreplace(dict(zip(variables, named, strict=True))))
    split([inside], named)  # which says so where there is no rule
    apart = Expectation(inside, named, [[cells(c) for c in row] for row in cov])
    half, rest = variables[: len(variables) // 2], variables[len(variables) // 2 :]
    where = [_where(u, v, spots) for u, v in zip(half, rest, strict=False)]
    if len(half) < len(rest) or None in where:
        return apart
    one = integrand.xreplace(dict(zip(rest, half, strict=True)))
    own = [sp.Symbol(f"{U.name}{k or ''}", real=True) for k in range(len(half))]
    block = [[cells(c) for c in row[: len(half)]] for row in cov[: len(half)]]
    found = Expectation(cells(one.xreplace(dict(zip(half, own, strict=True)))), own, block)
    return Same(sp.Tuple(*dict.fromkeys(pair for some in where for pair in some or ())), found, apart)


def moment(powers: Sequence[int], cov: Matrix, cells: Cells) -> sp.Expr:
    """E Π z_k^{m_k} = Σ over pairings Π cov.  Isserlis 1918."""
    first = next((k for k, m in enumerate(powers) if m), None)
    if first is None:
        return sp.S.One
    if sum(powers) % 2:
        return sp.S.Zero
    rest = [m - (k == first) for k, m in enumerate(powers)]
    total = sp.S.Zero
    for k, m in enumerate(rest):
        if m:
            left = [x - (j == k) for j, x in enumerate(rest)]
            total += m * cells(cov[first][k]) * moment(left, cov, cells)
    return total
