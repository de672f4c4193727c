"""The normal form behind every closed form: polynomial × exponential of a quadratic × cosine × gates.

A *gate* is 1{ℓ·x + t + σN > 0}, N an independent standard normal: a step for σ = 0, Φ(ℓ·x + t) for σ = 1. So relu(x)
is x·gate, erf(x) = 2Φ(√2x) − 1, gelu(x) = x·Φ(x), and products of such functions are again sums of such terms, held
as ``Terms``, a mapping from shapes to coefficients. :mod:`tp.gaussian.normalform` reads expressions into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sympy as sp

ZERO, ONE = sp.S.Zero, sp.S.One
MAX_TERMS = 400


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


def canonical(terms: Terms) -> Terms:
    """Gates beside no exponential turned the same way round, 1{−x > 0} = 1 − 1{x > 0}; zero coefficients dropped."""
    out: Terms = {}
    for shape, coef in terms.items():
        for turned, sign in _turn(shape):
            accumulate(out, turned, sign * coef)
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


def accumulate(terms: Terms, shape: Shape, coef: sp.Expr) -> None:
    """Add coef·shape to ``terms``, in place."""
    terms[shape] = terms.get(shape, ZERO) + coef


def add(*summands: Terms) -> Terms:
    """The sum."""
    out: Terms = {}
    for terms in summands:
        for shape, coef in terms.items():
            accumulate(out, shape, coef)
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
                accumulate(out, shape, coef * ca * cb)
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
    return [(*cosine(freq, phase), sp.Rational(1, 2)) for freq, phase in both]


def cosine(freq: tuple[sp.Expr, ...], phase: sp.Expr) -> tuple[tuple[sp.Expr, ...], sp.Expr]:
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
