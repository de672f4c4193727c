"""The activations of the reference values, by the names and parameters used there."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from tp.gaussian.functions import elu, gelu, hermite, leaky_relu, normal_cdf, relu, sigmoid, silu, softplus, step


def exact(value: float | str) -> sp.Rational:
    """The double that ``value`` is, exactly."""
    return sp.Rational(float(value))


def activation(name: str, params: Mapping[str, float], x: sp.Expr) -> sp.Expr:
    """φ(x) for an entry of ``data/duals.json``."""
    p = {k: sp.Integer(v) if isinstance(v, int) else exact(v) for k, v in params.items()}
    a, b = p.get("a", sp.S.One), p.get("b", sp.S.Zero)
    table = {
        "linear": lambda: x,
        "relu": lambda: relu(x),
        "leaky_relu": lambda: leaky_relu(x, p["alpha"]),
        "abs": lambda: sp.Abs(x),
        "step": lambda: step(x),
        "sign": lambda: sp.sign(x),
        "erf": lambda: sp.erf(a * x),
        "normal_cdf": lambda: normal_cdf(a * x),
        "gelu": lambda: gelu(x),
        "sin": lambda: sp.sin(a * x + b),
        "cos": lambda: sp.cos(a * x + b),
        "exp": lambda: sp.exp(a * x),
        "gaussian": lambda: sp.exp(-a * x**2),
        "monomial": lambda: x ** p["k"],
        "quadratic": lambda: x**2,
        "hermite": lambda: hermite(p["k"], x),
        "rectified_monomial": lambda: relu(x) ** p["n"],
        "elu": lambda: elu(x, p["alpha"]),
        "tanh": lambda: sp.tanh(x),
        "sigmoid": lambda: sigmoid(x),
        "softplus": lambda: softplus(x),
        "silu": lambda: silu(x),
    }
    return table[name]()
