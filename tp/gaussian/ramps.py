"""E[φ(u) ψ(v)] for kinks and jumps away from 0: ramps max(x + t, 0) and steps 1{x + t > 0}, as scalar functions.

By Price's theorem ∂²E/∂c² of two ramps is the Gaussian density at their kinks, so E is its value and slope at c = 0 plus a
single integral along the path from 0 to c: smooth, of one sign, the same integral for E and ∂E/∂c.
Price 1958; Plackett 1954.
"""

from __future__ import annotations

import math

from tp.gaussian.powers import node
from tp.gaussian.primitives import arc, radii
from tp.gaussian.scalars import normal_cdf, normal_pdf


def ramp_mean(q: float, t: float) -> float:
    """E[max(u + t, 0)] = t Φ(t/√q) + √q φ(t/√q)."""
    r = math.sqrt(q)
    return t * normal_cdf(t / r) + r * normal_pdf(t / r) if r > 0.0 else max(t, 0.0)


def jump_mean(q: float, t: float) -> float:
    """P(u + t > 0) = Φ(t/√q)."""
    r = math.sqrt(q)
    return normal_cdf(t / r) if r > 0.0 else 1.0 if t > 0.0 else 0.0


def density_path(q1: float, c: float, q2: float, t1: float, t2: float) -> tuple[float, float]:
    """∫₀ᶜ (c − s) p(s) ds and ∫₀ᶜ p(s) ds, p(s) the density of (u, v) at (−t1, −t2) when their covariance is s.

    With s = ±r cos η this is (1/2π) ∫ exp(−(h ∓ k)²/(2 sin² η) ∓ hk/(1 + cos η)) dη from arccos |ρ| to π/2,
    h = t1/√q1, k = t2/√q2, on panels that halve toward η = 0 down to |h ∓ k|/9, where nothing is left.
    """
    if not (q1 > 0.0 and q2 > 0.0):
        return 0.0, 0.0
    h, k = t1 / math.sqrt(q1), t2 / math.sqrt(q2)
    k = k if c >= 0.0 else -k
    root, r = radii(q1, c, q2)
    end, high, apart = arc(root, abs(c)), 1.5707963267948966, abs(h - k)
    value, slope = 0.0, 0.0
    while high > end and high > apart / 9.0:
        low = end if apart == 0.0 else max(0.5 * high, end)
        half, middle = 0.5 * (high - low), 0.5 * (high + low)
        for i in range(8):
            x, w = node(i)
            for side in range(2):
                eta = middle + half * (x if side == 1 else -x)
                s = apart / math.sin(eta)
                p = w * half * math.exp(-0.5 * s * s - h * k / (1.0 + math.cos(eta)))
                slope += p
                value += p * 2.0 * math.sin(0.5 * (eta + end)) * math.sin(0.5 * (eta - end))
        high = low
    return 0.15915494309189535 * r * value, 0.15915494309189535 * (slope if c >= 0.0 else -slope)


def ramp_pair(q1: float, c: float, q2: float, t1: float, t2: float) -> tuple[float, float]:
    """V, V̇ for max(u + t1, 0), max(v + t2, 0): means, plus c times the mean slopes, plus ``density_path``."""
    value, slope = density_path(q1, c, q2, t1, t2)
    vdot = jump_mean(q1, t1) * jump_mean(q2, t2)
    return ramp_mean(q1, t1) * ramp_mean(q2, t2) + c * vdot + value, vdot + slope


def ramp_ramp(q1: float, c: float, q2: float, t1: float, t2: float) -> float:
    """E[max(u + t1, 0) max(v + t2, 0)], see ``ramp_pair``."""
    return ramp_pair(q1, c, q2, t1, t2)[0]


def jump_jump(q1: float, c: float, q2: float, t1: float, t2: float) -> float:
    """P(u + t1 > 0, v + t2 > 0), the bivariate normal distribution function.  Plackett 1954."""
    return jump_mean(q1, t1) * jump_mean(q2, t2) + density_path(q1, c, q2, t1, t2)[1]


def opposite_ramp_pair(q1: float, c: float, q2: float, t1: float, t2: float) -> tuple[float, float]:
    """V, V̇ for max(t1 + u, 0), max(t2 − v, 0): ``ramp_pair`` of u and −v."""
    value, slope = ramp_pair(q1, -c, q2, t1, t2)
    return value, -slope


def opposite_ramps(q1: float, c: float, q2: float, t1: float, t2: float) -> float:
    """E[max(t1 + u, 0) max(t2 − v, 0)]."""
    return ramp_pair(q1, -c, q2, t1, t2)[0]


def opposite_jumps(q1: float, c: float, q2: float, t1: float, t2: float) -> float:
    """P(t1 + u > 0, t2 − v > 0)."""
    return jump_jump(q1, -c, q2, t1, t2)


def linear_ramp_pair(q1: float, c: float, q2: float, t: float) -> tuple[float, float]:
    """V, V̇ for u, max(v + t, 0): c Φ(t/√q2) and Φ(t/√q2), Stein's lemma."""
    vdot = jump_mean(q2, t)
    return c * vdot, vdot


def linear_ramp(q1: float, c: float, q2: float, t: float) -> float:
    """E[u max(v + t, 0)] = c Φ(t/√q2)."""
    return c * jump_mean(q2, t)


def linear_jump(q1: float, c: float, q2: float, t: float) -> float:
    """E[u 1{v + t > 0}] = c φ(t/√q2)/√q2."""
    r = math.sqrt(q2)
    return c / r * normal_pdf(t / r) if r > 0.0 else 0.0
