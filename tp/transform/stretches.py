"""Conditions on indices: where a contribution applies, and the stretches of a range on which a formula is plain.

The backward pass asks "which reads meet this member": the answer holds Kronecker deltas and range conditions, which are
decided here where index arithmetic can decide them.
"""

from __future__ import annotations

from itertools import pairwise

import sympy as sp

from tp.program.affine import affine, highest, lowest
from tp.program.ir import Domain, Range, Softmax, Sum


def equal(e: sp.Expr, f: sp.Expr) -> sp.Expr:
    return sp.S.One if sp.expand(e - f) == 0 else sp.KroneckerDelta(e, f)


def inside(e: sp.Expr, r: Range) -> sp.Expr:
    return sp.Piecewise((1, sp.And(e >= r.lo, e <= r.hi)), (0, True))


def begun(e: sp.Expr, r: Range, ranges: Domain, domain: Domain) -> Domain | None:
    """``ranges`` cut to where ``e`` lies in ``r``, if that ends at one of their indices, or before it.

    Of ``e in 1..t`` it is t from e on, of ``e in 1..t-1`` t from e + 1 on, which may be empty.
    """
    beyond = affine(sp.expand(e - r.lo))
    for k, other in enumerate(ranges):
        start = sp.expand(e + other.index - r.hi)
        more = affine(sp.expand(start - other.lo))
        if start not in (e, sp.expand(e + 1)) or not e.free_symbols <= {x.index for x in domain}:
            continue
        if beyond is not None and more is not None and lowest(beyond, domain) >= 0 and lowest(more, domain) >= 0:
            return (*ranges[:k], Range(other.index, start, other.hi), *ranges[k + 1 :])
    return None


def solvable(e: sp.Expr, slot: sp.Expr, ranges: Domain) -> Range | None:
    """An index that ``e = slot`` determines; rather the reader's own position than a tap."""
    found = [r for r in ranges if sp.expand(e).coeff(r.index) in (1, -1)]
    same = [r for r in found if r.index.name.rstrip("*") == str(slot)]
    chosen = same or found
    return chosen[-1] if chosen else None


def bound(values: list[sp.Expr], domain: Domain, sign: int) -> sp.Expr:
    best = values[0]
    for value in values[1:]:
        difference = affine(sp.expand(value - best))
        if difference is None:
            continue
        if (sign > 0 and lowest(difference, domain) > 0) or (sign < 0 and highest(difference, domain) < 0):
            best = value
    return best


def stretches(total: sp.Expr, domain: Domain) -> list[tuple[Domain, dict[sp.Symbol, sp.Expr]]]:
    """``domain`` cut where a condition on one of its indices changes, so that each part has a plain formula."""
    parts: list[tuple[Domain, dict[sp.Symbol, sp.Expr]]] = [((), {})]
    for r in domain:
        cuts = _cuts(total, r, domain)
        pieces = [(lo, hi) for lo, hi in _intervals(r, cuts)]
        parts = [
            ((*done, Range(r.index, lo.subs(b), hi.subs(b))), b) if lo != hi else (done, {**b, r.index: lo.subs(b)})
            for done, b in parts
            for lo, hi in pieces
        ]
    return parts


def _cuts(total: sp.Expr, r: Range, domain: Domain) -> list[sp.Expr]:
    """Values v such that something changes between v − 1 and v."""
    own = {x.index for x in domain}
    found: set[sp.Expr] = set()
    for delta in total.atoms(sp.KroneckerDelta):
        difference = sp.expand(delta.args[0] - delta.args[1])
        if (
            difference.free_symbols & own == {r.index}
            and difference.coeff(r.index) in (1, -1)
            and not _bound_symbols(total, difference)
        ):
            at = sp.expand(r.index - difference.coeff(r.index) * difference)
            found |= {at, at + 1}
    for relation in total.atoms(sp.core.relational.Relational):
        difference = sp.expand(relation.lhs - relation.rhs)
        slope = difference.coeff(r.index)
        if difference.free_symbols & own == {r.index} and slope in (1, -1) and not _bound_symbols(total, difference):
            at = sp.expand(r.index - slope * difference)
            lower = (relation.rel_op == ">=") == (slope > 0)
            found.add(at if lower else at + 1)
    return [c for c in found if _between(c, r)]


def _bound_symbols(total: sp.Expr, e: sp.Expr) -> bool:
    bound = {s for t in total.atoms(sp.Sum) for s, _, _ in t.limits}
    return bool(e.free_symbols & bound)


def _between(cut: sp.Expr, r: Range) -> bool:
    """Whether lo < cut ≤ hi is possible."""
    low, high = affine(sp.expand(cut - r.lo)), affine(sp.expand(r.hi - cut))
    return low is not None and high is not None and highest(low, ()) > 0 and highest(high, ()) >= 0


def _intervals(r: Range, cuts: list[sp.Expr]) -> list[tuple[sp.Expr, sp.Expr]]:
    ordered: list[sp.Expr] = []
    for cut in sorted(cuts, key=str):
        place = sum(1 for c in ordered if _before(c, cut))
        ordered.insert(place, cut)
    ends = [r.lo, *ordered, r.hi + 1]
    return [(a, sp.expand(b - 1)) for a, b in pairwise(ends) if not _empty(a, b)]


def _before(a: sp.Expr, b: sp.Expr) -> bool:
    difference = affine(sp.expand(b - a))
    return difference is not None and lowest(difference, ()) > 0


def _empty(a: sp.Expr, b: sp.Expr) -> bool:
    difference = affine(sp.expand(b - a))
    return difference is not None and highest(difference, ()) <= 0


def resolved(total: sp.Expr, domain: Domain) -> sp.Expr:
    """Conditions that are decided on the whole of ``domain``, and of the sums around them, decided."""
    decided = _decided(total, domain)
    return total.doit(deep=False) if decided == total else _tidied(decided)


def _decided(expr: sp.Basic, domain: Domain) -> sp.Basic:
    if not expr.has(sp.KroneckerDelta, sp.core.relational.Relational):
        return expr
    if isinstance(expr, (sp.KroneckerDelta, sp.core.relational.Relational)):
        difference = affine(sp.expand(expr.args[0] - expr.args[1]))
        if difference is None:
            return expr
        low, high = lowest(difference, domain), highest(difference, domain)
        if isinstance(expr, sp.KroneckerDelta):
            return sp.S.Zero if low > 0 or high < 0 else expr
        yes, no = (low >= 0, high < 0) if expr.rel_op == ">=" else (high <= 0, low > 0)
        return sp.true if yes else sp.false if no else expr
    if isinstance(expr, sp.Sum):
        inner = (*domain, *(Range(s, lo, hi) for s, lo, hi in reversed(expr.limits)))
        return Sum(_decided(expr.function, inner), *expr.limits)
    if isinstance(expr, Softmax):
        at, body, bound, lo, hi = expr.args
        return Softmax(_decided(at, domain), _decided(body, (*domain, Range(bound, lo, hi))), bound, lo, hi)
    return expr.func(*(_decided(a, domain) for a in expr.args))


def _tidied(expr: sp.Expr) -> sp.Expr:
    """Decided Piecewise conditions folded."""
    swap = {}
    for piece in expr.atoms(sp.Piecewise):
        folded = sp.Piecewise(*piece.args)
        if folded != piece:
            swap[piece] = folded
    return expr.xreplace(swap)
