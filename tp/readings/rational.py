"""Exact rationals: a polynomial program whose every Z is a polynomial in independent Gaussian letters.

The instructions are carried out as :mod:`tp.readings.evaluate` does it on nodes. A MatMul's hat is a new letter plus a
combination of earlier ones (the square-root-free Cholesky factorization keeps everything rational); its dot part has the
expected derivatives as coefficients. Linear programs stay linear. In the others degrees multiply with every step: a few
steps, for theory. What is too large is refused before it is computed.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 7 and appendix on deep linear networks; Yang 2020, *Tensor Programs
III*, Definition E.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import sympy as sp

from tp.errors import LimitError, Message, Span
from tp.program.ir import MatMul, Moment, Nonlin, Program, Range, Ref
from tp.readings.evaluate import Evaluation
from tp.readings.indexing import Key
from tp.readings.members import Member
from tp.readings.polynomials import ZERO, Algebra, Exploded, Poly, add, constant

BUDGET = 1_000_000
"""Products of polynomial terms: some seconds."""


@dataclass
class Calls:
    """The calls of one matrix in one direction: arguments, letters, their variances and the unit triangular factor."""

    arguments: list[Poly] = field(default_factory=list)
    letters: list[Poly] = field(default_factory=list)
    variances: list[Fraction] = field(default_factory=list)
    factor: list[list[Fraction]] = field(default_factory=list)


@dataclass
class Rationals:
    """A plan carried out exactly: ``values`` of members, vectors and scalars alike as polynomials."""

    plan: Evaluation
    algebra: Algebra
    values: dict[Key, Poly] = field(default_factory=dict)
    calls: dict[tuple[Key, bool], Calls] = field(default_factory=dict)
    variances: dict[Key, Fraction] = field(default_factory=dict)  # of matrices, times their columns
    ratios: dict[Key, Fraction] = field(default_factory=dict)  # of their rows to their columns

    def __getitem__(self, key: Key) -> Fraction:
        return self.values.get(key, ZERO).get((), Fraction(0))

    # ------------------------------------------------------------ instructions

    def draw(self) -> None:
        """Initial vectors: a letter each."""
        run = self.plan
        for w in run.program.weights:
            for point in run.compiler.points(w.domain, run.env):
                key = run.compiler.key(w.ref, point)
                variance = self.number(w.multiplier**2 * w.variance, point, w.span)
                if w.cols is not None:
                    assert w.rows is not None
                    self.variances[key] = variance
                    self.ratios[key] = self.number(w.rows.size / w.cols.size, run.env, w.span)
                    continue
                mean = constant(self.number(w.multiplier * w.mean, point, w.span))
                self.values[key] = add(mean, self.algebra.letter(variance)) if variance and w.rows is not None else mean

    def member(self, member: Member) -> None:
        ins = member.ins
        if isinstance(ins, MatMul):
            self.values[member.out] = self.matmul(member, ins)
        elif isinstance(ins, Moment):
            self.values[member.out] = constant(self.mean(ins.coeff * ins.expr, member.point, ins.span))
        elif isinstance(ins, Nonlin):
            self.values[member.out] = self.value(ins.expr, member.point, ins.span)

    def matmul(self, member: Member, ins: MatMul) -> Poly:
        """Ẑ + Ż of ``W x`` (``Wᵀ x``)."""
        W = member.matrix
        assert W is not None
        variance = self.variances[W] * (self.ratios[W] if ins.transpose else 1)
        x = self.values[member.reads[0]]
        own, opposite = (self.calls.setdefault((W, t), Calls()) for t in (ins.transpose, not ins.transpose))
        return add(self._hat(own, x, variance), self._dot(opposite, x), variance)

    def _hat(self, own: Calls, x: Poly, variance: Fraction) -> Poly:
        """Σ r_k ξ_k + ξ_new with the right covariances: r_k d_k = c_k − Σ_{m<k} r_m d_m ℓ_km."""
        mean, hat = self.algebra.mean, ZERO
        row: list[Fraction] = []
        for k, argument in enumerate(own.arguments):
            c = variance * mean(argument, x)
            c -= sum((row[m] * own.variances[m] * own.factor[k][m] for m in range(k)), Fraction(0))
            row.append(self.algebra.small(c / own.variances[k]))
            hat = add(hat, own.letters[k], row[k])
        left = variance * mean(x, x) - sum((r * r * d for r, d in zip(row, own.variances, strict=True)), Fraction(0))
        if not left:
            return hat
        letter = self.algebra.letter(self.algebra.small(left))
        own.arguments.append(x)
        own.letters.append(letter)
        own.variances.append(left)
        own.factor.append([*row, Fraction(1)])
        return add(hat, letter)

    def _dot(self, opposite: Calls, x: Poly) -> Poly:
        """Σ θ_j y_j with θ_j the expected derivative of x by the j-th hat."""
        theta = [self.algebra.mean(xi, x) / d for xi, d in zip(opposite.letters, opposite.variances, strict=True)]
        found = ZERO
        for j in reversed(range(len(theta))):
            theta[j] -= sum((opposite.factor[k][j] * theta[k] for k in range(j + 1, len(theta))), Fraction(0))
            found = add(found, opposite.arguments[j], theta[j])
        return found

    # ------------------------------------------------------------ expressions

    def number(self, expr: sp.Expr, env: Mapping[str, Any], span: Span) -> Fraction:
        return self.value(sp.sympify(expr), env, span).get((), Fraction(0))

    def mean(self, expr: sp.Expr, env: Mapping[str, Any], span: Span) -> Fraction:
        """E of an expression; of a product without multiplying it out."""
        if isinstance(expr, sp.Add):
            return sum((self.mean(a, env, span) for a in expr.args), Fraction(0))
        if isinstance(expr, sp.Sum):
            return sum((self.mean(expr.function, e, span) for e in self._points(expr, env)), Fraction(0))
        factors = [self.value(f, env, span) for f in _factors(expr)]
        factors.sort(key=len)
        first: Poly = {(): Fraction(1)}
        while len(factors) > 1:
            first = self.algebra.product(first, factors.pop(0))
        return self.algebra.mean(first, factors[0])

    def value(self, expr: sp.Expr, env: Mapping[str, Any], span: Span) -> Poly:
        match expr:
            case sp.Rational():
                return constant(Fraction(int(expr.p), int(expr.q)))
            case sp.Float():
                return constant(Fraction(repr(float(expr))))
            case sp.Symbol():
                return constant(Fraction(env[expr.name]))
            case Ref():
                return self._read(self.plan.compiler.key(expr, env))
            case sp.Add():
                found = ZERO
                for a in expr.args:
                    found = add(found, self.value(a, env, span))
                return found
            case sp.Mul() | sp.Pow(exp=sp.Integer(is_positive=True)):
                found = {(): Fraction(1)}
                for factor in _factors(expr):
                    found = self.algebra.product(found, self.value(factor, env, span))
                return found
            case sp.Pow(exp=sp.Integer()):
                return self._inverse(expr, env, span)
            case sp.Sum():
                found = ZERO
                for e in self._points(expr, env):
                    found = add(found, self.value(expr.function, e, span))
                return found
            case sp.KroneckerDelta():
                integer = self.plan.compiler.integer
                return constant(Fraction(int(integer(expr.args[0], env) == integer(expr.args[1], env))))
        raise LimitError(
            Message(span, f"`{expr}` is no polynomial with rational coefficients", REMEDY, "no exact limit", COMMAND)
        )

    def _read(self, key: Key) -> Poly:
        found = self.plan.plan.find(key, self.plan.edges.get(key[0], ()))
        return ZERO if found is None else self.values.get(found, ZERO)

    def _inverse(self, expr: sp.Pow, env: Mapping[str, Any], span: Span) -> Poly:
        base = self.value(expr.base, env, span)
        if set(base) != {()}:
            raise LimitError(Message(span, f"`{expr}` is no polynomial", REMEDY, "no exact limit", COMMAND))
        return constant(self.algebra.small(base[()] ** int(expr.exp)))

    def _points(self, total: sp.Sum, env: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        points = [env]
        for index, lo, hi in reversed(total.limits):
            interval = self.plan.compiler.interval
            points = [{**e, index.name: k} for e in points for k in interval(Range(index, lo, hi), e)]
        return points


REMEDY = 'use method="auto"; exact rationals need polynomial activations and the loss mse'
COMMAND = "use --method auto; exact rationals need polynomial activations and the loss mse"


def _factors(expr: sp.Expr) -> list[sp.Expr]:
    return [
        f
        for a in sp.Mul.make_args(expr)
        for f in ([a.base] * int(a.exp) if isinstance(a, sp.Pow) and a.exp.is_Integer and a.exp > 0 else [a])
    ]


def rationals(plan: Evaluation, data: Mapping[Key, float], wanted: list[Key], budget: int = BUDGET) -> dict[Key, Fraction]:
    """The limits of the scalars ``wanted``, exactly; numbers in ``data`` are the decimals they are written as.

    Raises ``LimitError`` for what is no polynomial, and ``Exploded`` where it takes more than ``budget`` products of terms.
    """
    run = Rationals(plan, Algebra(budget))
    run.values.update({key: constant(Fraction(repr(float(value)))) for key, value in data.items()})
    run.draw()
    for member in plan.plan.members:
        if not member.zero:
            run.member(member)
    return {key: run[key] for key in wanted}


def refused(error: Exploded, program: Program) -> LimitError:
    """The error for a run that is too large."""
    span = next((ins.span for ins in program.body if isinstance(ins, Nonlin)), program.weights[0].span)
    remedy = 'take fewer steps, samples or layers, a lower degree, or method="auto"'
    command = "take fewer --steps, samples or layers, a lower degree, or --method auto"
    reason = f"exact rationals of this run take more than {error}"
    return LimitError(Message(span, reason, remedy, "exact limit too large", command))


def as_float(value: Fraction, program: Program) -> float:
    """The nearest float. Raises ``LimitError`` for a number that is too large for one."""
    try:
        return float(value)
    except OverflowError:
        reason = f"an output has {len(str(abs(value.numerator) // value.denominator)):,} digits before the point"
        remedy = "lower the learning rate or the number of steps"
        raise LimitError(Message(program.weights[0].span, reason, remedy, "diverges")) from None
