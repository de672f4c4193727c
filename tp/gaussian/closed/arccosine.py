"""Rectified powers, absolute value and sign: the arc-cosine kernels.

(u, v) is centred with variances q1, q2 and covariance c; θ = acos(c/√(q1 q2)) is the angle between them.
"""

from __future__ import annotations

from functools import cache

import sympy as sp

from tp.gaussian.closed.form import Params, law
from tp.gaussian.closed.present import by_roots

ARC_COSINE = ("arc-cosine kernel", "Cho & Saul 2009, Kernel methods for deep learning")
RHO, SINE, PSI = sp.symbols("rho sine psi")


def angle(q1: sp.Expr, c: sp.Expr, q2: sp.Expr) -> sp.Expr:
    """θ = acos(c/√(q1 q2))."""
    return sp.acos(c / sp.sqrt(q1 * q2))


def root(q1: sp.Expr, c: sp.Expr, q2: sp.Expr) -> sp.Expr:
    """√(q1 q2 − c²) = √(q1 q2) sin θ."""
    return sp.sqrt(q1 * q2 - c**2)


@law("rectified", "rectified", *ARC_COSINE)
def arc_cosine(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, m: Params, n: Params) -> sp.Expr | None:
    """E[max(u,0)^m max(v,0)^n]; for m = n it is (q1 q2)^{n/2} J_n(θ)/2π.

    J_0 = π − θ, J_1 = sin θ + (π − θ) cos θ, …
    """
    degrees = int(m[0]), int(n[0])
    if max(degrees) > 40:
        return None
    poly = sp.Poly(unit_moment(*degrees), RHO, SINE, PSI)
    sums = [sp.S.Zero, sp.S.Zero]  # beside 1 and beside π − θ
    for (i, j, k), coef in poly.terms():
        size = q1 ** sp.Rational(degrees[0] - i - j, 2) * q2 ** sp.Rational(degrees[1] - i - j, 2)
        sums[k] += 2 * sp.pi * coef * c**i * root(q1, c, q2) ** j * size
    algebraic, angular = (by_roots(s) for s in sums)
    return (algebraic + angular * (sp.pi - angle(q1, c, q2))) / (2 * sp.pi)


@cache
def unit_moment(m: int, n: int) -> sp.Expr:
    """E[x₊^m y₊^n] at variances 1 and correlation ρ, as a polynomial in ρ, s = √(1 − ρ²) and ψ = π − θ.

    Stein in x: V(m, n) = (m − 1) V(m − 2, n) + ρ n V(m − 1, n − 1) for m ≥ 2, and E[x₊^{m−1} | y = 0] where n = 0.
    """
    if m < n:
        return unit_moment(n, m)
    if (m, n) == (0, 0):
        return PSI / (2 * sp.pi)
    if (m, n) == (1, 0):
        return (1 + RHO) / (2 * sp.sqrt(2 * sp.pi))
    if (m, n) == (1, 1):
        return (SINE + RHO * PSI) / (2 * sp.pi)
    if n == 0:
        crossing = RHO * SINE ** (m - 1) * half_moment(m - 1) / sp.sqrt(2 * sp.pi)
        return sp.expand((m - 1) * unit_moment(m - 2, 0) + crossing)
    return sp.expand((m - 1) * unit_moment(m - 2, n) + RHO * n * unit_moment(m - 1, n - 1))


def half_moment(k: int) -> sp.Expr:
    """E[x₊^k] of a standard normal x: 2^{k/2 − 1} Γ((k + 1)/2)/√π."""
    return sp.sqrt(2) ** (k - 2) * sp.gamma(sp.Rational(k + 1, 2)) / sp.sqrt(sp.pi)


@law("abs", "abs", *ARC_COSINE)
def absolute(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, m: Params, n: Params) -> sp.Expr:
    """E|u||v| = (2/π)(√(q1 q2 − c²) + c asin ρ), from |x| = 2 relu(x) − x."""
    return 2 / sp.pi * (root(q1, c, q2) + c * sp.asin(c / sp.sqrt(q1 * q2)))


@law("abs", "rectified", *ARC_COSINE)
def absolute_rectified(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, m: Params, n: Params) -> sp.Expr | None:
    """E[|u| relu(v)] = ½ E|u||v|: |u| is even, and relu(v) = (|v| + v)/2."""
    return (root(q1, c, q2) + c * sp.asin(c / sp.sqrt(q1 * q2))) / sp.pi if n[0] == 1 else None


@law("sign", "sign", "arcsine law", "Sheppard 1899")
def signs(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, m: Params, n: Params) -> sp.Expr:
    """E[sign u sign v] = (2/π) asin ρ: the probability of equal signs less that of unequal ones."""
    return 2 / sp.pi * sp.asin(c / sp.sqrt(q1 * q2))


@law("sign", "rectified", "Price's theorem", "Price 1958")
def sign_rectified(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, m: Params, n: Params) -> sp.Expr | None:
    """E[sign(u) relu(v)] = c/√(2π q1): sign is odd, so relu counts as v/2, and E[sign(u) v] = 2c φ(0)/√q1."""
    return c / sp.sqrt(2 * sp.pi * q1) if n[0] == 1 else None
