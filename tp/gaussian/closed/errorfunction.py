"""erf, Φ and exact gelu: steps and relus smoothed by a normal variable of their own.

Φ(ax) = P(N < ax) adds 1 to the variance of ax, so the step's laws hold at the larger variances. Everywhere
B_i = 1 + a_i² q_i.
"""

from __future__ import annotations

import sympy as sp

from tp.gaussian.closed.form import Params, law

ERF = ("arcsine kernel", "Williams 1997, Computing with infinite networks")
GELU = ("exact gelu kernel", "Tsuchida et al. 2021, Avoiding kernel fixed points")


@law("erf", "erf", *ERF)
def erf_erf(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: Params, b: Params) -> sp.Expr:
    """E[erf(au) erf(bv)] = (2/π) asin(2abc/√((1 + 2a²q1)(1 + 2b²q2)))."""
    scale = sp.sqrt((1 + 2 * a[0] ** 2 * q1) * (1 + 2 * b[0] ** 2 * q2))
    return 2 / sp.pi * sp.asin(2 * a[0] * b[0] * c / scale)


@law("normal_cdf", "normal_cdf", *ERF)
def cdf_cdf(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: Params, b: Params) -> sp.Expr:
    """E[Φ(au) Φ(bv)] = 1/4 + asin(abc/√(B1 B2))/2π."""
    scale = sp.sqrt((1 + a[0] ** 2 * q1) * (1 + b[0] ** 2 * q2))
    return sp.Rational(1, 4) + sp.asin(a[0] * b[0] * c / scale) / (2 * sp.pi)


@law("sign", "erf", *ERF)
def sign_erf(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, _: Params, b: Params) -> sp.Expr:
    """E[sign(u) erf(bv)] = (2/π) asin(√2 bc/√(q1 (1 + 2b²q2))): sign(u) is erf(au) for a → ∞."""
    return 2 / sp.pi * sp.asin(sp.sqrt(2) * b[0] * c / sp.sqrt(q1 * (1 + 2 * b[0] ** 2 * q2)))


@law("erf", "rectified", "Price's theorem", "Price 1958")
def erf_rectified(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: Params, n: Params) -> sp.Expr | None:
    """E[erf(au) relu(v)] = ac/√(π(1 + 2a²q1)); beside a step, half of the law beside sign."""
    if n[0] == 0:
        return sp.asin(sp.sqrt(2) * a[0] * c / sp.sqrt(q2 * (1 + 2 * a[0] ** 2 * q1))) / sp.pi
    return a[0] * c / sp.sqrt(sp.pi * (1 + 2 * a[0] ** 2 * q1)) if n[0] == 1 else None


@law("rectified", "normal_cdf", "Price's theorem", "Price 1958")
def rectified_cdf(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, n: Params, b: Params) -> sp.Expr | None:
    """E[relu(u) Φ(bv)] = √(q1/2π)/2 + bc/(2√(2π(1 + b²q2)))."""
    if n[0] != 1:
        return None
    return sp.sqrt(q1 / (2 * sp.pi)) / 2 + b[0] * c / (2 * sp.sqrt(2 * sp.pi * (1 + b[0] ** 2 * q2)))


@law("gelu", "gelu", *GELU)
def gelu_gelu(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: Params, b: Params) -> sp.Expr:
    """E[u Φ(au) v Φ(bv)]; at a = b = 1, with A = (1 + q1)(1 + q2) and δ² = A − c²,

    c/4 + (1/2π) [c asin(c/√A) + (c² + q1 q2 δ²)/(A δ)].
    """
    q1, c, q2, ab = q1 * a[0] ** 2, c * a[0] * b[0], q2 * b[0] ** 2, a[0] * b[0]
    big, delta2 = _sizes(q1, c, q2)
    algebraic = (c**2 + q1 * q2 * delta2) / (big * sp.sqrt(delta2))
    return (c / 4 + (c * sp.asin(c / sp.sqrt(big)) + algebraic) / (2 * sp.pi)) / ab


@law("gelu", "gelu", *GELU, order=1)
def gelu_gelu_dot(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: Params, b: Params) -> sp.Expr:
    """The derivative in c (Price) of the law above:

    1/4 + (1/2π) [asin(c/√A) + (c/δ)(1/δ² + (1 − q1 q2)/A + 1)].
    """
    q1, c, q2 = q1 * a[0] ** 2, c * a[0] * b[0], q2 * b[0] ** 2
    big, delta2 = _sizes(q1, c, q2)
    algebraic = c / sp.sqrt(delta2) * (1 / delta2 + (1 - q1 * q2) / big + 1)
    return sp.Rational(1, 4) + (sp.asin(c / sp.sqrt(big)) + algebraic) / (2 * sp.pi)


def _sizes(q1: sp.Expr, c: sp.Expr, q2: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    return (1 + q1) * (1 + q2), 1 + q1 + q2 + q1 * q2 - c**2
