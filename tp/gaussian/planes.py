"""E[φ(u) ψ(v)], u and v Gaussian in the plane: Hermite coefficients of both sides and what takes one to the other.

Each side is whitened with its own covariance, u = L x and v = M y by Cholesky's factors; R = L⁻¹ Cov(u, v) M⁻ᵀ is all that joins
them. With c_k the coefficients of φ(L x) of degree k in Hermite polynomials h_{k−j}(x₁) h_j(x₂), and d_k those of ψ(M y),

    E[φ(u) ψ(v)] = Σ_k c_kᵀ Γ_k(R) d_k,    Γ_k(R) = R ⊗ Γ_{k−1}(R) between symmetric tensors

(Janson 1997, *Gaussian Hilbert Spaces*, ch. 4; in one variable Γ_k = ρ^k: Mehler). Γ_k is a contraction, so the recursion
neither loses digits nor lets sums grow, and with s the largest singular value of R the terms left out beyond degree K are at most
s^{K+1} (E φ² − Σ|c_k|²)^½ (E ψ² − Σ|d_k|²)^½ (Parseval, Cauchy–Schwarz): numbers at hand. Where one variable is a multiple of the
other, or 0, nothing is different: what does not vary has no coefficients.

Coefficients are integrals by the trapezoid rule, which is exact to rounding for what is analytic in a strip as soon as its step
is small enough. That it is, shows where two steps, one 0.7 times the other, agree to 1e-12: what one of them takes for
something else, the other does not. Functions with kinks do not get there, and have no number: nan; what agrees to 1e-7 at 0.03
may get there by steps down to 0.01, as functions of products of large variance do.

``phi`` is a stand-in, see ``panels``: it puts the values of some functions at (x, y) into a row of a table. A vector holds for
one function after the other its coefficients by degree, then how large its tail is, relative to (E φ²)^½, and (E φ²)^½.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

EXPANSION = "Hermite expansions of functions of two correlated Gaussians (Janson 1997, ch. 4)"
MEAN = "trapezoid rule in the plane"
RULES = frozenset({EXPANSION, MEAN})
"""What equations that take functions of two Gaussians of a sample cite. Where variances are large they have no number."""


def phi(x: float, y: float, row: Any) -> None:
    """Stand-in: the values of all functions."""
    row[0] = math.tanh(x) * y


def phi_number() -> int:
    """Stand-in: how many functions there are."""
    return 1


def triangle(p11: float, p12: float, p22: float) -> tuple[float, float, float]:
    """Cholesky's factor of a covariance; as much is added to p22 as keeps 1e-7 of its root independent of the first variable."""
    if not p11 > 0.0:
        return 0.0, 0.0, math.sqrt(max(p22, 0.0))
    first = math.sqrt(p11)
    slope = p12 / first
    return first, slope, math.sqrt(max(p22 - slope * slope, 1e-14 * p22))


def waves(nodes: int, step: float, top: int) -> Any:
    """The table [node, k], k ≤ top: h_k at nodes of the trapezoid rule, times their weights in a standard normal mean.

    √(k+1) ψ_{k+1} = x ψ_k − √k ψ_{k−1}, ψ_k = h_k e^{−x²/4}; by one more root of the density the rule has its weights.
    """
    found = np.empty((nodes, top + 1))
    for i in range(nodes):
        x = (i - 0.5 * (nodes - 1)) * step
        root = math.exp(-0.25 * x * x)
        before, now = 0.0, root * root * step * 0.3989422804014327
        for k in range(top + 1):
            found[i, k] = now
            before, now = now, (x * now - math.sqrt(k) * before) / math.sqrt(k + 1.0)
    return found


