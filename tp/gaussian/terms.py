"""The normal form behind every closed form: polynomial × exponential of a quadratic × cosine × gates.

A *gate* is 1{ℓ·x + t + σN > 0}, N an independent standard normal: a step for σ = 0, Φ(ℓ·x + t) for σ = 1. So relu(x)
is x·gate, erf(x) = 2Φ(√2x) − 1, gelu(x) = x·Φ(x), and products of such functions are again sums of such terms.
``normal_form`` rewrites an expression as ``Terms``, a mapping from shapes to coefficients; ``Unknown`` says it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import sympy as sp

from tp.gaussian.functions import (
    elu,
    gelu,
    hermite,
    leaky_relu,
    normal_cdf,
    normal_pdf,
    relu,
    step,
)

ZERO, ONE = sp.S.Zero, sp.S.One
MAX_TERMS = 400
MAX_POWER = 64


class Unknown(Exception):
    """The expression has no normal form (or no closed form): not an error, an answer."""


@dataclass(frozen=True, slots=True)
class Gate:
    """1{slope·x + shift + noise·N > 0} with ``noise`` 0 or 1."""

    slope: tuple[sp.Expr, ...]
    shift: sp.Expr
    noise: sp.Expr

    def complement(self) -> Gate:
        """One minus this gate (up to a null set)."""
        return Gate(tuple(-s for s in self.slope), -self.shift, self.noise)


@dataclass(frozen=True, slots=True)
class Shape:
    """Π x_i^powers · exp(Σ quad_i x_i² + lin·x + const) · cos(freq·x + phase) · Π gates · Π δ(deltas)."""

    powers: tuple[int, ...]
    quad: tuple[sp.Expr, ...]
    lin: tuple[sp.Expr, ...]
    const: sp.Expr = ZERO
    freq: tuple[sp.Expr, ...] = ()
    phase: sp.Expr = ZERO
    gates: tuple[Gate, ...] = ()
    deltas: tuple[Gate, ...] = ()

    @property
    def is_polynomial(self) -> bool:
        return not (self.gates or self.deltas or self.freq or any(self.quad) or any(self.lin) or self.const)


Terms = dict[Shape, sp.Expr]


def unit(n: int) -> Shape:
    """The constant 1 of ``n`` variables."""
    return Shape((0,) * n, (ZERO,) * n, (ZERO,) * n)


def normal_form(e: sp.Expr, variables: Sequence[sp.Expr]) -> Terms:
    """``e`` as a sum of shapes over ``variables``; raises :class:`Unknown` where it has none."""
    return canonical(_Reader(tuple(variables)).read(e))


def canonical(terms: Terms) -> Terms:
    """Gates beside no exponential turned the same way round, 1{−x > 0} = 1 − 1{x > 0}; zero coefficients dropped."""
    out: Terms = {}
    for shape, coef in terms.items():
        for turned, sign in _turn(shape):
            _accumulate(out, turned, sign * coef)
    return {shape: coef for shape, value in out.items() if (coef := sp.expand(value)) != 0}


def _turn(shape: Shape) -> list[tuple[Shape, int]]:
    if any(shape.quad) or any(shape.lin) or not shape.gates:
        return [(shape, 1)]
    parts: list[tuple[tuple[Gate, ...], int]] = [((), 1)]
    for gate in shape.gates:
        if next(s for s in gate.slope if s != 0).could_extract_minus_sign():
            parts = [p for gates, sign in parts for p in ((gates, sign), ((*gates, gate.complement()), -sign))]
        else:
            parts = [((*gates, gate), sign) for gates, sign in parts]
    return [(replace(shape, gates=_ordered(gates)), sign) for gates, sign in parts]


def _ordered(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    def key(gate: Gate) -> tuple[object, ...]:
        used = [s != 0 for s in gate.slope]
        return used.index(True), gate.noise != 0, [sp.default_sort_key(s) for s in (*gate.slope, gate.shift)]

    return tuple(sorted(gates, key=key))


def _accumulate(terms: Terms, shape: Shape, coef: sp.Expr) -> None:
    terms[shape] = terms.get(shape, ZERO) + coef


def add(*summands: Terms) -> Terms:
    """The sum."""
    out: Terms = {}
    for terms in summands:
        for shape, coef in terms.items():
            _accumulate(out, shape, coef)
    return {s: c for s, c in out.items() if c != 0}


def scale(factor: sp.Expr, terms: Terms) -> Terms:
    """``factor`` times ``terms``."""
    return {shape: factor * coef for shape, coef in terms.items()}


def multiply(a: Terms, b: Terms) -> Terms:
    """The product, with cos·cos turned into a sum and gates of one variable merged."""
    if len(a) * len(b) > 4 * MAX_TERMS:
        raise Unknown("too many terms")
    out: Terms = {}
    for sa, ca in a.items():
        for sb, cb in b.items():
            for shape, coef in _product(sa, sb):
                _accumulate(out, shape, coef * ca * cb)
    out = {s: c for s, c in out.items() if c != 0}
    if len(out) > MAX_TERMS:
        raise Unknown("too many terms")
    return out


def _plus(a: Sequence[sp.Expr], b: Sequence[sp.Expr]) -> tuple[sp.Expr, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _product(a: Shape, b: Shape) -> list[tuple[Shape, sp.Expr]]:
    base = Shape(
        tuple(x + y for x, y in zip(a.powers, b.powers, strict=True)),
        _plus(a.quad, b.quad),
        _plus(a.lin, b.lin),
        a.const + b.const,
        deltas=a.deltas + b.deltas,
    )
    out = []
    for freq, phase, half in _cosines(a, b):
        for gates, sign in _merge(a.gates + b.gates):
            coef = sign * half * (ONE if freq else sp.cos(phase))
            shape = replace(base, freq=freq, phase=phase if freq else ZERO, gates=gates)
            if shape.const != 0 and not any(shape.quad) and not any(shape.lin):
                shape, coef = replace(shape, const=ZERO), coef * sp.exp(shape.const)
            out.append((shape, coef))
    return out


def _cosines(a: Shape, b: Shape) -> list[tuple[tuple[sp.Expr, ...], sp.Expr, sp.Expr]]:
    """cos α · cos β = ½cos(α − β) + ½cos(α + β)."""
    if not (a.freq and b.freq):
        one = a if a.freq else b
        return [(one.freq, one.phase, ONE)]
    minus = tuple(-f for f in b.freq)
    both = (_plus(a.freq, minus), a.phase - b.phase), (_plus(a.freq, b.freq), a.phase + b.phase)
    return [(*_cosine(freq, phase), sp.Rational(1, 2)) for freq, phase in both]


def _cosine(freq: tuple[sp.Expr, ...], phase: sp.Expr) -> tuple[tuple[sp.Expr, ...], sp.Expr]:
    """cos α = cos(−α): the first frequency without a minus sign; no frequencies for a constant."""
    first = next((f for f in freq if f != 0), None)
    if first is None:
        return (), phase
    return (tuple(-f for f in freq), -phase) if first.could_extract_minus_sign() else (freq, phase)


def _merge(gates: Sequence[Gate]) -> list[tuple[tuple[Gate, ...], int]]:
    """The product of ``gates`` as a signed sum of products in which no two steps share their direction."""
    kept: list[Gate] = []
    for i, gate in enumerate(gates):
        for j, other in enumerate(kept):
            if gate.noise != 0 or other.noise != 0:
                continue
            if gate.slope == other.slope:  # 1{x > −s} 1{x > −t} = 1{x > −min(s, t)}
                kept[j] = gate if _is_less(gate.shift, other.shift) else other
                return _merge([*kept, *gates[i + 1 :]])
            if gate.slope == other.complement().slope:  # 1{x > −s} 1{x < t} = 1{x > −s} − 1{x > t} where −s < t
                rest = [*kept[:j], *kept[j + 1 :], *gates[i + 1 :]]
                if not _is_less(-other.shift, gate.shift):
                    return []
                upper = Gate(other.slope, -gate.shift, ZERO)
                return _merge([other, *rest]) + [(g, -s) for g, s in _merge([upper, *rest])]
        kept.append(gate)
    return [(_ordered(kept), 1)]


def _is_less(a: sp.Expr, b: sp.Expr) -> bool:
    difference = b - a
    if difference.is_positive:
        return True
    if difference.is_nonpositive:
        return False
    raise Unknown("the order of two thresholds is not known")


@dataclass(frozen=True)
class _Reader:
    """Reads expressions over ``variables`` into ``Terms``, bottom up."""

    variables: tuple[sp.Expr, ...]

    def read(self, e: sp.Expr) -> Terms:
        if e in self.variables:
            powers = tuple(int(v == e) for v in self.variables)
            return {replace(unit(len(powers)), powers=powers): ONE}
        if not e.has(*self.variables):
            return self.constant(e)
        if isinstance(e, sp.Add):
            return add(*map(self.read, e.args))
        if isinstance(e, sp.Mul):
            return reduce(multiply, map(self.read, e.args))
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
        half = self.power(multiply(base, base), k // 2) if k > 1 else self.constant(ONE)
        return multiply(half, base) if k % 2 else half

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
                    _accumulate(side, replace(shape, gates=tuple(g for g in shape.gates if g != here)), coef)
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

    def step(self, argument: sp.Expr | Terms) -> Terms:
        def build(terms: Terms) -> Terms:
            slope, shift = self.linear(terms)
            if any(slope):
                gate, _ = self.gate(slope, shift)
                return {replace(unit(len(slope)), gates=(gate,)): ONE}
            if shift.is_positive or shift.is_nonpositive:
                return self.constant(ONE if shift.is_positive else ZERO)
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
            freq, phase = _cosine(slope, phase)
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
    sp.Heaviside: lambda r, x, at0=ZERO: r.step(x),
    sp.DiracDelta: _Reader.delta,
    sp.sign: lambda r, x: add(scale(sp.Integer(2), r.step(x)), r.constant(-ONE)),
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
