"""ELU: a relu and tilted orthants, by Plackett's Φ₂.

E[e^{iu + jv} 1{u<0} 1{v<0}] tilts the means to (iq1 + jc, ic + jq2); the rest is the law of two relus with means.
"""

from __future__ import annotations

import sympy as sp

from tp.gaussian.closed.arccosine import arc_cosine
from tp.gaussian.closed.form import Params, law
from tp.gaussian.functions import normal_cdf, normal_cdf2, normal_pdf

ELU = ("ELU kernel (tilted orthants)", "Tsuchida et al. 2021, Avoiding kernel fixed points; Plackett 1954")
ONE = (sp.S.One,)


@law("elu", "elu", *ELU)
def elu_elu(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: Params, b: Params) -> sp.Expr:
    """V_relu + α₂ X(q1, q2) + α₁ X(q2, q1) + α₁α₂ [T₁₁ − T₁₀ − T₀₁ + T₀₀].

    X(q1, q2) = E[relu(u) (e^v − 1) 1{v<0}] and T_ij = E[e^{iu + jv} 1{u<0} 1{v<0}].
    """
    t = {(i, j): tilted_orthant(q1, c, q2, i, j) for i in (0, 1) for j in (0, 1)}
    below = t[1, 1] - t[1, 0] - t[0, 1] + t[0, 0]
    relus = arc_cosine(q1, c, q2, ONE, ONE)
    assert relus is not None
    return relus + b[0] * relu_below(q1, c, q2) + a[0] * relu_below(q2, c, q1) + a[0] * b[0] * below


@law("elu", "elu", *ELU, order=1)
def elu_elu_dot(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, a: Params, b: Params) -> sp.Expr:
    """φ' = 1{x>0} + α e^x 1{x<0}: P(u>0, v>0) + α₂ Y(q1, q2) + α₁ Y(q2, q1) + α₁α₂ T₁₁, Y = E[1{u>0} e^v 1{v<0}]."""
    zero = (sp.S.Zero,)
    steps = arc_cosine(q1, c, q2, zero, zero)
    assert steps is not None
    below = tilted_orthant(q1, c, q2, 1, 1)
    return steps + b[0] * step_below(q1, c, q2) + a[0] * step_below(q2, c, q1) + a[0] * b[0] * below


def tilted_orthant(q1: sp.Expr, c: sp.Expr, q2: sp.Expr, i: int, j: int) -> sp.Expr:
    """T_ij = e^{(i²q1 + j²q2 + 2ijc)/2} Φ₂(−(iq1 + jc)/√q1, −(ic + jq2)/√q2; ρ)."""
    rho = c / sp.sqrt(q1 * q2)
    h, k = (-i * sp.sqrt(q1) - j * c / sp.sqrt(q1)), (-j * sp.sqrt(q2) - i * c / sp.sqrt(q2))
    return sp.exp((i * q1 + j * q2 + 2 * i * j * c) / 2) * normal_cdf2(h, k, rho)


def relu_below(q1: sp.Expr, c: sp.Expr, q2: sp.Expr) -> sp.Expr:
    """X = e^{q2/2} U(c, q2) − U(0, 0), U(m1, m2) = E[u 1{u>0} 1{v<0}] with those means:

    m1 Φ₂(h, k; −ρ) + √q1 [φ(h) Φ((k + ρh)/s) − ρ φ(k) Φ((h + ρk)/s)], h = m1/√q1, k = −m2/√q2, s = √(1 − ρ²).
    """
    root = sp.sqrt(q1 * q2 - c**2)
    h, k, rho = c / sp.sqrt(q1), -sp.sqrt(q2), c / sp.sqrt(q1 * q2)
    up = sp.sqrt(q1) * normal_pdf(h) * normal_cdf(-root / sp.sqrt(q1))  # k + ρh = −s²√q2
    across = c * (normal_cdf2(h, k, -rho) - normal_pdf(sp.sqrt(q2)) / (2 * sp.sqrt(q2)))  # h + ρk = 0
    centred = (sp.sqrt(q1) - c / sp.sqrt(q2)) / (2 * sp.sqrt(2 * sp.pi))
    return sp.exp(q2 / 2) * (across + up) - centred


def step_below(q1: sp.Expr, c: sp.Expr, q2: sp.Expr) -> sp.Expr:
    """Y = E[1{u>0} e^v 1{v<0}] = e^{q2/2} Φ₂(c/√q1, −√q2; −ρ)."""
    return sp.exp(q2 / 2) * normal_cdf2(c / sp.sqrt(q1), -sp.sqrt(q2), -c / sp.sqrt(q1 * q2))
