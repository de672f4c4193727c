"""A coordinatewise expression as a sum of terms: coefficient × core, summed over finite indices.

A *core* is a bare vector, a nonlinear function of vectors, or 1; the coefficient holds no vector. Second
moments are bilinear in terms, which is what turns a convolution's taps or an attention-weighted sum into a
recursion for its covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

from tp.limit.clauses import at, fresh
from tp.program.ir import Domain, Range

IsVector = Callable[[sp.Basic], bool]

MOST = 1000
"""Terms that a product is multiplied out to, at most: the number grows exponentially with its factors."""


class TooMany(Exception):
    """A product of sums over indices would be more than ``MOST`` terms."""


@dataclass(frozen=True, slots=True)
class Term:
    """``Σ_bounds coef · core``."""

    coef: sp.Expr
    core: sp.Expr
    bounds: Domain = ()

    @property
    def number(self) -> sp.Expr:
        """What there is in ``coef`` of numbers."""
        return sp.Mul(*(a for a in sp.Mul.make_args(self.coef) if a.is_number))


def terms(expr: sp.Expr, has_vector: IsVector, whole: IsVector | None = None) -> list[Term]:
    """``expr`` as a list of terms. Products distribute over sums; powers of sums over indices multiply out.

    What is ``whole`` stays one core, sum or not: ``1 - tanh(u)^2`` is one function of u; so does a product of very many terms.
    Raises ``TooMany`` where such a product holds sums over indices.
    """
    if not has_vector(expr):
        return [Term(expr, sp.S.One)] if expr != 0 else []
    if whole is not None and whole(expr):
        return [Term(sp.S.One, expr)]
    if isinstance(expr, sp.Add):
        return [t for arg in expr.args for t in terms(arg, has_vector, whole)]
    if isinstance(expr, sp.Sum):
        ranges = tuple(Range(s, lo, hi) for s, lo, hi in reversed(expr.limits))  # outermost first
        return [Term(t.coef, t.core, ranges + t.bounds) for t in terms(expr.function, has_vector, whole)]
    if isinstance(expr, sp.Mul):
        scale = sp.Mul(*(a for a in expr.args if not has_vector(a)))
        product = [Term(scale, sp.S.One)]
        for factor in (a for a in expr.args if has_vector(a)):
            inner = terms(factor, has_vector, whole)
            if len(product) * len(inner) > MOST:
                if expr.has(sp.Sum):
                    raise TooMany
                return [Term(scale, sp.Mul(*(a for a in expr.args if has_vector(a))))]
            product = _collected([times(left, right) for left in product for right in inner])
        return product
    if isinstance(expr, sp.Pow) and expr.exp.is_Integer and 1 < expr.exp <= 4 and _splits(expr.base, whole):
        return terms(sp.Mul(*[expr.base] * int(expr.exp), evaluate=False), has_vector, whole)
    return [Term(sp.S.One, expr)]


def _collected(product: list[Term]) -> list[Term]:
    """Terms with the same core taken together, as far as they hold no bound indices."""
    coefficients: dict[sp.Expr, list[sp.Expr]] = {}
    for t in product:
        if not t.bounds:
            coefficients.setdefault(t.core, []).append(t.coef)
    bound = [t for t in product if t.bounds]
    return [Term(sp.Add(*cs), core) for core, cs in coefficients.items()] + bound


def _splits(base: sp.Expr, whole: IsVector | None) -> bool:
    """Whether a power's base is a sum of several vectors, or a sum over an index."""
    return base.has(sp.Sum) or (isinstance(base, sp.Add) and not (whole is not None and whole(base)))


def times(left: Term, right: Term) -> Term:
    """The product of two terms; the right one's bound indices are renamed where they clash."""
    right = rename(right, _symbols(left))
    return Term(left.coef * right.coef, left.core * right.core, left.bounds + right.bounds)


def rename(term: Term, taken: set[sp.Basic]) -> Term:
    """``term`` with bound indices that are not in ``taken``: s becomes s'."""
    for r in term.bounds:
        if r.index in taken:
            new = fresh(r.index, taken | _symbols(term))
            term = Term(
                at(term.coef, {r.index: new}),
                at(term.core, {r.index: new}),
                tuple(
                    Range(new if b.index == r.index else b.index, at(b.lo, {r.index: new}), at(b.hi, {r.index: new}))
                    for b in term.bounds
                ),
            )
    return term


def _symbols(term: Term) -> set[sp.Basic]:
    found: set[sp.Basic] = set(term.coef.atoms(sp.Symbol)) | set(term.core.atoms(sp.Symbol))  # a softmax's bound index too
    for r in term.bounds:
        found |= {r.index} | r.lo.free_symbols | r.hi.free_symbols
    return found
