"""Expressions read into the normal form of :mod:`tp.gaussian.terms`, each known function by its own rule.

A function of an argument with a kink in it (``Min(Max(u, 0), 6)``, ``exp(-Abs(u))``) is read on either side of the kink.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import sympy as sp

from tp.gaussian.functions import elu, gelu, hermite, leaky_relu, normal_cdf, normal_pdf, relu, step
from tp.gaussian.terms import (
    ONE,
    ZERO,
    Gate,
    Shape,
    Terms,
    Unknown,
    accumulate,
    add,
    canonical,
    cosine,
    multiply,
    scale,
    unit,
)

MAX_POWER = 64

MOST = 20_000
"""Products of terms that one expression takes, some seconds."""


def normal_form(e: sp.Expr, variables: Sequence[sp.Expr]) -> Terms:
    """``e`` as a sum of shapes over ``variables``; raises :class:`Unknown` where it has none."""
    return canonical(_Reader(tuple(variables)).read(e))


@dataclass(frozen=True)
class _Reader:
    """Reads expressions over ``variables`` into ``Terms``, bottom up."""

    variables: tuple[sp.Expr, ...]
    spent: list[int] = field(default_factory=lambda: [0])  # products of terms so far

    def read(self, e: sp.Expr) -> Terms:
        if e in self.variables:
            powers = tuple(int(v == e) for v in self.variables)
            return {replace(unit(len(powers)), powers=powers): ONE}
        if not e.has(*self.variables):
            return self.constant(e)
        if isinstance(e, sp.Add):
            return add(*map(self.read, e.args))
        if isinstance(e, sp.Mul):
            return reduce(self.times, map(self.read, e.args))
        if isinstance(e, sp.Pow) and e.exp.is_Integer and 0 < e.exp <= MAX_POWER:
            return self.power(self.read(e.base), int(e.exp))
        if isinstance(e, sp.Pow) and not e.base.has(*self.variables):
            return self.exp(e.exp * sp.log(e.base))
        rule = _RULES.get(type(e))
        if rule is None:
            raise Unknown(f"no rule for {type(e).__name__}")
        return rule(self, *e.args)

    def constant(self, value: sp.Expr) -> Terms:
        return {unit(len(self.variables)): value} if value != 0 else {}

    def power(self, base: Terms, k: int) -> Terms:
        if len(base) == 1 and next(iter(base)).is_polynomial:
            ((shape, coef),) = base.items()
            return {replace(shape, powers=tuple(k * p for p in shape.powers)): coef**k}
        half = self.power(self.times(base, base), k // 2) if k > 1 else self.constant(ONE)
        return self.times(half, base) if k % 2 else half

    def times(self, a: Terms, b: Terms) -> Terms:
        """The product; raises :class:`Unknown` where an expression takes more products of terms than a closed form is worth."""
        self.spent[0] += len(a) * len(b)
        if self.spent[0] > MOST:
            raise Unknown("too many products")
        return multiply(a, b)

    def of(self, argument: sp.Expr | Terms, build: Callable[[Terms], Terms]) -> Terms:
        """``build(argument)``, on each side of the steps that the argument itself contains."""
        terms = argument if isinstance(argument, dict) else self.read(argument)
        gate = next((g for s in terms for g in s.gates if g.noise == 0), None)
        if gate is None:
            return build(canonical(terms))
        sides: list[Terms] = []
        for here, gone in ((gate, gate.complement()), (gate.complement(), gate)):
            side: Terms = {}
            for shape, coef in terms.items():
                if gone not in shape.gates:
                    accumulate(side, replace(shape, gates=tuple(g for g in shape.gates if g != here)), coef)
            side = {s: c for s, c in side.items() if c != 0}
            sides.append(multiply({replace(unit(len(self.variables)), gates=(here,)): ONE}, self.of(side, build)))
        return add(*sides)

    def linear(self, terms: Terms) -> tuple[tuple[sp.Expr, ...], sp.Expr]:
        """(ℓ, t) of an argument ℓ·x + t."""
        slope, shift = [ZERO] * len(self.variables), ZERO
        for shape, coef in terms.items():
            if not shape.is_polynomial or sum(shape.powers) > 1:
                raise Unknown("the argument is not linear")
            if sum(shape.powers):
                slope[shape.powers.index(1)] = coef
            else:
                shift = coef
        return tuple(slope), shift

    def step(self, argument: sp.Expr | Terms, at0: sp.Expr = ZERO) -> Terms:
        """1{argument > 0}, ``at0`` where the argument is 0 all along."""

        def build(terms: Terms) -> Terms:
            slope, shift = self.linear(terms)
            if any(slope):
                gate, _ = self.gate(slope, shift)
                return {replace(unit(len(slope)), gates=(gate,)): ONE}
            if shift.is_zero or shift.is_positive or shift.is_negative:
                return self.constant(at0 if shift.is_zero else ONE if shift.is_positive else ZERO)
            raise Unknown("step at an unknown number")

        return self.of(argument, build)

    def delta(self, argument: sp.Expr, order: sp.Expr = ZERO) -> Terms:
        if order != 0:
            raise Unknown("derivative of a Dirac delta")
        slope, shift = self.linear(self.read(argument))
        if sum(s != 0 for s in slope) != 1:
            raise Unknown("Dirac delta of none or of several variables")
        gate, size = self.gate(slope, shift)
        return {replace(unit(len(slope)), deltas=(gate,)): 1 / size}

    def gate(self, slope: tuple[sp.Expr, ...], shift: sp.Expr) -> tuple[Gate, sp.Expr]:
        """1{ax + t > 0} = 1{x + t/a > 0} for a > 0, and that a; several variables keep their slopes."""
        found = [s for s in slope if s != 0]
        if len(found) > 1:
            return Gate(slope, shift, ZERO), ONE
        size = found[0] if is_positive(found[0]) else -found[0]
        if not is_positive(size):
            raise Unknown("the sign of a slope is not known")
        return Gate(tuple(s / size for s in slope), shift / size, ZERO), size

    def cdf(self, argument: sp.Expr | Terms) -> Terms:
        def build(terms: Terms) -> Terms:
            slope, shift = self.linear(terms)
            if not any(slope):
                return self.constant(normal_cdf(shift))
            return {replace(unit(len(slope)), gates=(Gate(slope, shift, ONE),)): ONE}

        return self.of(argument, build)

    def relu(self, argument: sp.Expr | Terms) -> Terms:
        return self.of(argument, lambda terms: multiply(terms, self.step(terms)))

    def exp(self, argument: sp.Expr | Terms) -> Terms:
        def build(terms: Terms) -> Terms:
            n = len(self.variables)
            quad, lin, const = [ZERO] * n, [ZERO] * n, ZERO
            for shape, coef in terms.items():
                if not shape.is_polynomial or sum(shape.powers) > 2 or shape.powers.count(1) > 1:
                    raise Unknown("the exponent is not a sum of squares and linear terms")
                if 2 in shape.powers:
                    quad[shape.powers.index(2)] = coef
                elif 1 in shape.powers:
                    lin[shape.powers.index(1)] = coef
                else:
                    const = coef
            if any(quad) or any(lin):
                return {Shape((0,) * n, tuple(quad), tuple(lin), const): ONE}
            return self.constant(sp.exp(const))

        return self.of(argument, build)

    def cos(self, argument: sp.Expr | Terms, offset: sp.Expr = ZERO) -> Terms:
        def build(terms: Terms) -> Terms:
            slope, shift = self.linear(terms)
            phase = shift + offset
            if not any(slope):
                return self.constant(sp.cos(phase))
            freq, phase = cosine(slope, phase)
            return {replace(unit(len(slope)), freq=freq, phase=phase): ONE}

        return self.of(argument, build)

    def elu(self, x: sp.Expr, alpha: sp.Expr) -> Terms:
        def build(terms: Terms) -> Terms:
            below = multiply(add(self.exp(terms), self.constant(-ONE)), self.step(scale(-ONE, terms)))
            return add(self.relu(terms), scale(alpha, below))

        return self.of(x, build)

    def hermite(self, k: sp.Expr, x: sp.Expr) -> Terms:
        if not k.is_Integer or k > MAX_POWER:
            raise Unknown("Hermite polynomial of unknown degree")
        return self.read(hermite(k, x).definition())

    def maximum(self, *args: sp.Expr) -> Terms:
        """max(a, b) = b + relu(a − b)."""

        def larger(a: Terms, b: Terms) -> Terms:
            return add(b, self.relu(add(a, scale(-ONE, b))))

        return reduce(lambda low, arg: larger(self.read(arg), low), sorted(args[1:], key=_size), self.read(args[0]))

    def piecewise(self, *pairs: sp.Basic) -> Terms:
        """Σ value · 1{condition and none before}, for conditions x > t, x < t and the like."""
        out, rest = self.constant(ZERO), self.constant(ONE)
        for value, condition in (p.args for p in pairs):
            if condition == sp.true:
                return add(out, multiply(rest, self.read(value)))
            if not isinstance(condition, (sp.Gt, sp.Ge, sp.Lt, sp.Le)):
                raise Unknown("condition of a Piecewise")
            difference = condition.gts - condition.lts
            here = self.step(difference)
            out = add(out, multiply(multiply(rest, here), self.read(value)))
            rest = multiply(rest, self.step(-difference))
        raise Unknown("Piecewise without a default")


def is_positive(e: sp.Expr) -> bool:
    """Whether ``e`` is known to be positive; the square root of a real expression is."""
    if e.is_positive is None:
        roots = {p: sp.Dummy(positive=True) for p in e.atoms(sp.Pow) if p.exp.is_Rational and p.exp.q == 2}
        e = e.xreplace(roots)
    return bool(e.is_positive)


def _size(e: sp.Expr) -> int:
    return int(e.count_ops())


Rule = Callable[..., Terms]
_HALF = sp.Rational(1, 2)
_RULES: dict[type, Rule] = {
    relu: _Reader.relu,
    step: _Reader.step,
    sp.Heaviside: _Reader.step,
    sp.DiracDelta: _Reader.delta,
    sp.sign: lambda r, x: add(scale(sp.Integer(2), r.step(x, _HALF)), r.constant(-ONE)),
    sp.Abs: lambda r, x: add(scale(sp.Integer(2), r.relu(x)), scale(-ONE, r.read(x))),
    leaky_relu: lambda r, x, alpha: add(scale(alpha, r.read(x)), scale(1 - alpha, r.relu(x))),
    elu: _Reader.elu,
    sp.Max: _Reader.maximum,
    sp.Min: lambda r, *args: scale(-ONE, r.maximum(*(-a for a in args))),
    sp.Piecewise: _Reader.piecewise,
    normal_cdf: _Reader.cdf,
    gelu: lambda r, x: multiply(r.read(x), r.cdf(x)),
    sp.erf: lambda r, x: add(scale(sp.Integer(2), r.cdf(sp.sqrt(2) * x)), r.constant(-ONE)),
    sp.erfc: lambda r, x: scale(sp.Integer(2), r.cdf(-sp.sqrt(2) * x)),
    normal_pdf: lambda r, x: scale(1 / sp.sqrt(2 * sp.pi), r.exp(-(x**2) / 2)),
    sp.exp: _Reader.exp,
    sp.cos: _Reader.cos,
    sp.sin: lambda r, x: r.cos(x, -sp.pi / 2),
    sp.cosh: lambda r, x: scale(_HALF, add(r.exp(x), r.exp(-x))),
    sp.sinh: lambda r, x: scale(_HALF, add(r.exp(x), scale(-ONE, r.exp(-x)))),
    hermite: _Reader.hermite,
}
