"""E[φ(u) ψ(v)] for sines, exponentials and Gaussians, as scalar functions of (q1, c, q2)."""

from __future__ import annotations

import math

from tp.gaussian.primitives import determinant


def sine_pair(q1: float, c: float, q2: float, a1: float, b1: float, a2: float, b2: float) -> tuple[float, float]:
    """V, V̇ for sin(a1 u + b1), sin(a2 v + b2); a cosine has b = π/2.

    V = cos b1 cos b2 S + sin b1 sin b2 C, V̇ = a1 a2 (sin b1 sin b2 S + cos b1 cos b2 C) where C, S = ½(E₋ ± E₊),
    E_∓ = exp(−Var(a1 u ∓ a2 v)/2): S = ½ E (1 − exp(−2|a1 a2 c|)) with E the larger of the two, for small variances,
    and variances of differences as differences.  Louart, Liao & Couillet 2018, Table 1.
    """
    cross = a1 * a2 * c
    outer, steeper = abs(a1 * a2), abs(a1) - abs(a2)
    spread = outer * ((q1 - abs(c)) + (q2 - abs(c))) + steeper * (abs(a1) * q1 - abs(a2) * q2)
    larger = math.exp(-0.5 * max(spread, 0.0))
    gap = -0.5 * larger * math.expm1(-2.0 * abs(cross))
    odd = gap if cross >= 0.0 else -gap
    even = larger - gap
    sines, cosines = math.sin(b1) * math.sin(b2), math.cos(b1) * math.cos(b2)
    return cosines * odd + sines * even, a1 * a2 * (sines * odd + cosines * even)


def sine_sine(q1: float, c: float, q2: float, a1: float, b1: float, a2: float, b2: float) -> float:
    """E[sin(a1 u + b1) sin(a2 v + b2)], see ``sine_pair``."""
    return sine_pair(q1, c, q2, a1, b1, a2, b2)[0]


def exp_exp(q1: float, c: float, q2: float, a1: float, a2: float) -> float:
    """E[exp(a1 u + a2 v)] = exp(Var/2)."""
    return math.exp(0.5 * (a1 * (a1 * q1 + a2 * c) + a2 * (a2 * q2 + a1 * c)))


def exp_pair(q1: float, c: float, q2: float, a1: float, a2: float) -> tuple[float, float]:
    """V, V̇ for exp(a1 u), exp(a2 v): V and a1 a2 V."""
    v = exp_exp(q1, c, q2, a1, a2)
    return v, a1 * a2 * v


def gaussian_pair(q1: float, c: float, q2: float, a1: float, a2: float) -> tuple[float, float]:
    """V, V̇ for exp(−a1 u²), exp(−a2 v²): M^{−1/2} and 4 a1 a2 c M^{−3/2}, M = 1 + 2 a1 q1 + 2 a2 q2 + 4 a1 a2 D."""
    m = 1.0 + 2.0 * (a1 * q1 + a2 * q2) + 4.0 * a1 * a2 * determinant(q1, c, q2)
    v = 1.0 / math.sqrt(m)
    return v, 4.0 * a1 * a2 * c * v / m


def gaussian_gaussian(q1: float, c: float, q2: float, a1: float, a2: float) -> float:
    """E[exp(−a1 u² − a2 v²)] = M^{−1/2}, see ``gaussian_pair``."""
    return gaussian_pair(q1, c, q2, a1, a2)[0]


def gaussian_slope(q1: float, c: float, q2: float, a1: float, a2: float) -> float:
    """E of the product of the two derivatives, see ``gaussian_pair``."""
    return gaussian_pair(q1, c, q2, a1, a2)[1]


def sine_mean(q: float, a: float, b: float) -> float:
    """E[sin(a u + b)] = e^{−a² q/2} sin b."""
    return math.exp(-0.5 * a * a * q) * math.sin(b)


def exp_mean(q: float, a: float) -> float:
    """E[exp(a u)] = e^{a² q/2}."""
    return math.exp(0.5 * a * a * q)


def gaussian_mean(q: float, a: float) -> float:
    """E[exp(−a u²)] = (1 + 2 a q)^{−1/2}."""
    return 1.0 / math.sqrt(1.0 + 2.0 * a * q)
