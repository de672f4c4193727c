"""Mehler's expansion: E[φ(u) ψ(v)] = Σ_k a_k(q1) b_k(q2) ρ^k with Hermite coefficients computed once per site.

a_k(q) = E[φ(√q z) h_k(z)]. They come from φ' where there is one, a_k = √(q/k) a'_{k−1}, so that V and V̇ keep their
relative accuracy at small q, and are stored divided by √q. ``out`` is laid out as

    out[0] = E φ,  out[k] = a_k/√q (1 ≤ k < K),  out[K] = tail of V,  out[K+1] = tail of V̇,

a tail being √((E φ² − Σ a_k²)/E φ²): the terms left out of V are below |ρ|^K times the product of the two tails, relative to
√(E φ² E ψ²) (Cauchy–Schwarz), and |ρ|^{K−1} for V̇.
They are infinite where φ takes more panels than are allowed: then the coefficients are 0 and mean nothing, and pairs are not
made of them. The functions called ``phi``, ``psi``, ``pair`` are stand-ins, see ``panels``.
O'Donnell 2014, *Analysis of Boolean Functions*, ch. 11; Daniely, Frostig & Singer 2016.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tp.gaussian.panels import pair, phi, phi_fits, phi_panel, phi_reach, phi_size
from tp.gaussian.powers import node


def samples(q: float, top: int) -> Any:
    """Rows y, weight·e^{−y²/4}/√(2π), φ(√q y), φ'(√q y) at nodes of panels that resolve h_top; none if too many or large."""
    r, ends, panels = math.sqrt(q), np.empty(4097), 0
    end, norm, steep = phi_reach(0.0, r, 2.0, 0.0, 0.0)
    widest, room, width, tries = min(1.5, 10.0 / math.sqrt(top)), np.empty((2, 18)), 1.5, 0
    y = ends[0] = -end
    while y < end and tries < 8192 and panels < 4096:
        stop = min(phi_panel(0.0, r, y, phi_size(), widest), min(y + 2.0 * width, end))
        while not phi_fits(0.0, r, y, stop, norm, steep, 2.0, room) and tries < 8192:
            stop, tries = y + 0.5 * (stop - y), tries + 1
        width, panels = stop - y, panels + 1
        y = ends[panels] = stop
    rows = np.empty((4, 16 * panels if y >= end and tries < 8192 and norm < math.inf else 0))
    for p in range(rows.shape[1] // 16):
        half, middle = 0.5 * (ends[p + 1] - ends[p]), 0.5 * (ends[p + 1] + ends[p])
        for i in range(8):
            x, w = node(i)
            for side in range(2):
                t, k = middle + half * (x if side == 1 else -x), 16 * p + 2 * i + side
                f, df = phi(r * t)
                rows[0, k] = t
                rows[1, k] = 0.3989422804014327 * w * half * math.exp(-0.25 * t * t)
                rows[2, k] = f
                rows[3, k] = df
    return rows


def project(rows: Any, which: int, out: Any, first: int, terms: int) -> float:
    """out[first + k] = Σ weight f ψ_k for k < terms, f the row ``which``; the sum of squares Σ weight f² is returned.

    Weighted recursion √(k+1) ψ_{k+1} = x ψ_k − √k ψ_{k−1}, ψ_k = h_k e^{−x²/4}, all nodes at a time.
    """
    x, n = rows[0], rows.shape[1]
    before, now, weight = np.empty(n), np.empty(n), np.empty(n)
    square = 0.0
    for i in range(n):
        before[i] = 0.0
        now[i] = math.exp(-0.25 * x[i] * x[i])
        weight[i] = rows[1, i] * rows[which, i]
        square += weight[i] * now[i] * rows[which, i]
    for k in range(0, terms, 2):
        down, up, even, odd = math.sqrt(k), 1.0 / math.sqrt(k + 1.0), 0.0, 0.0
        lower, upper = math.sqrt(k + 1.0), 1.0 / math.sqrt(k + 2.0)
        for i in range(n):  # two steps of the recursion at a time
            following = (x[i] * now[i] - down * before[i]) * up
            even += weight[i] * now[i]
            odd += weight[i] * following
            now[i] = (x[i] * following - lower * now[i]) * upper
            before[i] = following
        out[first + k] = even
        if k + 1 < terms:
            out[first + k + 1] = odd
    return square


def site(q: float, out: Any) -> float:
    """Fill ``out`` from φ and φ'; the larger of the two tails."""
    top = out.shape[0] - 2
    for k in range(top + 2):
        out[k] = 0.0
    if not q > 0.0:
        f, df = phi(0.0)
        out[0] = f
        out[1] = df
        return 0.0
    rows = samples(q, top)
    if rows.shape[1] == 0:
        out[top] = out[top + 1] = math.inf
        return math.inf
    slope, mean, value = project(rows, 3, out, 1, top - 1), 0.0, 0.0
    for i in range(rows.shape[1]):
        mass = rows[1, i] * math.exp(-0.25 * rows[0, i] * rows[0, i])
        mean += mass * rows[2, i]
        value += mass * rows[2, i] * rows[2, i]
    out[0] = mean
    left, dleft = value - mean * mean, slope
    for k in range(1, top):
        dleft -= out[k] ** 2
        left -= out[k] ** 2 * q / k
        out[k] /= math.sqrt(k)
    out[top] = math.sqrt(max(left, 2e-16 * value) / value) if value > 0.0 else 0.0
    out[top + 1] = math.sqrt(max(dleft, 2e-16 * slope) / slope) if slope > 0.0 else 0.0
    return max(out[top], out[top + 1])


def squares(q: float, out: Any) -> tuple[float, float]:
    """What the coefficients of ``site`` make of E φ² and of E φ'²."""
    value, slope = 0.0, 0.0
    for k in range(1, out.shape[0] - 2):
        value += out[k] * out[k]
        slope += k * (out[k] * out[k])
    return out[0] * out[0] + q * value, slope


def count(q: float, eps: float) -> int:
    """The length of ``out`` at which both tails squared are below ``eps``; at most ``phi_most()`` coefficients.

    Tails shrink with q, so the largest q decides.
    """
    most = 32
    while most < phi_most():
        out = np.empty(most + 2)
        if site(q, out) == math.inf:
            return 4
        if out[most] ** 2 <= 0.1 * eps and out[most + 1] ** 2 <= 0.1 * eps:
            break
        most *= 2
    out = np.empty(most + 2)
    site(q, out)
    left, dleft, value, slope = out[most] ** 2, out[most + 1] ** 2, out[0] ** 2, 0.0
    for k in range(1, most):
        value += out[k] ** 2 * q
        slope += out[k] ** 2 * k
    for k in range(most - 1, 0, -1):
        left += out[k] ** 2 * q / value if value > 0.0 else 0.0
        dleft += out[k] ** 2 * k / slope if slope > 0.0 else 0.0
        if left > eps or dleft > eps:
            return k + 3
    return 4


def phi_most() -> int:
    """Stand-in: the largest number of coefficients that is worth while, a power of two."""
    return 1024


def series(a: Any, b: Any, rho: float, n: int) -> tuple[float, float]:
    """Σ s_k ρ^{k−1} and Σ k s_k ρ^{k−1} for 1 ≤ k < n, s_k = a_k b_k: Horner's rule in ρ⁴, four sums beside each other."""
    r4 = rho * rho * rho * rho
    t0, t1, t2, t3, d0, d1, d2, d3 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    top = (n - 1) // 4 * 4
    for k in range(n - 1, top, -1):
        t0, d0 = t0 * rho + a[k] * b[k], d0 * rho + k * (a[k] * b[k])
    for k in range(top - 3, 0, -4):
        s0, s1, s2, s3 = a[k] * b[k], a[k + 1] * b[k + 1], a[k + 2] * b[k + 2], a[k + 3] * b[k + 3]
        t0, t1, t2, t3 = t0 * r4 + s0, t1 * r4 + s1, t2 * r4 + s2, t3 * r4 + s3
        d0, d1 = d0 * r4 + k * s0, d1 * r4 + (k + 1) * s1
        d2, d3 = d2 * r4 + (k + 2) * s2, d3 * r4 + (k + 3) * s3
    return t0 + rho * (t1 + rho * (t2 + rho * t3)), d0 + rho * (d1 + rho * (d2 + rho * d3))


def mehler(a: Any, b: Any, q1: float, c: float, q2: float) -> tuple[float, float]:
    """V, V̇ from two filled vectors: a_0 b_0 + c Σ s_k ρ^{k−1} and Σ k s_k ρ^{k−1}; by quadrature where the tails say so."""
    n = a.shape[0] - 2
    r = math.sqrt(q1) * math.sqrt(q2)
    rho = c / r if r > 0.0 else 0.0
    worst = max(a[n] * b[n], a[n + 1] * b[n + 1])
    if worst > 2e-12 and not worst * abs(rho) ** (n - 1) <= 2e-12:
        return pair(q1, c, q2)
    t, d = series(a, b, rho, n)
    return a[0] * b[0] + c * t, d


def largest(x: Any, m: int) -> float:
    """max |x[:m]|, four at a time that do not wait for each other."""
    a, b, c, d, whole = 0.0, 0.0, 0.0, 0.0, m - m % 4
    for z in range(0, whole, 4):
        p, q, r, s = abs(x[z]), abs(x[z + 1]), abs(x[z + 2]), abs(x[z + 3])
        a, b, c, d = p if p > a else a, q if q > b else b, r if r > c else c, s if s > d else d
    for z in range(whole, m):
        a = max(a, abs(x[z]))
    return max(max(a, b), max(c, d))


def mehler_rows(a: Any, b: Any, at: int, rows: Any, first: int, m: int) -> int:
    """``mehler``'s sums Σ s_k ρ^{k−1} and Σ k s_k ρ^{k−1} for one sample with m others; how many need quadrature instead.

    ``a`` are the coefficients of the one, ``b[:, at:at + m]`` those of the others, their tails replaced by the largest, and the
    last column bounds all of them, |b_k| ≤ b[k, -1] (Σ j b_j²)^½; ρ is in ``rows[first]``, the sums go to ``rows[first + 1]`` and
    ``rows[first + 2]``. Horner's rule for the sum and its derivative together, in ρ² where every other term vanishes, and only
    as far as the largest |ρ| and the bound need for V̇ to be right to 2e-16 of the norms.
    """
    n, x, t, d = a.shape[0] - 2, rows[first], rows[first + 1], rows[first + 2]
    top, last, missed, even, odd = max(largest(x, m), 1e-16), b.shape[1] - 1, 0, 0.0, 0.0
    worst = max(a[n] * b[n, at], a[n + 1] * b[n + 1, at])
    if worst > 2e-12 and not worst * top ** (n - 1) <= 2e-12:
        limit = (2e-12 / worst) ** (1.0 / (n - 1)) if worst < math.inf else -1.0
        for z in range(m):
            missed += 0 if abs(x[z]) <= limit else 1
    most = n - 1 if top >= 1.0 else min(n - 1, 4 + int(-36.0 / math.log(top)))
    for k in range(1, most + 1, 2):
        odd += k * (a[k] * a[k])
    for k in range(2, most + 1, 2):
        even += k * (a[k] * a[k])
    step, scale = (2, 2.0) if even <= 1e-28 * odd else (1, 1.0)
    power, inverse, left = top ** (most - 1), 1.0 / top, 2e-16 * math.sqrt(even + odd)
    while most > 1:
        left -= most * abs(a[most]) * b[most, last] * power
        if not left > 0.0:
            break
        power, most = power * inverse, most - 1
    terms = (most - 1) // step + 1
    for z in range(m):
        x[z] = x[z] * x[z] if step == 2 else x[z]
        t[z] = 0.0
        d[z] = 0.0
    j = terms - 1
    while j >= 0:
        if j >= 3:
            k0, k1, k2, k3 = 1 + step * j, 1 + step * (j - 1), 1 + step * (j - 2), 1 + step * (j - 3)
            b0, b1, b2, b3 = b[k0, at : at + m], b[k1, at : at + m], b[k2, at : at + m], b[k3, at : at + m]
            a0, a1, a2, a3 = a[k0], a[k1], a[k2], a[k3]
            for z in range(m):
                r, p, q = x[z], t[z], d[z]
                q = q * r + p
                p = p * r + a0 * b0[z]
                q = q * r + p
                p = p * r + a1 * b1[z]
                q = q * r + p
                p = p * r + a2 * b2[z]
                d[z] = q * r + p
                t[z] = p * r + a3 * b3[z]
            j -= 4
        else:
            ak, bk = a[1 + step * j], b[1 + step * j, at : at + m]
            for z in range(m):
                d[z] = d[z] * x[z] + t[z]
                t[z] = t[z] * x[z] + ak * bk[z]
            j -= 1
    for z in range(m):
        d[z] = t[z] + scale * x[z] * d[z]
    return missed


def site_of_jump(q: float, out: Any) -> float:
    """``site`` for a φ without square-integrable derivative: out[k] = a_k, and out[K] = out[K+1] the tail of V."""
    top = out.shape[0] - 2
    for k in range(top + 2):
        out[k] = 0.0
    if not q > 0.0:
        out[0] = phi(0.0)[0]
        return 0.0
    rows = samples(q, top)
    if rows.shape[1] == 0:
        out[top] = out[top + 1] = math.inf
        return math.inf
    value = project(rows, 2, out, 0, top)
    left = value
    for k in range(top):
        left -= out[k] ** 2
    out[top] = math.sqrt(max(left, 2e-16 * value) / value) if value > 0.0 else 0.0
    out[top + 1] = out[top]
    return out[top]


def squares_of_jump(q: float, out: Any) -> tuple[float, float]:
    """What the coefficients of ``site_of_jump`` make of E φ², twice: it has no other tail."""
    value = 0.0
    for k in range(out.shape[0] - 2):
        value += out[k] * out[k]
    return value, value


def count_of_jump(q: float, eps: float) -> int:
    """As many coefficients as are worth while: the tail of a jump falls like K^{−1/2}, so |ρ| near 1 goes to quadrature."""
    return phi_most() + 2


def mehler_of_jump(a: Any, b: Any, q1: float, c: float, q2: float) -> tuple[float, float]:
    """V = Σ a_k b_k ρ^k (and nan) from two vectors of ``site_of_jump``."""
    n = a.shape[0] - 2
    r = math.sqrt(q1) * math.sqrt(q2)
    rho = c / r if r > 0.0 else 0.0
    if not a[n] * b[n] * abs(rho) ** n <= 2e-12:
        return pair(q1, c, q2)
    return a[0] * b[0] + rho * series(a, b, rho, n)[0], math.nan
