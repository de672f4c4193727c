"""E[φ(u) ψ(v)] for homogeneous φ, ψ and their Gaussian smoothings, as scalar functions of (q1, c, q2).

(u, v) is centred Gaussian with variances q1, q2 and covariance c; D = q1 q2 − c², ρ = c/√(q1 q2),
ψ = π − arccos ρ. Every function is pure scalar Python over ``math`` and the functions of this file: the same text is
interpreted, compiled by numba and copied into generated modules. Where a kernel needs both, V = E[φ(u)ψ(v)]
and V̇ = E[φ'(u)ψ'(v)] = ∂V/∂c (Price 1958) come as one tuple.

Smoothing: Φ_e(u) = P(u + √e Z > 0), Z standard normal, so that Φ_0 is the step, Φ_1 the normal cdf,
erf(au) = 2 Φ_{1/2a²}(u) − 1, and u Φ_e(u) is relu at e = 0, gelu at e = 1.

Rounding: D is formed without cancellation, angles as arcs of √D and c, and differences that vanish at ρ → −1 as series
or as sums of one sign; relative error is a few units in the last place for every ρ.
Zero variance: the step is 0 at 0.

Everything up to ``gelu_gelu`` is free of branches and of library calls but for sqrt: inlined into a loop over
contiguous rows (``@njit(error_model="numpy", forceinline=True)``) it becomes vector instructions.
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


def radii(q1: float, c: float, q2: float) -> tuple[float, float]:
    """√D and √(q1 q2) for any magnitudes: variances outside 1e-140..1e140 are scaled by 2^±600 on the way."""
    k1 = 2.037035976334486e90 if q1 < 1e-140 else 4.909093465297727e-91 if q1 > 1e140 else 1.0
    k2 = 2.037035976334486e90 if q2 < 1e-140 else 4.909093465297727e-91 if q2 > 1e140 else 1.0
    back = (1.0 / k1) * (1.0 / k2)
    s1, s2 = q1 * k1 * k1, q2 * k2 * k2
    return math.sqrt(determinant(s1, c * k1 * k2, s2)) * back, math.sqrt(s1 * s2) * back


def arc(y: float, x: float) -> float:
    """atan2(y, x) for y ≥ 0, within 3e-16 of its value; arc(0, 0) = 0.

    Reduced to |t| ≤ tan(π/8) by the octant, then t plus t³ times a polynomial (Chebyshev interpolation in t², error 2e-19).
    """
    a = abs(x)
    steep = y > a
    n = a if steep else y
    d = y if steep else a
    far = n > 0.41421356237309503 * d
    top = n - d if far else n
    bottom = n + d if far else d
    t = top / (bottom if bottom > 0.0 else 1.0)
    z = t * t
    p = (0.016285756855221028 * z - 0.03457056198142775) * z + 0.04551593220626549
    p = ((p * z - 0.05230454270650245) * z + 0.05878928997834775) * z - 0.06666424885738255
    p = ((p * z + 0.07692296375032142) * z - 0.09090908753500877) * z + 0.11111111105154447
    p = ((p * z - 0.14285714285659828) * z + 0.19999999999999804) * z - 0.3333333333333333
    r = t + t * z * p + (0.7853981633974483 if far else 0.0)
    r = 1.5707963267948966 - r if steep else r
    return 3.141592653589793 - r if x < 0.0 else r


def signed_arc(y: float, x: float) -> float:
    """atan(y/x) for x ≥ 0: the odd continuation of ``arc``."""
    r = arc(abs(y), x)
    return r if y > 0.0 else -r


def sine_minus_angle(root: float, c: float, psi: float, r: float) -> float:
    """root + c ψ = r (sin ψ − ψ cos ψ) where root = r sin ψ, c = −r cos ψ.

    For ψ < π/4 by the series r Σ_k (−1)^{k+1} 2k ψ^{2k+1}/(2k+1)!, since the two terms cancel to ψ³/3.
    Cho & Saul 2009, *Kernel Methods for Deep Learning*: this is r J₁.
    """
    x = psi * psi
    s = 1.0706029224547743e-11 - x * (4.498331606952833e-14 - x * 1.4797143443923793e-16)
    s = 2.2045855379188714e-05 - x * (2.505210838544172e-07 - x * (1.9270852604185937e-09 - x * s))
    s = 0.3333333333333333 - x * (0.03333333333333333 - x * (0.0011904761904761906 - x * s))
    near = r * psi * x * s
    far = root + c * psi
    return near if c < 0.0 and root < -c else far


def relu_pair(q1: float, c: float, q2: float) -> tuple[float, float]:
    """E[relu(u) relu(v)] = (√D + c ψ)/2π and its c-derivative E[step(u) step(v)] = ψ/2π.  Cho & Saul 2009, J₁ and J₀."""
    root, r = radii(q1, c, q2)
    psi = arc(root, -c)
    return 0.15915494309189535 * sine_minus_angle(root, c, psi, r), 0.15915494309189535 * psi


def relu_relu(q1: float, c: float, q2: float) -> float:
    """E[relu(u) relu(v)] = (√D + c ψ)/2π.  Cho & Saul 2009, J₁."""
    return relu_pair(q1, c, q2)[0]


def step_step(q1: float, c: float, q2: float) -> float:
    """E[step(u) step(v)] = ψ/2π.  Sheppard 1899; Cho & Saul 2009, J₀."""
    return 0.15915494309189535 * arc(radii(q1, c, q2)[0], -c)


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
    root = radii(q1, c, q2)[0]
    same, other = a1 * a2 + b1 * b2, a1 * b2 + a2 * b1
    acute = arc(root, abs(c))
    wide = 3.141592653589793 - acute
    even = same * wide + other * acute if c > 0.0 else same * acute + other * wide
    odd = 1.5707963267948966 * (a1 + b1) * (a2 + b2) + (b1 - a1) * (b2 - a2) * signed_arc(c, root)
    value = 0.15915494309189535 * (odd if same < 0.0 or other < 0.0 else even)
    return value if q1 > 0.0 and q2 > 0.0 else mean_level(q1, a1, b1) * mean_level(q2, a2, b2) + 0.0 * (q1 + q2)


def smoothed_root(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """δ = √((q1 + e1)(q2 + e2) − c²) = √(D + e1 q2 + e2 q1 + e1 e2), a sum of positive terms."""
    root = radii(q1, c, q2)[0]
    return math.sqrt(root * root + (e1 * q2 + e2 * q1) + e1 * e2)


def cdf_cdf(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E[Φ_e1(u) Φ_e2(v)] = arccos(−ρ')/2π, ρ' the correlation of u + √e1 Z and v + √e2 Z'.

    Without cancellation where it is small: the arc of (δ, −c).  Williams 1997, *Computing with Infinite Networks*.
    """
    return 0.15915494309189535 * arc(smoothed_root(q1, c, q2, e1, e2), -c)


