"""E[φ(u) ψ(v)] for homogeneous φ, ψ and their Gaussian smoothings, as scalar functions of (q1, c, q2).

(u, v) is centred Gaussian with variances q1, q2 and covariance c; D = q1 q2 − c², ρ = c/√(q1 q2),
ψ = π − arccos ρ. Every function is pure scalar Python over ``math`` and the functions of this file: the same text is
interpreted, compiled by numba and copied into generated modules. Where a kernel needs both, V = E[φ(u)ψ(v)]
and V̇ = E[φ'(u)ψ'(v)] = ∂V/∂c (Price 1958) come as one tuple.

Smoothing: Φ_e(u) = P(u + √e Z > 0), Z standard normal, so that Φ_0 is the step, Φ_1 the normal cdf,
erf(au) = 2 Φ_{1/2a²}(u) − 1, and u Φ_e(u) is relu at e = 0, gelu at e = 1.

Rounding: D is formed without cancellation, angles by atan2, and differences that vanish at ρ → −1 as series or
as sums of one sign; relative error is a few units in the last place for every ρ. One-variable versions
(``…_self``) are for u = v, where no rounding of c can matter. Zero variance: the step is 0 at 0.
"""

from __future__ import annotations

import math


def determinant(q1: float, c: float, q2: float) -> float:
    """D = q1 q2 − c², rounded once, never negative.

    Both products are split into head and tail (Dekker 1971, two-product with Veltkamp's splitting), so nothing
    cancels; for arguments between 1e-140 and 1e140.
    """
    p = q1 * q2
    r = c * c
    t = 134217729.0 * q1
    a = t - (t - q1)
    x = q1 - a
    t = 134217729.0 * q2
    b = t - (t - q2)
    y = q2 - b
    t = 134217729.0 * c
    h = t - (t - c)
    z = c - h
    d = (p - r) + ((((a * b - p) + a * y) + x * b) + x * y - (((h * h - r) + 2.0 * h * z) + z * z))
    return 0.0 if d < 0.0 else d


def root_determinant(q1: float, c: float, q2: float) -> float:
    """√D for any magnitudes: outside 1e-140..1e140 the variances are first scaled by powers of 4."""
    if 1e-140 < q1 < 1e140 and 1e-140 < q2 < 1e140:
        return math.sqrt(determinant(q1, c, q2))
    if q1 == 0.0 or q2 == 0.0:
        return 0.0
    i = math.frexp(q1)[1] // 2
    j = math.frexp(q2)[1] // 2
    d = determinant(math.ldexp(q1, -2 * i), math.ldexp(c, -i - j), math.ldexp(q2, -2 * j))
    return math.ldexp(math.sqrt(d), i + j)


def sine_minus_angle(root: float, c: float, psi: float) -> float:
    """root + c ψ where tan ψ = −root/c: r (sin ψ − ψ cos ψ), r = √(root² + c²).

    For ψ < π/4 by the series r Σ_k (−1)^{k+1} 2k ψ^{2k+1}/(2k+1)!, since the two terms cancel to ψ³/3.
    Cho & Saul 2009, *Kernel Methods for Deep Learning*: this is r J₁.
    """
    if c >= 0.0 or root > -c:
        return root + c * psi
    x = psi * psi
    s = 1.0 / 93405312000.0 - x * (1.0 / 22230464256000.0 - x / 6758061133824000.0)
    s = 1.0 / 45360.0 - x * (1.0 / 3991680.0 - x * (1.0 / 518918400.0 - x * s))
    s = 1.0 / 3.0 - x * (1.0 / 30.0 - x * (1.0 / 840.0 - x * s))
    return math.hypot(root, c) * psi * x * s


def relu_pair(q1: float, c: float, q2: float) -> tuple[float, float]:
    """E[relu(u) relu(v)] = (√D + c ψ)/2π and its c-derivative E[step(u) step(v)] = ψ/2π.  Cho & Saul 2009, J₁ and J₀."""
    if not (q1 > 0.0 and q2 > 0.0):
        return 0.0 * (q1 + q2), 0.0 * (q1 + q2)
    root = root_determinant(q1, c, q2)
    psi = math.atan2(root, -c)
    return 0.15915494309189535 * sine_minus_angle(root, c, psi), 0.15915494309189535 * psi


def relu_relu(q1: float, c: float, q2: float) -> float:
    """E[relu(u) relu(v)] = (√D + c ψ)/2π.  Cho & Saul 2009, J₁."""
    return relu_pair(q1, c, q2)[0]


def step_step(q1: float, c: float, q2: float) -> float:
    """E[step(u) step(v)] = ψ/2π.  Sheppard 1899; Cho & Saul 2009, J₀."""
    if not (q1 > 0.0 and q2 > 0.0):
        return 0.0 * (q1 + q2)
    return 0.15915494309189535 * math.atan2(root_determinant(q1, c, q2), -c)


def sign_sign(q1: float, c: float, q2: float) -> float:
    """E[sign(u) sign(v)] = (2/π) arcsin ρ.  Sheppard 1899."""
    return 0.6366197723675814 * math.atan2(c, root_determinant(q1, c, q2))


