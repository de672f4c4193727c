"""E[φ(u)] and E[φ(u) ψ(v)] by Gauss–Legendre panels that end at kinks and shrink toward them: templates for generated code.

The functions called ``phi`` and ``psi`` here are stand-ins: ``codegen.fill`` puts the functions of one expectation in
their place. They return the value and, where V̇ is wanted, the derivative (else 0). ``phi_next(z)`` is the first break
(kink, jump, or 0) beyond z, ``phi_gap(z)`` the distance to the nearest one, ``phi_size()`` the scale on which φ varies
there: a panel is no wider than that scale, than 0.6 of the distance to a break, and than 1.5 standard deviations. What all
this does not know, an oscillation that gets faster say, is seen in the values: a panel is halved until they are those of a
polynomial (``doubt``), to 1e-13 of the size of φ. Where that takes more panels than are allowed, there is no number: nan.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tp.gaussian.powers import beyond, node, tail
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


def psi_mean(m: float, s: float, norm: float, steep: float, most: int) -> tuple[float, float]:
    """Stand-in: ``phi_mean`` of ψ."""
    return phi_mean(m, s, norm, steep, most)


def psi_reach(m: float, s: float, moment: float, norm: float, steep: float) -> tuple[float, float, float]:
    """Stand-in: ``phi_reach`` of ψ."""
    return phi_reach(m, s, moment, norm, steep)


def phi_reach(m: float, s: float, moment: float, norm: float, steep: float) -> tuple[float, float, float]:
    """Standard deviations beyond which φ(m + s y) times the density is below rounding of what it is before, 9 to 37; sizes.

    So for φ', and where ``moment`` is 2 for φ² and φ'². Sizes are the largest |φ| and |φ'| times the density, or its root where
    ``moment`` is 2, at some places, or those given if larger: what errors are measured with. Narrow features are looked for at
    their places.
    """
    b, top, fast, least, near = 0.0, 0.0, 0.0, 1e-15 if moment == 1.0 else 3e-8, phi_next(m - 37.0 * s)
    given = norm > 0.0
    while not given and near < m + 37.0 * s:
        width = min(phi_next(near) - near, phi_size())
        for k in range(6):
            z = near + (0.25 * (k - 1) * phi_size() if k < 3 else (0.31 * k - 0.8) * width)
            f, df = phi(z)
            rare = math.exp(-0.5 * ((z - m) / s) ** 2 / moment)
            norm, steep = max(norm, abs(f) * rare), max(steep, abs(df) * rare)
        near = phi_next(near)
    while b < 37.0:
        f, df = phi(m + s * b)
        g, dg = phi(m - s * b)
        rare, value, slope = math.exp(-0.5 * b * b / moment), max(abs(f), abs(g)), max(abs(df), abs(dg))
        norm = norm if max(value, slope) < 1e290 else math.inf
        value, slope = value * rare, slope * rare
        top, fast = max(top, value), max(fast, slope)
        if b >= 9.0 and (given or top > 0.0) and value <= least * top and slope <= least * fast:
            break
        b += 1.5 if b < 9.0 else 1.0
    return b, max(norm, top), max(steep, fast)


def phi_panel(m: float, s: float, y: float, size: float, widest: float) -> float:
    """Where the panel that starts at y ends, for φ(m + s y)."""
    z = m + s * y
    stop = y + min(widest, max(size, 0.6 * phi_gap(z)) / s)
    at = phi_next(z)
    if (at - m) / s <= y:  # the break at which this panel starts, but for rounding
        at = phi_next(at)
    return min(stop, (at - m) / s)


def doubt(row: Any) -> float:
    """How far the 16-point rule may be off, ``row`` the values at its nodes and near the ends, relative to half the panel.

    The last Legendre coefficients, 14 and 15, or a share of those before, should these be small by chance. Of smooth functions
    the rule misses far less, what comes from 32 on; but what a kink of size 1e-6 adds to one is in no decay that could be
    extrapolated, and its error is no larger than this. A kink or jump beyond the last node they do not show: what the values
    near the ends are off the polynomial through the others counts for the share of the panel there. Rounding is left out.
    """
    k12, k13, k14, k15, largest, low, high = 0.0, 0.0, 0.0, 0.0, 0.0, row[16], row[17]
    for i in range(8):
        a, b, c, d = tail(i)
        even, odd = row[2 * i + 1] + row[2 * i], row[2 * i + 1] - row[2 * i]
        largest = max(largest, max(abs(row[2 * i]), abs(row[2 * i + 1])))
        k12, k13, k14, k15 = k12 + a * even, k13 + b * odd, k14 + c * even, k15 + d * odd
        a, b = beyond(i)
        low, high = low - (a * row[2 * i] + b * row[2 * i + 1]), high - (a * row[2 * i + 1] + b * row[2 * i])
    inside = max(abs(k14) + abs(k15), 0.03 * (abs(k12) + abs(k13)))
    return max(max(inside, 0.0106 * max(abs(low), abs(high))) - 1e-14 * largest, 0.0)


def phi_fits(m: float, s: float, y: float, stop: float, norm: float, steep: float, moment: float, room: Any) -> bool:
    """Whether the rule is right on a panel; ``room`` gets φ(m + s t), φ' at nodes and near ends, the lower first."""
    half, middle = 0.5 * (stop - y), 0.5 * (stop + y)
    for i in range(9):
        x, _ = node(i)
        for side in range(2):
            f, df = phi(m + s * (middle + half * (x if side == 1 else -x)))
            room[0, 2 * i + side] = f
            room[1, 2 * i + side] = df
    near = max(max(y, -stop), 0.0)
    most = 1e-13 * math.exp(0.5 * near * near / moment) / half
    return not (doubt(room[0]) > most * norm or doubt(room[1]) > most * steep)