def cdf_pair(q1: float, c: float, q2: float, e1: float, e2: float) -> tuple[float, float]:
    """V, V̇ for Φ_e1(u), Φ_e2(v): ``cdf_cdf`` and 1/(2π δ)."""
    delta = smoothed_root(q1, c, q2, e1, e2)
    return 0.15915494309189535 * arc(delta, -c), 0.15915494309189535 / delta


def erf_pair(q1: float, c: float, q2: float, e1: float, e2: float) -> tuple[float, float]:
    """V, V̇ for erf(u/√(2 e1)), erf(v/√(2 e2)): (2/π) arcsin(c/√((q1+e1)(q2+e2))) and (2/π)/δ.  Williams 1997, eq. (11)."""
    delta = smoothed_root(q1, c, q2, e1, e2)
    return 0.6366197723675814 * signed_arc(c, delta), 0.6366197723675814 / delta


def erf_erf(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E[erf(u/√(2 e1)) erf(v/√(2 e2))] = (2/π) arcsin(c/√((q1+e1)(q2+e2))); e = 0 is the sign.  Williams 1997, eq. (11)."""
    return 0.6366197723675814 * signed_arc(c, smoothed_root(q1, c, q2, e1, e2))


def bell_bell(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E[Φ_e1'(u) Φ_e2'(v)] = 1/(2π δ): two normal densities of variances e1, e2."""
    return 0.15915494309189535 / smoothed_root(q1, c, q2, e1, e2)


def gelu_pair(q1: float, c: float, q2: float, e1: float, e2: float) -> tuple[float, float]:
    """V, V̇ for u Φ_e1(u), v Φ_e2(v): gelu at e = 1, relu at e = 0, x Φ(ax) at e = 1/a².

    With A_i = q_i + e_i, E = e1/A1 + e2/A2, tan ψ' = −δ/c:
    2π V = c ψ' + (D + c² E)/δ,  2π V̇ = ψ' + (c/δ)(E + e1 e2/δ²); where c ψ' + δ cancels, the rest
    D − δ² + c² E is written as a sum of negative terms.  Tsuchida et al. 2021, *Avoiding Kernel Fixed Points* (e = 1).
    """
    root = radii(q1, c, q2)[0]
    d = root * root
    delta2 = d + (e1 * q2 + e2 * q1) + e1 * e2
    delta = math.sqrt(delta2)
    inverse = 1.0 / (delta if delta > 0.0 else 1.0)
    psi = arc(delta, -c)
    a1, a2 = q1 + e1, q2 + e2
    f1, f2 = e1 / (a1 if a1 > 0.0 else 1.0), e2 / (a2 if a2 > 0.0 else 1.0)
    far = c * psi + (d + c * c * (f1 + f2)) * inverse
    lost = f1 * (d + e1 * q2) + f2 * (d + e2 * q1) + e1 * e2
    near = sine_minus_angle(delta, c, psi, math.sqrt(a1) * math.sqrt(a2)) - lost * inverse
    v = near if c < 0.0 and delta < -c else far
    vdot = psi + c * inverse * (f1 + f2 + e1 * e2 * inverse * inverse)
    return 0.15915494309189535 * v, 0.15915494309189535 * vdot


def gelu_gelu(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E[u Φ_e1(u) v Φ_e2(v)], see ``gelu_pair``."""
    return gelu_pair(q1, c, q2, e1, e2)[0]


def gelu_slope(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E of the product of the two derivatives, see ``gelu_pair``."""
    return gelu_pair(q1, c, q2, e1, e2)[1]


def gelu_cdf(q1: float, c: float, q2: float, e1: float, e2: float) -> float:
    """E[u Φ_e1(u) Φ_e2(v)] = (q1/√A1 + c/√A2)/2√(2π), A_i = q_i + e_i; relu and step for e = 0.

    For relu and c < 0 as a quotient whose terms add.  By Stein's lemma: q1 E[δ(u')1(v')] + c E[1(u')δ(v')].
    """
    root1, root2 = math.sqrt(q1 + e1), math.sqrt(q2 + e2)
    if not (root1 > 0.0 and root2 > 0.0):
        return 0.0 if root2 == 0.0 or e1 == 0.0 else 0.19947114020071635 * q1 / root1
    if e1 > 0.0 or c >= 0.0:
        return 0.19947114020071635 * (q1 / root1 + c / root2)
    root = radii(q1, c, q2)[0]
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
    slope, spread = c / q2, radii(q1, c, q2)[0] ** 2 / q2
    total, ways = 0.0, 1.0
    for j in range(0, m + 1, 2):
        total += ways * slope ** (m - j) * spread ** (j // 2) * even_moment(j) * cdf_moment(q2, n + m - j, e)
        ways *= (m - j) * (m - j - 1) / ((j + 1.0) * (j + 2.0))
    return total


def plain_moment(q: float, k: int) -> float:
    """E[u^k] = (k − 1)!! q^{k/2} for even k."""
    return even_moment(k) * q ** (k // 2) if k % 2 == 0 else 0.0 * q


def half_variance(q: float) -> float:
    """E[relu(u)²] = q/2."""
    return 0.5 * q


def one() -> float:
    """E[1]."""
    return 1.0
