"""The activation functions: values, derivatives, definitions, and what SymPy makes of them."""

from __future__ import annotations

import pytest
import sympy as sp

from tp.gaussian.functions import (
    definition,
    elu,
    gelu,
    hermite,
    leaky_relu,
    normal_cdf,
    normal_cdf2,
    normal_pdf,
    owens_t,
    relu,
    sigmoid,
    silu,
    softplus,
    step,
)
from tp.limit.equations import I, Z
from tp.program.ir import Ref

x = sp.Symbol("x", real=True)
alpha = sp.Rational(3, 10)
SMOOTH = [normal_pdf(x), normal_cdf(x), gelu(x), sigmoid(x), softplus(x), silu(x), hermite(5, x)]
KINKED = [relu(x), step(x), leaky_relu(x), leaky_relu(x, alpha), elu(x), elu(x, alpha)]
POINTS = [sp.Rational(p, 10) for p in (-37, -4, 5, 21)]


@pytest.mark.parametrize("f", SMOOTH + KINKED, ids=str)
def test_value_is_that_of_the_definition(f: sp.Expr) -> None:
    for point in POINTS:
        assert abs(sp.N(f.subs(x, point), 30) - sp.N(definition(f).subs(x, point), 30)) < 1e-28


@pytest.mark.parametrize("f", SMOOTH + KINKED, ids=str)
def test_derivative_is_that_of_the_definition(f: sp.Expr) -> None:
    step_size = sp.Rational(1, 10**10)
    for point in POINTS:
        slope = sp.N((f.subs(x, point + step_size) - f.subs(x, point - step_size)) / (2 * step_size), 40)
        found = f.diff(x).subs(x, point)
        assert abs(sp.N(found.doit(), 30) - slope) < 1e-18


def test_values_at_the_edges() -> None:
    assert relu(0) == step(0) == gelu(0) == silu(0) == 0
    assert (relu(sp.Rational(3, 2)), relu(-2), step(sp.pi), step(-1)) == (sp.Rational(3, 2), 0, 1, 0)
    assert leaky_relu(-2, sp.Rational(1, 4)) == -sp.Rational(1, 2)
    assert elu(0) == 0 and elu(-1) == sp.exp(-1) - 1
    assert normal_cdf(0) == sigmoid(0) == sp.Rational(1, 2)
    assert normal_cdf(sp.oo) == 1 and normal_cdf(-sp.oo) == 0
    assert normal_pdf(-x) == normal_pdf(x)
    assert hermite(0, x) == 1 and hermite(1, x) == x
    assert sp.N(normal_cdf(-30), 20) > 0  # the tail keeps its digits


def test_arguments_left_out() -> None:
    assert elu(x) == elu(x, 1)
    assert leaky_relu(x) == leaky_relu(x, sp.Rational(1, 100))
    assert isinstance(relu(sp.Float(-0.5)), sp.Number) and gelu(sp.Float(0.3)).is_Float


def test_hermites_are_orthonormal() -> None:
    density = sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
    for j, k in ((2, 2), (5, 5), (2, 4), (3, 4)):
        product = sp.expand(definition(hermite(j, x) * hermite(k, x)))
        assert sp.integrate(product * density, (x, -sp.oo, sp.oo)) == int(j == k)


def test_two_normal_variables() -> None:
    rho = sp.Rational(1, 2)
    assert normal_cdf2(x, 1, 0) == normal_cdf(x) * normal_cdf(1)
    assert normal_cdf2(0, 0, rho) == sp.Rational(1, 3)
    assert abs(sp.N(normal_cdf2(1, 2, rho), 20) - sp.Float("0.83186083113088047692", 20)) < 1e-18
    near = sp.N(normal_cdf2(1, sp.Rational(6, 5), 1 - sp.Rational(1, 10**10)), 20)
    assert abs(near - sp.N(normal_cdf(1), 20)) < 1e-15
    assert sp.N(normal_cdf2(-1, sp.Rational(1, 2), -1), 15) == 0
    h = sp.Rational(2, 3)
    owen = normal_cdf(h) - 2 * owens_t(h, sp.sqrt((1 - rho) / (1 + rho)))
    assert abs(sp.N(normal_cdf2(h, h, rho) - owen, 25)) < 1e-20


@pytest.mark.parametrize("f, at", [(normal_cdf2, (0.3, -0.7, 0.4)), (owens_t, (0.8, 1.3))])
def test_partial_derivatives(f: type[sp.Function], at: tuple[float, ...]) -> None:
    xs = sp.symbols("x:3", real=True)[: len(at)]
    for i in range(len(at)):
        points = [[sp.Rational(str(p)) + (s * sp.Rational(1, 10**8) if i == j else 0) for j, p in enumerate(at)] for s in (1, -1)]
        slope = sp.N((f(*points[0]) - f(*points[1])) * 10**8 / 2, 30)
        found = f(*xs).diff(xs[i]).subs({x: sp.Rational(str(p)) for x, p in zip(xs, at, strict=True)})
        assert abs(sp.N(found, 25) - slope) < 1e-14


def test_latex() -> None:
    assert sp.latex(relu(x)) == r"\operatorname{relu}\left(x\right)"
    assert sp.latex(normal_cdf(x) ** 2) == r"\Phi^{2}\left(x\right)"
    assert sp.latex(normal_cdf2(x, 1, alpha)) == r"\Phi_{2}\left(x, 1; \frac{3}{10}\right)"
    assert sp.latex(hermite(3, x)) == r"h_{3}\left(x\right)"


def test_of_a_random_variable() -> None:
    z = Z(Ref("h"), I)
    assert relu(z).diff(z) == step(z)
    assert relu(z).is_real and relu(z).is_nonnegative
    assert step(z).diff(z) == sp.DiracDelta(z)
    assert gelu(2 * z).diff(z) == 2 * normal_cdf(2 * z) + 4 * z * normal_pdf(2 * z)
