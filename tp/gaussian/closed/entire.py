"""Polynomials, exponentials, cosines and Gaussians: Gaussian integrals that tilting does at sight."""

from __future__ import annotations

from math import factorial

import sympy as sp

from tp.gaussian.closed.form import Params, law

TABLE = "Louart, Liao & Couillet 2018, Table 1; Han et al. 2022"
HALF = sp.Rational(1, 2)


@law("power", "power", "Gaussian moments (Wick)", "Isserlis 1918")
def powers(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, m: Params, n: Params) -> sp.Expr:
    """E[u^m v^n] = Σ_j m! n! c^j q1^{(m−j)/2} q2^{(n−j)/2} / (j! ((m−j)/2)! ((n−j)/2)! 2^{(m+n)/2−j}), j ≡ m ≡ n (2).

    j counts the pairs across.
    """
    a, b = int(m[0]), int(n[0])
    if (a - b) % 2:
        return sp.S.Zero
    terms = []
    for j in range(a % 2, min(a, b) + 1, 2):
        s, t = (a - j) // 2, (b - j) // 2
        count = factorial(a) * factorial(b) // (factorial(j) * factorial(s) * factorial(t) * 2 ** (s + t))
        terms.append(count * c**j * q1**s * q2**t)
    return sp.Add(*terms)


@law("exp", "exp", "Gaussian tilting", TABLE)
def exponentials(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: Params, b: Params) -> sp.Expr:
    """E[e^{au + bv}] = e^{(a²q1 + 2abc + b²q2)/2}."""
    return sp.exp((a[0] ** 2 * q1 + 2 * a[0] * b[0] * c + b[0] ** 2 * q2) / 2)


@law("sin", "sin", "characteristic function", TABLE)
def sines(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, first: Params, second: Params) -> sp.Expr:
    """E[sin(au + β) sin(bv + γ)] = ½ cos(β − γ) E₋ − ½ cos(β + γ) E₊, E_∓ = e^{−(a²q1 + b²q2 ∓ 2abc)/2}."""
    (a, beta), (b, gamma) = first, second
    minus = sp.exp(-(a**2 * q1 + b**2 * q2 - 2 * a * b * c) / 2)
    plus = sp.exp(-(a**2 * q1 + b**2 * q2 + 2 * a * b * c) / 2)
    return HALF * (sp.cos(beta - gamma) * minus - sp.cos(beta + gamma) * plus)


@law("gaussian", "gaussian", "Gaussian integral", TABLE)
def gaussians(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: Params, b: Params) -> sp.Expr | None:
    """E[e^{−au² − bv²}] = M^{−1/2}, M = (1 + 2aq1)(1 + 2bq2) − 4abc²."""
    if not (a[0].is_nonnegative and b[0].is_nonnegative):
        return None
    return 1 / sp.sqrt(_m(q1, c, q2, a[0], b[0]))


@law("gaussian", "gaussian", "Gaussian integral", TABLE, order=1)
def gaussian_slopes(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: Params, b: Params) -> sp.Expr | None:
    """The derivative in c (Price) of the law above: 4abc M^{−3/2}."""
    if not (a[0].is_nonnegative and b[0].is_nonnegative):
        return None
    return 4 * a[0] * b[0] * c * _m(q1, c, q2, a[0], b[0]) ** sp.Rational(-3, 2)


def _m(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: sp.Expr, b: sp.Expr) -> sp.Expr:
    return 1 + 2 * a * q1 + 2 * b * q2 + 4 * a * b * (q1 * q2 - c**2)
