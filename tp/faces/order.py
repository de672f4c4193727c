"""The order in which a paper writes terms, factors and indices; SymPy's own is alphabetical."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from tp.faces.decimals import Written
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, Equation, I, J, Random, Value, Z
from tp.program.ir import Domain, Ref, Sum


class Short(sp.Symbol):
    """A letter that stands for a kernel entry, or a part of a formula, within one equation."""


def is_theta(expr: sp.Basic) -> bool:
    """Does the tangent kernel stand in it?"""
    return any(str(e.args[0]) == "Theta" for e in expr.atoms(Entry))


def outside(expr: sp.Expr) -> sp.Expr:
    """Constants in front of finite sums, not inside."""

    def pulled(total: sp.Sum) -> sp.Expr:
        inside: list[sp.Expr] = []
        scalar: list[sp.Expr] = []
        bound = set(total.bound_symbols)
        for factor in sp.Mul.make_args(total.function):
            (inside if factor.free_symbols & bound or factor.has(*_VARYING) else scalar).append(factor)
        return sp.Mul(*scalar) * Sum(sp.Mul(*inside), *total.limits) if scalar and inside else total

    return expr.replace(lambda e: isinstance(e, sp.Sum), pulled)


def in_factors(expr: sp.Expr) -> sp.Expr:
    """Expectations of ``a²b² − a² − b² + 1`` as ``(1 − a²) (1 − b²)``, where that is shorter; numbers in front, not inside."""
    swap = {}
    for e in expr.atoms(Expectation):
        integrand = _product_of(e.integrand) or e.integrand
        parts = [f.primitive() if f.is_Add else (sp.S.One, f) for f in sp.Mul.make_args(integrand)]
        content = sp.Mul(*(c for c, _ in parts))
        if content != 1 or integrand is not e.integrand:
            swap[e] = content * Expectation(sp.Mul(*(p for _, p in parts)), e.variables, e.cov)
    return expr.xreplace(swap) if swap else expr


FEW = 8
"""Functions, and terms of them, of a sum that is factored for print."""


def _product_of(expr: sp.Expr) -> sp.Expr | None:
    """A sum of products of functions and their even powers as a product of sums; None where it is none, or longer."""
    coefficient, total = expr.as_independent(sp.Add, as_Add=False) if expr.is_Mul else (sp.S.One, expr)
    powers = {p for t in sp.Add.make_args(total) for p in sp.Mul.make_args(t) if not p.is_number}
    if not total.is_Add or len(total.args) > FEW or not 0 < len(powers) <= FEW:
        return None
    names = {p: sp.Dummy(real=True) for p in powers}
    found = sp.factor(total.xreplace(names))
    if not found.is_Mul or sum(f.is_Add for f in found.args) == 0:
        return None
    turned = [f for f in found.args if f.is_Add and f.has(*names.values()) and _falls(f)]
    sign = sp.Integer(-1) ** len(turned)
    factors = [-f if f in turned else f for f in found.args]
    short = sp.Mul(sign * coefficient, *factors).xreplace({d: p for p, d in names.items()})
    return short if short.count_ops() < expr.count_ops() else None


def _falls(f: sp.Expr) -> bool:
    """``a - 1``, which is written ``1 - a``."""
    return sum(bool(t.is_number and t < 0) for t in f.args) == 1 and all(
        t.is_number or not t.could_extract_minus_sign() for t in f.args
    )


def factored(expr: sp.Expr) -> sp.Expr:
    """A sum with what its terms share written once: an expectation or a denominator in two of them, any factor in three.

    What saves most comes first; terms without a common factor stay as they are.
    """
    if not expr.is_Add:
        return expr
    products = [frozenset(_shareable(t)) for t in expr.args]
    found: dict[frozenset[sp.Expr], int] = {}
    for factor in sorted((f for f in frozenset().union(*products) if f.has(*_VARYING)), key=sp.default_sort_key):
        holders = [p for p in products if factor in p]
        shared = frozenset.intersection(*holders)
        if len(holders) > (1 if any(f.has(Expectation) or _is_below(f) for f in shared) else 2):
            found[shared] = (len(holders) - 1) * sum(1 + f.count_ops() for f in shared)
    if not found:
        return expr
    shared = max(found, key=lambda s: found[s])
    inside = [
        sp.Mul(*(f for f in _all_factors(t) if f not in shared)) for t, p in zip(expr.args, products, strict=True) if shared <= p
    ]
    rest = [t for t, p in zip(expr.args, products, strict=True) if not shared <= p]
    content, bracket = sp.Add(*inside).primitive()
    if all(t.could_extract_minus_sign() for t in sp.Add.make_args(bracket)):
        content, bracket = -content, -bracket
    outer = [content] if content != 1 else []
    together = sp.Mul(*outer, *sorted(shared, key=sp.default_sort_key), factored(bracket), evaluate=False)
    return sp.Add(together, *sp.Add.make_args(factored(sp.Add(*rest))), evaluate=False) if rest else together


def _is_below(factor: sp.Expr) -> bool:
    return isinstance(factor, sp.Pow) and factor.exp.could_extract_minus_sign()


def _all_factors(term: sp.Expr) -> list[sp.Expr]:
    """The factors of a product, those of its square roots each under a root of its own."""
    return [part for f in sp.Mul.make_args(term) for part in sp.Mul.make_args(sp.expand_power_base(f, force=True))]


def _shareable(term: sp.Expr) -> list[sp.Expr]:
    """What a paper would write in front of a bracket: all but numbers and tangent kernels, which belong to its terms."""
    return [f for f in _all_factors(term) if not f.is_number and not is_theta(f)]


def terms(expr: sp.Expr) -> list[sp.Expr]:
    """The terms of a sum as a paper orders them: kernels, tangent kernels, constants."""

    def rank(term: sp.Expr) -> tuple[int, int]:
        if not term.has(Entry, Value, Expectation, Z, Ref, sp.Sum, Short):
            return 3, 0  # constants
        varying = [f for f in sp.Mul.make_args(term) if f.has(*_VARYING)]
        if len(varying) == 1 and isinstance(varying[0], Entry) and varying[0].kind_name != "Gram":
            place = 0  # what a skip connection carries on
        else:
            place = 3 if any(f.is_Add for f in varying) else 1 if term.has(sp.Sum, Expectation) else 2
        return (2 if is_theta(term) else 1), place

    ordered = sorted(expr.as_ordered_terms(), key=rank)
    if all(len(t.atoms(Random)) == 1 and not t.has(sp.Function, Expectation) for t in ordered):
        ordered.sort(key=lambda t: sp.default_sort_key(t.atoms(Random).pop()))  # by the vectors, not by the numbers before them
    if ordered[0].could_extract_minus_sign():  # do not begin with a minus where there is a choice
        ordered.sort(key=lambda t: t.could_extract_minus_sign())
    return ordered


@dataclass(frozen=True, slots=True)
class Factors:
    """A product as a paper writes it: a scalar coefficient over its denominator, then what varies."""

    negative: bool
    scalar: tuple[sp.Expr, ...]
    scalar_below: tuple[sp.Expr, ...]
    rest: tuple[sp.Expr, ...]
    rest_below: tuple[sp.Expr, ...]


_VARYING = (Entry, Value, Expectation, Z, Ref, Short, sp.Sum, sp.Piecewise, sp.Function)


def factors(expr: sp.Expr) -> Factors:
    """Sort the factors of a product into coefficient and rest, numerator and denominator."""
    negative = False
    parts: dict[tuple[bool, bool], list[sp.Expr]] = {(v, b): [] for v in (False, True) for b in (False, True)}
    for factor in sp.Mul.make_args(expr):
        if isinstance(factor, sp.Rational):
            negative ^= factor < 0
            for number, below in ((abs(factor.p), False), (factor.q, True)):
                if number != 1:
                    parts[False, below].insert(0, sp.Integer(number))
            continue
        if isinstance(factor, sp.Float) and factor < 0:
            negative, factor = not negative, -factor
        varies = factor.has(*_VARYING)
        base, power = factor.as_base_exp()
        below = bool(power.is_Rational and power < 0) and base != sp.E
        parts[varies, below].append(sp.Pow(base, -power) if below else factor)
    parts[False, False].sort(key=_scalar_rank)
    parts[False, True].sort(key=_scalar_rank)
    parts[True, False].sort(key=_factor_rank)
    parts[True, True] = _one_root(parts[True, True])
    return Factors(negative, *(tuple(parts[v, b]) for v in (False, True) for b in (False, True)))


def is_letter(args: tuple[sp.Expr, ...]) -> bool:
    """One letter alone, which may stand above a denominator: c/4."""
    return len(args) == 1 and isinstance(args[0], (Short, Ref, Value))


def _one_root(args: list[sp.Expr]) -> list[sp.Expr]:
    """Square roots side by side under one sign."""
    roots = [a for a in args if isinstance(a, sp.Pow) and a.exp == sp.S.Half]
    if len(roots) < 2:
        return args
    inside = sorted((r.base for r in roots), key=lambda e: (_samples(e), sp.default_sort_key(e)))
    return [a for a in args if a not in roots] + [sp.Pow(sp.Mul(*inside, evaluate=False), sp.S.Half, evaluate=False)]


def _scalar_rank(factor: sp.Expr) -> tuple[int, str]:
    return (0 if factor.is_Integer or isinstance(factor, Written) else 1 if factor.is_number else 3 if factor.is_Add else 2), str(
        factor
    )


def is_indicator(expr: sp.Basic) -> bool:
    """1 where a condition holds, 0 elsewhere."""
    return isinstance(expr, sp.Piecewise) and [v for v, _ in expr.args] == [1, 0] and expr.args[1][1] is sp.true


def is_power_of_sum(expr: sp.Basic) -> bool:
    """``(a + b)^2``: a bracket in which a line can be broken."""
    return isinstance(expr, sp.Pow) and expr.base.is_Add and bool(expr.exp.is_Integer and expr.exp > 1)


def is_call(expr: sp.Basic) -> bool:
    """A function of one sum, or a power of it: one can break a line inside its brackets."""
    base = expr.base if isinstance(expr, sp.Pow) and expr.exp.is_Integer and expr.exp > 1 else expr
    if not isinstance(base, sp.Function) or type(base).__name__ in ("step", "Heaviside"):
        return False
    return len(base.args) == 1 and base.args[0].is_Add


def argument(expr: sp.Expr) -> sp.Expr:
    """The argument of :func:`is_call`."""
    return (expr.base if isinstance(expr, sp.Pow) else expr).args[0]


def called(expr: sp.Expr, other: sp.Expr) -> sp.Expr:
    """The same function, and power, of another argument."""
    if isinstance(expr, sp.Pow):
        return sp.Pow(called(expr.base, other), expr.exp, evaluate=False)
    return expr.func(other, evaluate=False)


def _factor_rank(factor: sp.Expr) -> tuple[int, int, object]:
    """Indicators, functions, expectations, kernels, tangent kernels, brackets; what swallows all to its right is last."""
    key = (_samples(factor), sp.default_sort_key(factor))
    if isinstance(factor, (sp.Sum, sp.Piecewise)) and not is_indicator(factor):
        return 9, is_theta(factor), key
    base = factor.as_base_exp()[0]
    if isinstance(base, Entry):
        return (4 if is_theta(base) else 3), 0, key
    if isinstance(base, Expectation):
        return 2, 0, key
    if isinstance(base, (Value, Ref, Z, sp.Symbol)) or is_indicator(factor):
        return 0, not is_indicator(factor), key
    return (7 if factor.is_Add or is_power_of_sum(factor) else 1), is_theta(factor), key


def _samples(factor: sp.Expr) -> int:
    """Factors of the first sample, of both, of the second."""
    free = factor.free_symbols
    return (J in free) - (I in free)


def value_of(bound: sp.Symbol, body: sp.Expr, at: sp.Expr) -> sp.Expr | None:
    """The value of ``bound`` that turns ``body`` into ``at``, when it can be read off."""
    if body == at:
        return bound
    for candidate in sorted(at.free_symbols - body.free_symbols, key=str):
        if body.xreplace({bound: candidate}) == at:
            return candidate
    return None


def index_order(*refs: Ref) -> tuple[sp.Symbol, ...]:
    """Index symbols in the order in which they stand on a left side."""
    return tuple(dict.fromkeys(s for ref in refs for e in ref.index for s in sorted(e.free_symbols, key=str)))


def index_terms(expr: sp.Expr, first: tuple[sp.Symbol, ...]) -> list[sp.Expr]:
    """The terms of an index: the equation's own indices, those of sums, numbers."""

    def rank(term: sp.Expr) -> tuple[bool, int, str]:
        return term.is_number, min((first.index(s) for s in term.free_symbols if s in first), default=len(first)), str(term)

    return sorted(sp.Add.make_args(expr), key=rank)


def lhs_order(equation: Equation) -> tuple[sp.Symbol, ...]:
    """:func:`index_order` of an equation."""
    return index_order(*(a for a in equation.lhs.args if isinstance(a, Ref)))


def index_ranges(domain: Domain) -> list[tuple[tuple[sp.Symbol, ...], sp.Expr, sp.Expr]]:
    """Ranges with equal bounds together: ``p, p' in 0..31``."""
    merged: dict[tuple[sp.Expr, sp.Expr], list[sp.Symbol]] = {}
    for r in domain:
        merged.setdefault((r.lo, r.hi), []).append(r.index)
    return [(tuple(symbols), lo, hi) for (lo, hi), symbols in merged.items()]