def project_plane(table: Any, values: Any, f: int, out: Any, first: int, row: Any) -> None:
    """out[first:] = Σ weights values[·, ·, f] h_{k−j} h_j, by degree k and then by j."""
    nodes, top = table.shape[0], table.shape[1] - 1
    for i in range(nodes):
        for j in range(top + 1):
            row[j] = 0.0
        for m in range(nodes):
            value = values[i, m, f]
            if value != 0.0:
                for j in range(top + 1):
                    row[j] += value * table[m, j]
        at = first
        for k in range(top + 1):
            for j in range(k + 1):
                out[at + j] += table[i, k - j] * row[j]
            at += k + 1


def at_step(l11: float, l21: float, l22: float, step: float, top: int, found: Any) -> bool:
    """Vectors by one step; whether no function is large where the rule ends.

    It ends at the radius 13.5, where e^{−r²/4} is 1e-20.
    """
    nodes, count, size = 2 * int(13.5 / step) + 1, phi_number(), (top + 1) * (top + 2) // 2
    table, values, row = waves(nodes, step, top), np.zeros((nodes, nodes, count)), np.empty(top + 1)
    squares, edges = np.zeros(count), np.zeros(count)
    for k in range(found.shape[0]):
        found[k] = 0.0
    for i in range(nodes):
        x = (i - 0.5 * (nodes - 1)) * step
        for m in range(nodes):
            y = (m - 0.5 * (nodes - 1)) * step
            if x * x + y * y < 182.25:
                phi(l11 * x, l21 * x + l22 * y, values[i, m])
                weight = table[i, 0] * table[m, 0]
                for f in range(count):
                    square = values[i, m, f] * values[i, m, f] * weight
                    squares[f] += square
                    if x * x + y * y > 156.25:
                        edges[f] = max(edges[f], square)
    fine = True
    for f in range(count):
        first = f * (size + 2)
        project_plane(table, values, f, found, first, row)
        left = squares[f]
        for k in range(size):
            left -= found[first + k] ** 2
        found[first + size] = math.sqrt(max(abs(left), 1e-15 * squares[f]) / squares[f]) if squares[f] > 0.0 else 0.0
        found[first + size + 1] = math.sqrt(squares[f])
        fine = fine and edges[f] <= 1e-22 * squares[f] and squares[f] < math.inf
    return fine


def plane(p11: float, p12: float, p22: float, found: Any) -> None:
    """The vectors at a covariance; tails are infinite where no step is small enough, and coefficients mean nothing then."""
    count = phi_number()
    size = found.shape[0] // count - 2
    top = degree(size)
    l11, l21, l22 = triangle(p11, p12, p22)
    before, step, off = np.zeros(found.shape[0]), first_step(top), 1.0
    fine = at_step(l11, l21, l22, step, top, before)
    while fine and off > 1e-12 and step > (0.03 if off > 1e-7 else 0.014):
        step *= 0.7
        fine = at_step(l11, l21, l22, step, top, found)
        off = apart(found, before, count)
    if not (fine and off <= 1e-12):
        for f in range(count):
            found[f * (size + 2) + size] = math.inf


def apart(found: Any, before: Any, count: int) -> float:
    """How far the vectors of two steps are from each other, relative to their norms; ``before`` becomes what is found now."""
    size, off = found.shape[0] // count, 0.0
    for f in range(count):
        norm = found[(f + 1) * size - 1]
        for k in range(size):
            if k != size - 2:  # the tail
                left = abs(found[f * size + k] - before[f * size + k])
                share = left / norm if 0.0 < norm < math.inf else 0.0 if left == 0.0 else math.inf
                off = off if share <= off else share
    for k in range(found.shape[0]):
        before[k] = found[k]
    return off


def degree(size: int) -> int:
    """The largest degree K with no more than (K + 1)(K + 2)/2 coefficients."""
    return int(0.5 * (math.sqrt(8.0 * size + 1.0) - 3.0) + 1e-9)


