"""E[φ(u) ψ(v)] for ELUs, x above 0 and α (eˣ − 1) below, in polar coordinates.

In each quadrant (|u|, |v|) = R (√q1 sin t, √q2 sin(ω − t)) for 0 < t < ω, ω = ψ where the signs agree and π − ψ where they
differ. The radial integrals are Mills ratios, the angular one is done by panels that double in width away from both ends.
Every summand is a difference that is formed without cancellation, so small variances and ρ → ±1 are exact too.

    m(k) = ∫ e^{−R²/2 − kR} dR,   M_n(k) = ∫ Rⁿ e^{−R²/2 − kR} dR,   Δ_n(k) = M_n(0) − M_n(k)

Law: Tsuchida et al. 2021, *Avoiding Kernel Fixed Points*; polar coordinates: Cho & Saul 2009.
"""

from __future__ import annotations

import math

from tp.gaussian.powers import node
from tp.gaussian.primitives import arc, radii, relu_pair


def mills(k: float) -> tuple[float, float]:
    """m(k) = √(π/2) e^{k²/2} erfc(k/√2) and M_1(k) = 1 − k m(k), k ≥ 0; from k = 3 by Laplace's continued fraction."""
    if k < 3.0:
        m = 1.2533141373155003 * math.exp(0.5 * k * k) * math.erfc(0.7071067811865476 * k)
        return m, 1.0 - k * m
    tail = k
    for j in range(6 + int(400.0 / (k * k) + 60.0 / k), 1, -1):
        tail = k + j / tail
    return 1.0 / (k + 1.0 / tail), 1.0 / (k * tail + 1.0)


def mills_gap(k: float) -> float:
    """Δ_0(k) = √(π/2) − m(k); for small k the series Σ_{j≥1} (−1)^{j+1} k^j M_j(0)/j!."""
    if k > 0.5:
        return 1.2533141373155003 - mills(k)[0]
    total, odd, even = 0.0, k, 0.6266570686577501 * k * k
    for j in range(1, 24, 2):
        total += odd - even
        odd *= k * k / (j + 2.0)
        even *= k * k / (j + 3.0)
    return total


def both_gaps(a: float, b: float) -> float:
    """∫ R e^{−R²/2} (1 − e^{−aR})(1 − e^{−bR}) dR; for a small a (or b) its series Σ_i (−1)^{i+1} a^i Δ_{i+1}(b)/i!."""
    small, large = min(a, b), max(a, b)
    m, first = mills(large)
    if small > 0.25 or small * large > 4.0:
        sum_m, small_m = mills(small + large)[0], mills(small)[0]
        return large * m - ((small + large) * sum_m - small * small_m)
    lower, upper = large * m, mills_gap(large) + large * first  # Δ_1, Δ_2
    moment, before = first, m  # M_1, M_0
    total, power = 0.0, small
    for i in range(1, 20):
        total += power * upper
        power *= -small / (i + 1.0)
        before, moment = moment, i * before - large * moment
        lower, upper = upper, (i + 1.0) * lower + large * moment
    return total


def same_signs(w: float, r1: float, r2: float) -> tuple[float, float]:
    """∫ over 0 < t < w of ``both_gaps``(a, b) and of M_1(a + b), a = r1 sin t, b = r2 sin(w − t)."""
    gaps, tails, start, width = 0.0, 0.0, 0.0, 2.5 / max(r1, r2, 1e-300)
    top, sides = (w, 2) if width >= w else (0.5 * w, 4)  # one panel, or panels from both ends
    while start < top:
        stop = min(start + width, top)
        half, middle = 0.5 * (stop - start), 0.5 * (stop + start)
        for i in range(8):
            x, weight = node(i)
            for side in range(sides):
                near = middle + half * (x if side % 2 == 1 else -x)
                s, o = math.sin(near), math.sin(w - near)
                a, b = (r1 * s, r2 * o) if side < 2 else (r1 * o, r2 * s)
                gaps += half * weight * both_gaps(a, b)
                tails += half * weight * mills(a + b)[1]
        start, width = stop, 2.0 * width
    return gaps, tails


