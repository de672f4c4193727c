"""Powers of the width: factor them out of a kernel that grows or vanishes, and keep the leading terms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import sympy as sp

from tp.limit.equations import Entry, Equation, Limit, Value
from tp.limit.tidy import multiplied_out

Family = tuple[str, str, str]  # kind, name, name


def degree(expr: sp.Expr, widths: Iterable[sp.Symbol]) -> sp.Expr:
    """The exponent of the width in a sum of monomials: the largest over its terms."""
    symbols = sorted(widths, key=str)
    return sp.Max(*(_monomial(term, symbols) for term in multiplied_out(expr)))


def _monomial(term: sp.Expr, widths: list[sp.Symbol]) -> sp.Expr:
    total = sp.S.Zero
    for factor in sp.Mul.make_args(term):
        base, exponent = factor.as_base_exp()
        if base in widths:
            total += exponent
        elif isinstance(factor, sp.Sum):
            total += degree(factor.function, widths)
    return total


def leading(limit: Limit) -> Limit:
    """Every family divided by its power of n, keeping the terms that attain it; ``power`` per output kernel.

    In a kernel parametrization nothing carries n and the limit is returned as it is.
    """
    widths = sorted(set().union(*(s.size.free_symbols for s in limit.program.spaces)), key=str)
    if not any(e.rhs.free_symbols & set(widths) for e in limit.equations):
        return replace(limit, power=dict.fromkeys(limit.kinds, sp.S.Zero))
    powers = _powers(limit.equations, widths)
    equations = tuple(replace(e, rhs=_keep(e.rhs, powers[family(e.lhs)], powers, widths)) for e in limit.equations)
    power = {kind: max((powers[(kind, f.name, f.name)] for f in limit.outputs), default=sp.S.Zero) for kind in limit.kinds}
    return replace(limit, equations=equations, power=power)


def _powers(equations: tuple[Equation, ...], widths: list[sp.Symbol]) -> dict[Family, sp.Expr]:
    """The power of n of every family: the least solution of the max-plus system, by iteration from −∞."""
    powers: dict[Family, sp.Expr] = {family(e.lhs): -sp.oo for e in equations}
    for _ in range(len(powers) + 2):
        new = dict.fromkeys(powers, -sp.oo)
        for e in equations:
            key = family(e.lhs)
            found = [_size(term, powers, widths) for term in multiplied_out(e.rhs)]
            new[key] = sp.Max(new[key], *found)
        if new == powers:
            break
        powers = new
    return {key: (sp.S.Zero if p == -sp.oo else p) for key, p in powers.items()}


def _size(term: sp.Expr, powers: dict[Family, sp.Expr], widths: list[sp.Symbol]) -> sp.Expr:
    if term == 0:
        return -sp.oo
    total = _monomial(term, widths)
    for factor in sp.Mul.make_args(term):
        if isinstance(factor, sp.Sum):
            total += sp.Max(-sp.oo, *(_entries(t, powers) for t in multiplied_out(factor.function)))
        else:
            total += _entries(factor, powers)
    return total


def _entries(term: sp.Expr, powers: dict[Family, sp.Expr]) -> sp.Expr:
    atoms = [a for a in sp.Mul.make_args(term) if isinstance(a, (Entry, Value))]
    return sp.Add(*(powers.get(family(a), sp.S.Zero) for a in atoms))


def _keep(rhs: sp.Expr, power: sp.Expr, powers: dict[Family, sp.Expr], widths: list[sp.Symbol]) -> sp.Expr:
    """The terms of size ``power``, with their width factors at 1."""
    kept = [t for t in multiplied_out(rhs) if _size(t, powers, widths) == power]
    return sp.Add(*(t.subs(dict.fromkeys(widths, 1)) for t in kept))


def family(atom: Entry | Value) -> Family:
    """What an entry of a kernel or a scalar's limit belongs to, at whatever indices."""
    if isinstance(atom, Entry):
        return (atom.kind_name, atom.a.name, atom.b.name)
    return (atom.kind_name, atom.a.name, atom.a.name)