def slopes_pair(q1: float, c: float, q2: float, a1: float, b1: float, a2: float, b2: float) -> tuple[float, float]:
    """V, V̇ for φ with slope b1 right of 0 and a1 left of it (leaky relu, abs), ψ with b2 and a2.

    V = c (a1 b2 + a2 b1)/2 + (b1 − a1)(b2 − a2) V_relu; V̇ = ``levels``.  Cho & Saul 2009, J₁ and J₀.
    """
    v = c * 0.5 * (a1 * b2 + a2 * b1) + (b1 - a1) * (b2 - a2) * relu_pair(q1, c, q2)[0]
    return v, levels(q1, c, q2, a1, b1, a2, b2)


def slopes(q1: float, c: float, q2: float, a1: float, b1: float, a2: float, b2: float) -> float:
    """E[φ(u) ψ(v)] of ``slopes_pair``."""
    return c * 0.5 * (a1 * b2 + a2 * b1) + (b1 - a1) * (b2 - a2) * relu_pair(q1, c, q2)[0]


def mean_level(q: float, a: float, b: float) -> float:
    """E of the function b right of 0 and a left of it: (a + b)/2; at u = 0 it is a, or 0 for a sign (a = −b)."""
    return 0.5 * (a + b) if q > 0.0 or a + b == 0.0 else a


def levels(q1: float, c: float, q2: float, a1: float, b1: float, a2: float, b2: float) -> float:
    """E[φ(u) ψ(v)] for φ = b1 right of 0 and a1 left of it, ψ = b2 and a2.

    ((a1 a2 + b1 b2) ψ + (a1 b2 + a2 b1)(π − ψ))/2π where that adds, else means plus (2/π) arcsin ρ.  Sheppard 1899.
    """
    if not (q1 > 0.0 and q2 > 0.0):
        return mean_level(q1, a1, b1) * mean_level(q2, a2, b2) + 0.0 * (q1 + q2)
    root = root_determinant(q1, c, q2)
    same, other = a1 * a2 + b1 * b2, a1 * b2 + a2 * b1
    if same < 0.0 or other < 0.0:
        return 0.25 * (a1 + b1) * (a2 + b2) + 0.15915494309189535 * (b1 - a1) * (b2 - a2) * math.atan2(c, root)
    acute = math.atan2(root, abs(c))
    if c < 0.0:
        same, other = other, same
    return 0.15915494309189535 * (same * (3.141592653589793 - acute) + other * acute)


def slopes_self(q: float, a1: float, b1: float, a2: float, b2: float) -> tuple[float, float]:
    """V, V̇ of ``slopes_pair`` for u = v: (a1 a2 + b1 b2) q/2 and ``levels_self``."""
    return 0.5 * (a1 * a2 + b1 * b2) * q, levels_self(q, a1, b1, a2, b2)


def levels_self(q: float, a1: float, b1: float, a2: float, b2: float) -> float:
    """E[φ(u) ψ(u)] = (a1 a2 + b1 b2)/2; at u = 0 the product of the ``mean_level``s."""
    return 0.5 * (a1 * a2 + b1 * b2) if q > 0.0 else mean_level(0.0, a1, b1) * mean_level(0.0, a2, b2) + 0.0 * q


def relu_self(q: float) -> tuple[float, float]:
    """E[relu(u)²] = q/2 and E[step(u)] = 1/2 (0 when u = 0)."""
    return 0.5 * q, 0.5 if q != 0.0 else 0.0