def other_signs(w: float, r1: float, r2: float, alpha1: float, alpha2: float) -> tuple[float, float]:
    """∫ over 0 < t < w of α2 a Δ_2(b) + α1 b Δ_2(a) and of α2 M_1(b) + α1 M_1(a), a = r1 sin t, b = r2 sin(w − t)."""
    ramps, tails, start, width = 0.0, 0.0, 0.0, 2.5 / max(r1, r2, 1e-300)
    top, sides = (w, 2) if width >= w else (0.5 * w, 4)  # one panel, or panels from both ends
    while start < top:
        stop = min(start + width, top)
        half, middle = 0.5 * (stop - start), 0.5 * (stop + start)
        for i in range(8):
            x, weight = node(i)
            for side in range(sides):
                near = middle + half * (x if side % 2 == 1 else -x)
                s, o = math.sin(near), math.sin(w - near)
                a, b = (r1 * s, r2 * o) if side < 2 else (r1 * o, r2 * s)
                m1, n1 = mills(a)[1], mills(b)[1]
                tails += half * weight * (alpha2 * n1 + alpha1 * m1)
                ramps += half * weight * (alpha2 * a * (mills_gap(b) + b * n1) + alpha1 * b * (mills_gap(a) + a * m1))
        start, width = stop, 2.0 * width
    return ramps, tails


def elu_pair(q1: float, c: float, q2: float, alpha1: float, alpha2: float) -> tuple[float, float]:
    """V, V̇ for elu(u; α1), elu(v; α2), quadrant by quadrant: relu, ``same_signs`` where both are negative, ``other_signs``."""
    r1, r2 = math.sqrt(q1), math.sqrt(q2)
    v, vdot = relu_pair(q1, c, q2)
    root = radii(q1, c, q2)[0]
    gaps, below = same_signs(arc(root, -c), r1, r2)
    ramps, tails = other_signs(arc(root, c), r1, r2, alpha1, alpha2)
    v += 0.15915494309189535 * (alpha1 * alpha2 * gaps - ramps)
    vdot += 0.15915494309189535 * (alpha1 * alpha2 * below + tails)
    return v, vdot


def elu_elu(q1: float, c: float, q2: float, alpha1: float, alpha2: float) -> float:
    """E[elu(u; α1) elu(v; α2)], see ``elu_pair``."""
    return elu_pair(q1, c, q2, alpha1, alpha2)[0]


def elu_slope(q1: float, c: float, q2: float, alpha1: float, alpha2: float) -> float:
    """E of the product of the two derivatives, see ``elu_pair``."""
    return elu_pair(q1, c, q2, alpha1, alpha2)[1]


def elu_mean(q: float, alpha: float) -> float:
    """E[elu(u; α)] = (√q − α Δ_0(√q))/√(2π)."""
    r = math.sqrt(q)
    return 0.3989422804014327 * (r - alpha * mills_gap(r))


def elu_mean_slope(q: float, alpha: float) -> float:
    """E[elu'(u; α)] = 1/2 + α m(√q)/√(2π)."""
    return 0.5 + 0.3989422804014327 * alpha * mills(math.sqrt(q))[0]


def linear_elu_pair(q1: float, c: float, q2: float, alpha: float) -> tuple[float, float]:
    """V, V̇ for u, elu(v; α): c E[elu'(v)] and E[elu'(v)], Stein's lemma."""
    vdot = elu_mean_slope(q2, alpha)
    return c * vdot, vdot


def linear_elu(q1: float, c: float, q2: float, alpha: float) -> float:
    """E[u elu(v; α)] = c E[elu'(v; α)]."""
    return c * elu_mean_slope(q2, alpha)