def plane_count(p11: float, p12: float, p22: float, eps: float) -> int:
    """What a function takes of a vector whose tails squared are below half of ``eps``, by a first look; at most 384 degrees."""
    l11, l21, l22 = triangle(p11, p12, p22)
    count, top, need = phi_number(), 12, -1
    while need < 0 and top < 384:
        top *= 2
        found = np.empty(count * ((top + 1) * (top + 2) // 2 + 2))
        at_step(l11, l21, l22, 0.8 * first_step(top), top, found)
        left = tails(found, count, top)
        for k in range(top, -1, -1):
            need = k if left[k] * left[k] <= 0.5 * eps else need
    need = need + 2 if need >= 0 else top
    return (need + 1) * (need + 2) // 2 + 2


def first_step(top: int) -> float:
    """A step for smooth functions of variance 1; Hermite functions of degree k oscillate with the frequency √k."""
    return min(0.45, 6.0 / (6.0 + math.sqrt(top)))


def stretch(r11: float, r12: float, r21: float, r22: float) -> float:
    """The largest singular value of R."""
    return 0.5 * (math.hypot(r11 + r22, r21 - r12) + math.hypot(r11 - r22, r21 + r12))


def tails(vector: Any, count: int, top: int) -> Any:
    """What the terms beyond degree k are of a function, relative to (E φ²)^½, largest over all ``count``: [k], k ≤ ``top``.

    Of a function whose norm is no finite number they are infinite.
    """
    found, size = np.zeros(top + 1), vector.shape[0] // count
    for f in range(count):
        last = (f + 1) * size - 1
        norm = vector[last]
        left = (vector[last - 1] * norm) ** 2
        for k in range(top, -1, -1):
            share = math.inf
            if norm < math.inf:
                share = math.sqrt(left) / norm if norm > 0.0 else 0.0
            found[k] = max(found[k], share)
            for j in range(k + 1):
                left += vector[f * size + k * (k + 1) // 2 + j] ** 2
    return found


def terms(a: Any, b: Any, rows: int, columns: int, s: float) -> int:
    """The degree beyond which no sum, of functions f and g, lacks more than 8e-12 of their norms; -1 where none is enough."""
    top = degree(a.shape[0] // rows - 2)
    one, two, least, power = tails(a, rows, top), tails(b, columns, top), 8e-12, min(s, 1.0)
    for k in range(top + 1):
        if one[k] * two[k] * power <= least:
            return k
        power *= min(s, 1.0)
    return -1


def together(a: Any, b: Any, top: int, r11: float, r12: float, r21: float, r22: float, rows: int, columns: int) -> Any:
    """Σ_k c_kᵀ Γ_k(R) d_k, k ≤ ``top``, of function f of one side and g of the other: [f, g]; nan where ``top`` is below 0.

    Γ_k[i, j] = (1/k) Σ √·√· R Γ_{k−1}, over which of k factors is R's own.
    """
    size, other, out = a.shape[0] // rows, b.shape[0] // columns, np.empty((rows, columns))
    edge = max(top, 0) + 2
    now, before, image = np.zeros((edge, edge)), np.zeros((edge, edge)), np.empty(edge)
    for f in range(rows):
        for g in range(columns):
            out[f, g] = a[f * size] * b[g * other] if top >= 0 else math.nan
    before[1, 1] = 1.0  # Γ[i, j] stands at [i + 1, j + 1]
    for k in range(1, top + 1):
        at, inverse = k * (k + 1) // 2, 1.0 / k
        for i in range(k + 1):
            one, two = math.sqrt(k - i) * inverse, math.sqrt(i) * inverse
            x11, x21, x12, x22 = r11 * one, r21 * two, r12 * one, r22 * two
            for j in range(k + 1):
                same = x11 * before[i + 1, j + 1] + x21 * before[i, j + 1]
                less = x12 * before[i + 1, j] + x22 * before[i, j]
                now[i + 1, j + 1] = math.sqrt(k - j) * same + math.sqrt(j) * less
        for f in range(rows):
            for j in range(k + 1):
                image[j] = 0.0
            for i in range(k + 1):
                for j in range(k + 1):
                    image[j] += a[f * size + at + i] * now[i + 1, j + 1]
            for g in range(columns):
                total = 0.0
                for j in range(k + 1):
                    total += image[j] * b[g * other + at + j]
                out[f, g] += total
        now, before = before, now
    return out


def joined(l: Any, c11: float, c12: float, c21: float, c22: float, m: Any) -> tuple[float, float, float, float]:
    """R = L⁻¹ C M⁻ᵀ, row by row."""
    l11, l21, l22 = l
    m11, m21, m22 = m
    i11, i22 = 1.0 / l11 if l11 > 0.0 else 0.0, 1.0 / l22 if l22 > 0.0 else 0.0
    j11, j22 = 1.0 / m11 if m11 > 0.0 else 0.0, 1.0 / m22 if m22 > 0.0 else 0.0
    x11, x12 = c11 * i11, c12 * i11
    x21, x22 = (c21 - l21 * x11) * i22, (c22 - l21 * x12) * i22
    r11, r21 = x11 * j11, x21 * j11
    return r11, (x12 - m21 * r11) * j22, r21, (x22 - m21 * r21) * j22


def plane_pair(
    a: Any, b: Any, p11: float, p12: float, p22: float, c11: float, c12: float, c21: float, c22: float,
    q11: float, q12: float, q22: float, rows: int, columns: int,
) -> Any:  # fmt: skip
    """E φ_f(u) ψ_g(v), [f, g], from the vectors of both sides; nan where these are too short."""
    r11, r12, r21, r22 = joined(triangle(p11, p12, p22), c11, c12, c21, c22, triangle(q11, q12, q22))
    top = terms(a, b, rows, columns, stretch(r11, r12, r21, r22))
    return together(a, b, top, r11, r12, r21, r22, rows, columns)


def psi_number() -> int:
    """Stand-in: how many functions the other side has."""
    return phi_number()


def psi_plane(p11: float, p12: float, p22: float, found: Any) -> None:
    """Stand-in: ``plane`` of the other side."""
    plane(p11, p12, p22, found)


def psi_at_step(l11: float, l21: float, l22: float, step: float, top: int, found: Any) -> bool:
    """Stand-in: ``at_step`` of the other side."""
    return at_step(l11, l21, l22, step, top, found)


def plane_direct(
    p11: float, p12: float, p22: float, c11: float, c12: float, c21: float, c22: float,
    q11: float, q12: float, q22: float,
) -> Any:  # fmt: skip
    """``plane_pair`` without vectors at hand: of as many degrees as a first look asks for; nan where 384 are not enough."""
    top, need = 24, -1
    l11, l21, l22 = triangle(p11, p12, p22)
    m11, m21, m22 = triangle(q11, q12, q22)
    r11, r12, r21, r22 = joined((l11, l21, l22), c11, c12, c21, c22, (m11, m21, m22))
    s = stretch(r11, r12, r21, r22)
    while need < 0 and top < 384:
        size = (top + 1) * (top + 2) // 2 + 2
        one, two = np.empty(phi_number() * size), np.empty(psi_number() * size)
        step = first_step(top)
        at_step(l11, l21, l22, step, top, one)
        psi_at_step(m11, m21, m22, step, top, two)
        need = terms(one, two, phi_number(), psi_number(), s)
        top *= 2
    need = need + 4 if need >= 0 else 384
    size = (need + 1) * (need + 2) // 2 + 2
    one, two = np.empty(phi_number() * size), np.empty(psi_number() * size)
    plane(p11, p12, p22, one)
    psi_plane(q11, q12, q22, two)
    top = terms(one, two, phi_number(), psi_number(), s)
    return together(one, two, top, r11, r12, r21, r22, phi_number(), psi_number())


def plane_means(p11: float, p12: float, p22: float) -> Any:
    """E φ_f of one side, [f]; nan where no step is small enough."""
    vector, out = np.empty(3 * phi_number()), np.empty(phi_number())
    plane(p11, p12, p22, vector)
    for f in range(phi_number()):
        out[f] = vector[3 * f] if vector[3 * f + 1] < math.inf else math.nan
    return out