def phi_mean(m: float, s: float, norm: float, steep: float, most: int) -> tuple[float, float]:
    """E[φ(m + s y)] and E[φ'(m + s y)], y standard normal, to 1e-13 of their sizes here or of the sizes given, what is larger.

    Where ``most`` panels are too few, or φ too large, nan.
    """
    if not s > 0.0:
        return phi(m)
    end, norm, steep = phi_reach(m, s, 1.0, norm, steep)
    y, value, slope, width, room = -end, 0.0, 0.0, 1.5, np.empty((2, 18))
    while y < end and most > 0:
        stop = min(phi_panel(m, s, y, phi_size(), 1.5), min(y + 2.0 * width, end))
        while not phi_fits(m, s, y, stop, norm, steep, 1.0, room) and most > 0:
            stop, most = y + 0.5 * (stop - y), most - 1
        half, middle = 0.5 * (stop - y), 0.5 * (stop + y)
        for i in range(8):
            x, w = node(i)
            for side in range(2):
                t = middle + half * (x if side == 1 else -x)
                w1 = w * half * math.exp(-0.5 * t * t)
                value += w1 * room[0, 2 * i + side]
                slope += w1 * room[1, 2 * i + side]
        y, width, most = stop, stop - y, most - 1
    if most <= 0 or norm == math.inf:
        return math.nan, math.nan
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


def mean_table(slope: float, s: float, low: float, high: float, norm: float, steep: float, table: Any) -> float:
    """E[ψ(slope t + s Z)], and of ψ', at nodes of a panel from ``low``, halved until they are a polynomial; its end.

    Where that takes more than is worth while, ``low``: there is no table.
    """
    while high - low > 1e-6:
        half, middle = 0.5 * (high - low), 0.5 * (high + low)
        for i in range(9):
            x, _ = node(i)
            for side in range(2):
                t = middle + half * (x if side == 1 else -x)
                rare = math.exp(0.25 * t * t)
                g, dg = psi_mean(slope * t, s, norm * rare, steep * rare, 4000)
                table[0, 2 * i + side] = g
                table[1, 2 * i + side] = dg
        near = max(max(low, -high), 0.0)
        least = 1e-13 * math.exp(0.25 * near * near)
        if not (doubt(table[0]) > least * norm or doubt(table[1]) > least * steep):
            return high
        high = middle
    return low


