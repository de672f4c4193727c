"""Activation functions of one float, as scalar Python over ``math``: what generated code calls for a user's φ.

No value overflows where the function itself is finite; ``step(0)`` is 0 and ``sign(0)`` is 0.
"""

from __future__ import annotations

import math


def step(x: float) -> float:
    """1 for x > 0, else 0."""
    return 1.0 if x > 0.0 else 0.0


def heaviside(x: float, at_zero: float) -> float:
    """The step with a chosen value at 0."""
    return at_zero if x == 0.0 else step(x)


def sign(x: float) -> float:
    """−1, 0 or 1."""
    return 1.0 if x > 0.0 else -1.0 if x < 0.0 else 0.0


def relu(x: float) -> float:
    """max(x, 0)."""
    return x if x > 0.0 else 0.0


def leaky_relu(x: float, alpha: float) -> float:
    """x above 0, alpha x below."""
    return x if x > 0.0 else alpha * x


def larger(x: float, y: float) -> float:
    """max(x, y)."""
    return x if x > y else y


def smaller(x: float, y: float) -> float:
    """min(x, y)."""
    return x if x < y else y


def exponential(x: float) -> float:
    """eˣ, its argument cut at 709 so that it stays finite."""
    return math.exp(x if x < 709.0 else 709.0)


def elu(x: float, alpha: float) -> float:
    """x above 0, alpha (eˣ − 1) below."""
    return x if x > 0.0 else alpha * math.expm1(x)


def normal_pdf(x: float) -> float:
    """e^{−x²/2}/√(2π)."""
    return 0.3989422804014327 * math.exp(-0.5 * x * x)


def normal_cdf(x: float) -> float:
    """Φ(x)."""
    return 0.5 * math.erfc(-0.7071067811865476 * x)


def gelu(x: float) -> float:
    """x Φ(x)."""
    return 0.5 * x * math.erfc(-0.7071067811865476 * x)


def sigmoid(x: float) -> float:
    """1/(1 + e^{−x})."""
    t = math.exp(-abs(x))
    return (1.0 if x > 0.0 else t) / (1.0 + t)


def softplus(x: float) -> float:
    """log(1 + eˣ)."""
    return relu(x) + math.log1p(math.exp(-abs(x)))


def silu(x: float) -> float:
    """x/(1 + e^{−x})."""
    return x * sigmoid(x)


def hermite(k: int, x: float) -> float:
    """He_k(x)/√k!."""
    before, now = 0.0, 1.0
    for j in range(k):
        before, now = now, (x * now - math.sqrt(j) * before) / math.sqrt(j + 1.0)
    return now
