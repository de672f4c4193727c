"""The quadrature against integrals known without it."""

from __future__ import annotations

import math

import mpmath
import pytest
import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import relu, step
from tp.gaussian.quadrature import evaluate, integrate

u, v, w = sp.symbols("u v w", real=True)
q, c = sp.symbols("q c", positive=True)


@pytest.mark.parametrize("variance", [1e-6, 1, 16, 1000, 1e6])
def test_steep_activation(variance: float) -> None:
    value, error = integrate(Expectation(sp.tanh(u) ** 2, (u,), [[q]]), {q: variance})
    root = mpmath.sqrt(variance)
    wanted = 2 * mpmath.quad(
        lambda x: mpmath.tanh(root * x) ** 2 * mpmath.npdf(x), [0, *(10.0**k for k in range(-4, 1)), 2, 5, 14]
    )
    assert error < 1e-13 and abs(value - float(wanted)) < 1e-13 * value


@pytest.mark.parametrize("rho", [0.9, 1 - 1e-6, 1 - 1e-12, -1 + 1e-9, 1.0, -1.0])
def test_nearly_parallel_relus(rho: float) -> None:
    value, _ = integrate(Expectation(relu(u) * relu(v), (u, v), [[1, c], [c, 1]]), {c: rho})
    with mpmath.workdps(40):
        r = mpmath.mpf(rho)
        wanted = float((mpmath.sqrt(1 - r * r) + r * (mpmath.pi - mpmath.acos(r))) / (2 * mpmath.pi))
    assert abs(value - wanted) <= 1e-13 * wanted


def test_kinks_anywhere() -> None:
    clip = sp.Max(-1, sp.Min(1, 3 * u - 1))
    value, error = integrate(Expectation(clip + sp.Piecewise((1, u > sp.Rational(1, 3)), (0, True)), (u,), [[2]]))
    with mpmath.workdps(25):
        exact = mpmath.quad(
            lambda x: (max(-1, min(1, 3 * x - 1)) + (x > mpmath.mpf(1) / 3)) * mpmath.npdf(x, 0, mpmath.sqrt(2)),
            [-20, 0, mpmath.mpf(1) / 3, mpmath.mpf(2) / 3, 20],
        )
    assert abs(value - float(exact)) < 1e-14 and error < 1e-13


def test_three_variables() -> None:
    cov = [[1, 0.3, 0.2], [0.3, 1, 0.5], [0.2, 0.5, 1]]
    value, error = integrate(Expectation(step(u) * step(v) * step(w), (u, v, w), cov))
    wanted = 1 / 8 + sum(map(math.asin, (0.3, 0.2, 0.5))) / (4 * math.pi)
    assert abs(value - wanted) < 1e-9 and error < 1e-8


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="Dirac"):
        integrate(Expectation(sp.DiracDelta(u), (u,), [[1]]))
    with pytest.raises(ValueError, match="positive semidefinite"):
        integrate(Expectation(u * v, (u, v), [[1, 2], [2, 1]]))
    with pytest.raises(ValueError, match="no numerical value"):
        evaluate(sp.zeta(u), {u: 2.0})