def between(table: Any, x: float) -> tuple[float, float]:
    """The polynomials through a panel's two rows of values, at x in [−1, 1], barycentric.  Berrut & Trefethen 2004."""
    f, df, whole, sign = 0.0, 0.0, 0.0, 1.0
    for i in range(8):
        a, w = node(i)
        weight, low, high = sign * math.sqrt((1.0 - a * a) * w), x + a, x - a
        down, up = -weight / (low if low != 0.0 else 1e-300), weight / (high if high != 0.0 else 1e-300)
        f += down * table[0, 2 * i] + up * table[0, 2 * i + 1]
        df += down * table[1, 2 * i] + up * table[1, 2 * i + 1]
        whole, sign = whole + down + up, -sign
    return f / whole, df / whole


def pair(q1: float, c: float, q2: float) -> tuple[float, float]:
    """E[φ(u) ψ(v)] and E[φ'(u) ψ'(v)]: outside over u, inside the mean of ψ given u; nan where too many panels are needed.

    Given u = √q1 y, v has mean c y/√q1 and standard deviation √(D/q1). Where φ varies faster than this mean, as what oscillates
    does, the mean is tabulated on panels of its own.
    """
    r1, r2 = math.sqrt(q1), math.sqrt(q2)
    if not r1 > 0.0:
        f, df = phi(0.0)
        g, dg = psi_mean(0.0, r2, 0.0, 0.0, 4000)
        return f * g, df * dg
    (end, norm, steep), (_, other, steeper) = phi_reach(0.0, r1, 2.0, 0.0, 0.0), psi_reach(0.0, r2, 2.0, 0.0, 0.0)
    if math.isnan(psi_mean(0.0, r2, 0.0, 0.0, 4000)[0]) or math.isnan(phi_mean(0.0, r1, 0.0, 0.0, 4000)[0]):
        return math.nan, math.nan
    slope, s, most = c / r1, radii(q1, c, q2)[0] / r1, 2000
    y, value, dot, width, room, table = -end, 0.0, 0.0, 1.5, np.empty((2, 18)), np.empty((2, 18))
    low, high = y, y  # where there is a table
    while y < end and most > 0:
        own = phi_panel(0.0, r1, y, phi_size(), 1.5)
        if y >= high:
            far = min(mean_panel(slope, s, y), end)
            worth = s > 0.0 and min(far, y + 1.5) - y > 2.0 * (own - y)
            low, high = y, mean_table(slope, s, y, min(far, y + 1.5), other, steeper, table) if worth else y
        stop = min(own, min(high if y < high else far, y + 2.0 * width))
        while True:
            half, middle = 0.5 * (stop - y), 0.5 * (stop + y)
            for i in range(9):
                x, _ = node(i)
                for side in range(2):
                    t = middle + half * (x if side == 1 else -x)
                    f, df = phi(r1 * t)
                    if y < high:
                        g, dg = between(table, (2.0 * t - low - high) / (high - low))
                    else:
                        rare = math.exp(0.25 * t * t)
                        g, dg = psi_mean(slope * t, s, other * rare, steeper * rare, 4000)
                    room[0, 2 * i + side] = f * g
                    room[1, 2 * i + side] = df * dg
            near = max(max(y, -stop), 0.0)
            least = 1e-13 * math.exp(0.5 * near * near) / half
            most -= 1
            if not (doubt(room[0]) > least * norm * other or doubt(room[1]) > least * steep * steeper) or most <= 0:
                break
            stop = middle
        for i in range(8):
            x, w = node(i)
            for side in range(2):
                t = middle + half * (x if side == 1 else -x)
                w1 = w * half * math.exp(-0.5 * t * t)
                value += w1 * room[0, 2 * i + side]
                dot += w1 * room[1, 2 * i + side]
        y, width = stop, stop - y
    if most <= 0:
        return math.nan, math.nan
    return 0.3989422804014327 * value, 0.3989422804014327 * dot