def smoothed_root(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """δ = √((q1 + e1)(q2 + e2) − c²) = √(D + e1 q2 + e2 q1 + e1 e2), a sum of positive terms."""
    root = root_determinant(q1, c, q2)
    return math.sqrt(root * root + (e1 * q2 + e2 * q1) + e1 * e2)


def cdf_cdf(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E[Φ_e1(u) Φ_e2(v)] = arccos(−ρ')/2π, ρ' the correlation of u + √e1 Z, v + √e2 Z'.

    Without cancellation where it is small: atan2(δ, −c)/2π.  Williams 1997, *Computing with Infinite Networks*.
    """
    return 0.15915494309189535 * math.atan2(smoothed_root(q1, c, q2, e1, e2), -c)


def erf_pair(q1: float, c: float, q2: float, e1: float, e2: float) -> tuple[float, float]:
    """V, V̇ for erf(u/√(2 e1)), erf(v/√(2 e2)): (2/π) arcsin(c/√((q1+e1)(q2+e2))) and (2/π)/δ.  Williams 1997, eq. (11)."""
    delta = smoothed_root(q1, c, q2, e1, e2)
    return 0.6366197723675814 * math.atan2(c, delta), 0.6366197723675814 / delta


def erf_erf(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E[erf(u/√(2 e1)) erf(v/√(2 e2))] = (2/π) arcsin(c/√((q1+e1)(q2+e2))); e = 0 is the sign.  Williams 1997, eq. (11)."""
    return 0.6366197723675814 * math.atan2(c, smoothed_root(q1, c, q2, e1, e2))


def bell_bell(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E[Φ_e1'(u) Φ_e2'(v)] = 1/(2π δ): two normal densities of variances e1, e2."""
    return 0.15915494309189535 / smoothed_root(q1, c, q2, e1, e2)


def gelu_pair(q1: float, c: float, q2: float, e1: float, e2: float) -> tuple[float, float]:
    """V, V̇ for u Φ_e1(u), v Φ_e2(v): gelu at e = 1, relu at e = 0, x Φ(ax) at e = 1/a².

    With A_i = q_i + e_i, E = e1/A1 + e2/A2, tan ψ' = −δ/c:
    2π V = c ψ' + (D + c² E)/δ,  2π V̇ = ψ' + (c/δ)(E + e1 e2/δ²); where c ψ' + δ cancels, the rest
    D − δ² + c² E is written as a sum of negative terms.  Tsuchida et al. 2021, *Avoiding Kernel Fixed Points* (e = 1).
    """
    root = root_determinant(q1, c, q2)
    d = root * root
    delta2 = d + (e1 * q2 + e2 * q1) + e1 * e2
    if not delta2 > 0.0:
        return relu_pair(q1, c, q2)
    delta = math.sqrt(delta2)
    psi = math.atan2(delta, -c)
    f1, f2 = e1 / (q1 + e1), e2 / (q2 + e2)
    if c >= 0.0 or delta > -c:
        v = c * psi + (d + c * c * (f1 + f2)) / delta
    else:
        v = sine_minus_angle(delta, c, psi) - (f1 * (d + e1 * q2) + f2 * (d + e2 * q1) + e1 * e2) / delta
    vdot = psi + c / delta * (f1 + f2 + e1 * e2 / delta2)
    return 0.15915494309189535 * v, 0.15915494309189535 * vdot


def gelu_gelu(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E[u Φ_e1(u) v Φ_e2(v)], see ``gelu_pair``."""
    return gelu_pair(q1, c, q2, e1, e2)[0]


def gelu_cdf(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E[u Φ_e1(u) Φ_e2(v)] = (q1/√A1 + c/√A2)/2√(2π), A_i = q_i + e_i; relu and step for e = 0.

    For relu and c < 0 as a quotient whose terms add.  By Stein's lemma: q1 E[δ(u')1(v')] + c E[1(u')δ(v')].
    """
    root1, root2 = math.sqrt(q1 + e1), math.sqrt(q2 + e2)
    if not (root1 > 0.0 and root2 > 0.0):
        return 0.0 if root2 == 0.0 or e1 == 0.0 else 0.19947114020071635 * q1 / root1
    if e1 > 0.0 or c >= 0.0:
        return 0.19947114020071635 * (q1 / root1 + c / root2)
    root = root_determinant(q1, c, q2)
    return 0.19947114020071635 * (root / root2 * root + q1 * e2 / root2) / (root1 * root2 - c)


def even_moment(k: int) -> float:
    """E[z^k] = (k − 1)!! for even k, z standard normal."""
    value = 1.0
    for j in range(1, k, 2):
        value *= j
    return value


def cdf_moment(q: float, k: int, e: float) -> float:
    """E[v^k Φ_e(v)]: half of E[v^k] for even k; Stein's recursion, positive terms, for odd k.

    I_k = (k − 1) q I_{k−2} + q (k − 2)!! (q e/A)^{(k−1)/2}/√(2πA), A = q + e.
    """
    if k % 2 == 0:
        return 0.5 * even_moment(k) * q ** (k // 2) if q > 0.0 or e > 0.0 else 0.0
    a = q + e
    if not a > 0.0:
        return 0.0 * q
    density, spread, value = q / math.sqrt(a) * 0.3989422804014327, q / a * e, 0.0
    for j in range(1, k + 1, 2):
        value = (j - 1) * q * value + density
        density *= j * spread
    return value


def monomial_cdf(q1: float, c: float, q2: float, m: int, n: int, e: float) -> float:
    """E[u^m v^n Φ_e(v)] = Σ_j C(m, j) (c/q2)^{m−j} (D/q2)^{j/2} (j − 1)!! E[v^{n+m−j} Φ_e(v)] over even j.

    u given v is Gaussian with mean c v/q2 and variance D/q2; terms of one sign.
    """
    if not q2 > 0.0:
        return cdf_moment(0.0, n, e) * even_moment(m) * q1 ** (m // 2) if n == 0 and m % 2 == 0 else 0.0 * (q1 + q2)
    slope, spread = c / q2, root_determinant(q1, c, q2) ** 2 / q2
    total, ways = 0.0, 1.0
    for j in range(0, m + 1, 2):
        total += ways * slope ** (m - j) * spread ** (j // 2) * even_moment(j) * cdf_moment(q2, n + m - j, e)
        ways *= (m - j) * (m - j - 1) / ((j + 1.0) * (j + 2.0))
    return total
