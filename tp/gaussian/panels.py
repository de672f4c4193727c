"""E[φ(u)] and E[φ(u) ψ(v)] by Gauss–Legendre panels that end at kinks and shrink toward them: templates for generated code.

The functions called ``phi`` and ``psi`` here are stand-ins: ``codegen.fill`` puts the functions of one expectation in
their place. They return the value and, where V̇ is wanted, the derivative (else 0). ``phi_next(z)`` is the first break
(kink, jump, or 0) beyond z, ``phi_gap(z)`` the distance to the nearest one, ``phi_size()`` the scale on which φ varies
there: a panel is no wider than that scale, than 0.6 of the distance to a break, and than 1.5 standard deviations.
"""

from __future__ import annotations

import math

from tp.gaussian.powers import node
from tp.gaussian.primitives import radii


def phi(x: float) -> tuple[float, float]:
    """Stand-in: φ(x), φ'(x)."""
    return math.tanh(x), 1.0 - math.tanh(x) ** 2


def phi_next(z: float) -> float:
    """Stand-in: the first break of φ beyond z."""
    return 0.0 if z < 0.0 else math.inf


def phi_gap(z: float) -> float:
    """Stand-in: the distance from z to the nearest break of φ."""
    return abs(z)


def phi_size() -> float:
    """Stand-in: the scale on which φ varies near its breaks."""
    return 2.0


def psi(x: float) -> tuple[float, float]:
    """Stand-in for the second function."""
    return phi(x)


def psi_next(z: float) -> float:
    """Stand-in: the first break of ψ beyond z."""
    return phi_next(z)


def psi_last(z: float) -> float:
    """Stand-in: the last break of ψ before z."""
    return 0.0 if z > 0.0 else -math.inf


def psi_gap(z: float) -> float:
    """Stand-in: the distance from z to the nearest break of ψ."""
    return phi_gap(z)


def psi_blur(s: float) -> float:
    """Stand-in: the scale on which E[ψ(m + s y)] varies in m near ψ's breaks: s where ψ has a kink or jump."""
    return max(s, phi_size())


def psi_mean(m: float, s: float) -> tuple[float, float]:
    """Stand-in: ``phi_mean`` of ψ."""
    return phi_mean(m, s)


def phi_reach(m: float, s: float) -> float:
    """Standard deviations beyond which φ(m + s y) times the density is below rounding of what it is before; 9 to 37."""
    b, top = 0.0, 0.0
    while b < 37.0:
        most = max(abs(phi(m + s * b)[0]), abs(phi(m - s * b)[0])) * math.exp(-0.5 * b * b)
        if b >= 9.0 and most <= 1e-15 * top:
            return b
        top = max(top, most)
        b += 3.0 if b < 9.0 else 1.0
    return b


def phi_panel(m: float, s: float, y: float, size: float, widest: float) -> float:
    """Where the panel that starts at y ends, for φ(m + s y)."""
    z = m + s * y
    stop = y + min(widest, max(size, 0.6 * phi_gap(z)) / s)
    at = phi_next(z)
    if (at - m) / s <= y:  # the break at which this panel starts, but for rounding
        at = phi_next(at)
    return min(stop, (at - m) / s)


def phi_mean(m: float, s: float) -> tuple[float, float]:
    """E[φ(m + s y)] and E[φ'(m + s y)], y standard normal."""
    if not s > 0.0:
        return phi(m)
    end = phi_reach(m, s)
    y, value, slope = -end, 0.0, 0.0
    while y < end:
        stop = min(phi_panel(m, s, y, phi_size(), 1.5), end)
        half, middle = 0.5 * (stop - y), 0.5 * (stop + y)
        for i in range(8):
            x, w = node(i)
            for side in range(2):
                t = middle + half * (x if side == 1 else -x)
                f, df = phi(m + s * t)
                w1 = w * half * math.exp(-0.5 * t * t)
                value += w1 * f
                slope += w1 * df
        y = stop
    return 0.3989422804014327 * value, 0.3989422804014327 * slope


def mean_panel(slope: float, s: float, y: float) -> float:
    """Where the panel that starts at y ends, for E[ψ(slope y + s Z)]: it varies on the larger of s and ψ's own scale."""
    steep, m = abs(slope), slope * y
    if steep == 0.0:
        return math.inf
    stop = y + max(psi_blur(s), 0.6 * psi_gap(m), 1e-12 * steep) / steep
    at = psi_next(m) if slope > 0.0 else psi_last(m)
    if at / slope <= y:
        at = psi_next(at) if slope > 0.0 else psi_last(at)
    return min(stop, at / slope)


def pair(q1: float, c: float, q2: float) -> tuple[float, float]:
    """E[φ(u) ψ(v)] and E[φ'(u) ψ'(v)]: outside over u, inside the mean of ψ given u.

    Given u = √q1 y, v has mean c y/√q1 and standard deviation √(D/q1).
    """
    r1 = math.sqrt(q1)
    if not r1 > 0.0:
        f, df = phi(0.0)
        g, dg = psi_mean(0.0, math.sqrt(q2))
        return f * g, df * dg
    slope, s, end = c / r1, radii(q1, c, q2)[0] / r1, phi_reach(0.0, r1)
    y, value, dot = -end, 0.0, 0.0
    while y < end:
        stop = min(min(phi_panel(0.0, r1, y, phi_size(), 1.5), mean_panel(slope, s, y)), end)
        half, middle = 0.5 * (stop - y), 0.5 * (stop + y)
        for i in range(8):
            x, w = node(i)
            for side in range(2):
                t = middle + half * (x if side == 1 else -x)
                f, df = phi(r1 * t)
                g, dg = psi_mean(slope * t, s)
                w1 = w * half * math.exp(-0.5 * t * t)
                value += w1 * f * g
                dot += w1 * df * dg
        y = stop
    return 0.3989422804014327 * value, 0.3989422804014327 * dot
