"""E[φ(u) ψ(v)] for monomials, Hermite polynomials and rectified powers, as scalar functions of (q1, c, q2)."""

from __future__ import annotations

import math

from tp.gaussian.primitives import arc, radii


def pairings(m: int, j: int) -> float:
    """Ways to leave j of m points single and pair the others: m!/(j! k! 2^k), k = (m − j)/2."""
    ways = 1.0
    for i in range(j + 1, m + 1):
        ways *= i
    for i in range(1, (m - j) // 2 + 1):
        ways /= 2.0 * i
    return ways


def monomials(p1: float, c: float, p2: float, m: int, n: int) -> float:
    """E[u^m v^n] = Σ_j j! N(m, j) N(n, j) c^j q1^{(m−j)/2} q2^{(n−j)/2}, N the ``pairings``, for p_i = q_i.

    With p_i = q_i − 1 the same sum is E[He_m(u) He_n(v)]: the generating function of He divides by e^{s²/2}.  Isserlis 1918.
    """
    if (m + n) % 2 == 1:
        return 0.0 * (p1 + p2)
    total, power = 0.0, c if m % 2 == 1 else 1.0
    for j in range(m % 2, min(m, n) + 1, 2):
        total += pairings(m, j) * pairings(n, j) * power * p1 ** ((m - j) // 2) * p2 ** ((n - j) // 2)
        power *= c * c * (j + 1.0) * (j + 2.0)
    return total


def monomials_pair(q1: float, c: float, q2: float, m: int, n: int) -> tuple[float, float]:
    """V, V̇ for u^m, v^n: E[u^m v^n] and m n E[u^{m−1} v^{n−1}]."""
    vdot = m * n * monomials(q1, c, q2, m - 1, n - 1) if m > 0 and n > 0 else 0.0
    return monomials(q1, c, q2, m, n), vdot


def hermites(q1: float, c: float, q2: float, m: int, n: int) -> float:
    """E[He_m(u) He_n(v)]: m! cᵐ if m = n at unit variances, exactly; else ``monomials`` of q − 1."""
    return monomials(q1 - 1.0, c, q2 - 1.0, m, n)


def hermites_pair(q1: float, c: float, q2: float, m: int, n: int) -> tuple[float, float]:
    """V, V̇ for He_m(u), He_n(v); He_m' = m He_{m−1}."""
    return monomials_pair(q1 - 1.0, c, q2 - 1.0, m, n)


def radial_moment(k: int) -> float:
    """E[R^k] = 2^{k/2} Γ(1 + k/2), R² the sum of two squared standard normals."""
    value = 1.2533141373155003 if k % 2 == 1 else 1.0
    for j in range(3 if k % 2 == 1 else 2, k + 1, 2):
        value *= j
    return value


def node(i: int) -> tuple[float, float]:
    """Node in (0, 1) and weight of the 16-point Gauss–Legendre rule on [−1, 1]; i = 0..7, the rule is symmetric.

    i = 8 is just before the end, and has no weight: the rule itself leaves a 200th of the panel at either end unseen.
    """
    x = (
        0.09501250983763744, 0.2816035507792589, 0.45801677765722737, 0.6178762444026438,
        0.755404408355003, 0.8656312023878318, 0.9445750230732326, 0.9894009349916499, 0.999999,
    )  # fmt: skip
    w = (
        0.1894506104550685, 0.18260341504492358, 0.16915651939500254, 0.14959598881657674,
        0.12462897125553388, 0.09515851168249279, 0.062253523938647894, 0.027152459411754096, 0.0,
    )  # fmt: skip
    return x[i], w[i]


def tail(i: int) -> tuple[float, float, float, float]:
    """(k + ½) w P_k(x) at ``node(i)``, k = 12…15, odd ones for x > 0: sums of these times f are its Legendre coefficients."""
    a = (
        0.1987974576403936, -0.4778653306683862, 0.4783954761108615, -0.21933837322856697,
        -0.12022762822389868, 0.32665957676450114, -0.29765922320753424, 0.111238044812631,
    )  # fmt: skip
    b = (
        0.5339696992582923, -0.35811424695952127, 0.07563607960781395, 0.20427082671155833,
        -0.37855309659294867, 0.39372215724065435, -0.2686045287808468, 0.08905932565526138,
    )  # fmt: skip
    c = (
        -0.10904181595768216, 0.3058334374396039, -0.4435406121078924, 0.4977022367517182,
        -0.46284478766452664, 0.3541214949557943, -0.2049354038701391, 0.06270545045312412,
    )  # fmt: skip
    d = (
        -0.5936159289428024, 0.5617461448292793, -0.5008933497159647, 0.4166403770259615,
        -0.31691961779722094, 0.21159853063188455, -0.112220912450588, 0.03278130486396186,
    )  # fmt: skip
    return a[i], b[i], c[i], d[i]


def beyond(i: int) -> tuple[float, float]:
    """What the polynomial through the values at all nodes takes of those at ``node(i)`` and its mirror image for ``node(8)``."""
    a = (
        -0.3385031176333947, 0.4035299288093562, -0.4769352773991091, 0.5626750748682376,
        -0.6686540760185922, 0.8126745725714857, -1.0449014530401326, 1.5962425389742452,
    )  # fmt: skip
    b = (
        0.2797602998542781, -0.22619654143536577, 0.17728919365590418, -0.13289711358058798,
        0.09316899460095786, -0.058531048839195694, 0.02978163512259419, -0.00850361051068086,
    )  # fmt: skip
    return a[i], b[i]


def rectified_pair(q1: float, c: float, q2: float, m: int, n: int) -> tuple[float, float]:
    """V, V̇ for max(u, 0)^m, max(v, 0)^n (power 0: the step; then V̇ is infinite at ρ = 1 and not computed: nan).

    V = q1^{m/2} q2^{n/2} E[R^{m+n}]/2π ∫₀^ψ sin^m t sin^n(ψ − t) dt, a positive integrand for every ρ, by
    Gauss–Legendre: error below 1e-15 on panels for six powers each.  Cho & Saul 2009, J_n, in polar coordinates.
    """
    if not (q1 > 0.0 and q2 > 0.0):
        return 0.0 * (q1 + q2), 0.0 * (q1 + q2)
    psi = arc(radii(q1, c, q2)[0], -c)
    panels = 1 + (m + n - 1) // 6
    half = 0.5 * psi / panels
    v, vdot = 0.0, 0.0
    for p in range(panels):
        for i in range(8):
            x, w = node(i)
            for side in range(2):
                t = half * (2 * p + 1 + (x if side == 1 else -x))
                s1, s2 = math.sin(t), math.sin(psi - t)
                if m > 0 and n > 0:
                    lower = w * s1 ** (m - 1) * s2 ** (n - 1)
                    vdot += lower
                    v += lower * s1 * s2
                else:
                    v += w * s1**m * s2**n
    r1, r2 = math.sqrt(q1), math.sqrt(q2)
    v *= half * 0.15915494309189535 * radial_moment(m + n) * r1**m * r2**n
    if m == 0 or n == 0:
        return v, math.nan
    return v, vdot * half * 0.15915494309189535 * radial_moment(m + n - 2) * m * n * r1 ** (m - 1) * r2 ** (n - 1)


def rectified(q1: float, c: float, q2: float, m: int, n: int) -> float:
    """E[max(u, 0)^m max(v, 0)^n], see ``rectified_pair``."""
    return rectified_pair(q1, c, q2, m, n)[0]
