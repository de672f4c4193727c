"""Known functions are recognised however they are written."""

from __future__ import annotations

import pytest
import sympy as sp

from tp.gaussian import normalform
from tp.gaussian.closed import closed_form
from tp.gaussian.decompose import COUNTLESS, Basis, decompose, expanded_size, expression, separate
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import elu, gelu, hermite, leaky_relu, normal_cdf, relu, sigmoid, silu, softplus, step

u, v = sp.symbols("u v", real=True)
a, b = sp.symbols("a b", positive=True)
m = sp.Symbol("m", real=True)
half, third = sp.Rational(1, 2), sp.Rational(1, 3)


def basis(name: str, *params: sp.Expr | int, **where: sp.Expr | int) -> Basis:
    return Basis(name, tuple(map(sp.sympify, params)), **where)


KNOWN = [
    (relu(u), [(1, basis("rectified", 1))]),
    (relu(2 * u), [(2, basis("rectified", 1))]),
    (sp.Max(u, 0), [(1, basis("rectified", 1))]),
    (sp.Max(0, a * u), [(a, basis("rectified", 1))]),
    ((u + abs(u)) / 2, [(1, basis("rectified", 1))]),
    (u * sp.Heaviside(u), [(1, basis("rectified", 1))]),
    (sp.Piecewise((u, u > 0), (0, True)), [(1, basis("rectified", 1))]),
    (relu(a * u) ** 3, [(a**3, basis("rectified", 3))]),
    (relu(-u), [(-1, basis("power", 1)), (1, basis("rectified", 1))]),
    (relu(u + m), [(1, basis("rectified", 1, shift=m))]),
    (step(u), [(1, basis("rectified", 0))]),
    (sp.sign(u), [(2, basis("rectified", 0)), (-1, basis("power", 0))]),
    (abs(u), [(2, basis("rectified", 1)), (-1, basis("power", 1))]),
    (leaky_relu(u, a), [(a, basis("power", 1)), (1 - a, basis("rectified", 1))]),
    ((1 + a) / 2 * u + (1 - a) / 2 * abs(u), [(a, basis("power", 1)), (1 - a, basis("rectified", 1))]),
    (sp.Max(u, third * u), [(third, basis("power", 1)), (1 - third, basis("rectified", 1))]),
    (sp.Min(sp.Max(u, 0), 6), [(1, basis("rectified", 1)), (-1, basis("rectified", 1, shift=-6))]),
    (sp.erf(a * u), [(1, basis("erf", a))]),
    (sp.erf(u).diff(u), [(2 / sp.sqrt(sp.pi), basis("gaussian", 1))]),
    (2 / sp.sqrt(sp.pi) * sp.exp(-(u**2)), [(2 / sp.sqrt(sp.pi), basis("gaussian", 1))]),
    (normal_cdf(u), [(1, basis("normal_cdf", 1))]),
    ((1 + sp.erf(u / sp.sqrt(2))) / 2, [(1, basis("normal_cdf", 1))]),
    (2 * normal_cdf(u) - 1, [(1, basis("erf", 1 / sp.sqrt(2)))]),
    (gelu(u), [(1, basis("gelu", 1))]),
    (sp.erf(u / sp.sqrt(2)) * u / 2 + u / 2, [(1, basis("gelu", 1))]),
    (gelu(2 * u), [(2, basis("gelu", 2))]),
    (gelu(u + m), [(1, basis("gelu", 1, shift=m))]),
    (gelu(u).diff(u), [(1, basis("gelu", 1, order=1))]),
    ((a * gelu(b * u)).diff(u), [(a * b, basis("gelu", b, order=1))]),
    (sp.sin(a * u + m), [(1, basis("sin", a, m))]),
    (sp.sin(a * u).diff(u), [(a, basis("sin", a, sp.pi / 2))]),
    (sp.cos(u).diff(u), [(-1, basis("sin", 1, 0))]),
    (u + sp.sin(u) ** 2, [(1, basis("power", 1)), (half, basis("power", 0)), (half, basis("sin", 2, -sp.pi / 2))]),
    (sp.exp(a * u), [(1, basis("exp", a))]),
    (sp.exp(-a * u**2), [(1, basis("gaussian", a))]),
    (sp.exp(-a * u**2).diff(u), [(1, basis("gaussian", a, order=1))]),
    (sp.exp(-a * (u + m) ** 2), [(1, basis("gaussian", a, shift=m))]),
    (elu(u, a), [(1, basis("elu", a))]),
    (elu(u, a).diff(u), [(1, basis("elu", a, order=1))]),
    (elu(2 * u, a), [(1, basis("elu", a, scale=2))]),
    (elu(u + m, a), [(1, basis("elu", a, shift=m))]),
    (sp.Piecewise((u, u > 0), (a * (sp.exp(u) - 1), True)), [(1, basis("elu", a))]),
    (u**3 - 2 * u, [(1, basis("power", 3)), (-2, basis("power", 1))]),
    (hermite(2, u), [(1 / sp.sqrt(2), basis("power", 2)), (-1 / sp.sqrt(2), basis("power", 0))]),
]


@pytest.mark.parametrize("phi, wanted", KNOWN, ids=lambda value: str(value) if isinstance(value, sp.Expr) else "")
def test_known(phi: sp.Expr, wanted: list[tuple[sp.Expr, Basis]]) -> None:
    found = decompose(phi, u)
    assert found is not None
    assert {basis: sp.expand(coef) for coef, basis in found} == {basis: sp.expand(coef) for coef, basis in wanted}


@pytest.mark.parametrize("phi", [phi for phi, _ in KNOWN], ids=str)
def test_parts_make_the_whole(phi: sp.Expr) -> None:
    total = sum(coef * expression(part, u) for coef, part in decompose(phi, u) or ())
    for point in (-2.3, -0.4, 0.3, 1.7, 7.1):
        at = {u: sp.Rational(str(point)), a: sp.Rational(7, 10), b: sp.Rational(6, 5), m: sp.Rational(7, 20)}
        assert abs(sp.N((total - phi).subs(at), 20)) < 1e-15


@pytest.mark.parametrize(
    "phi", [sp.tanh(u), sigmoid(u), softplus(u), silu(u), sp.exp(-abs(u)), u * sp.exp(u), relu(m * u), normal_cdf(u) ** 2]
)
def test_unknown(phi: sp.Expr) -> None:
    assert decompose(phi, u) is None


def test_separate() -> None:
    assert separate(relu(u) * sp.tanh(v) * a, (u, v)) == [(a, (relu(u), sp.tanh(v)))]
    assert separate((u + relu(u)) * (v + 1), (u, v)) == [(1, (u + relu(u), v + 1))]
    assert separate(sp.exp(u + v), (u, v)) == [(1, (sp.exp(u), sp.exp(v)))]
    assert separate(relu(u + v), (u, v)) is None
    for product in ((relu(u) + v) ** 2 * 3, a * (u + sp.tanh(v)) * (v + 1) * relu(u)):
        parts = separate(product, (u, v))
        assert parts is not None
        assert all(not f.has(v) and not g.has(u) for _, (f, g) in parts)
        assert sp.expand(sum(coef * f * g for coef, (f, g) in parts) - product) == 0


def test_size_is_bounded() -> None:
    many = sp.Mul(*(sp.sin(k * u) + sp.Integer(k) * v for k in range(1, 25)))
    assert separate(many, (u, v)) is None
    assert separate((u + v) ** 10**9, (u, v)) is None
    assert decompose(u ** (10**9) + sp.Pow(relu(u), 10**9), u) is None
    assert decompose(sum(sp.sin(k * u) for k in range(1, 60)) ** 2, u) is None


def test_products_of_powers_are_counted_before_they_are_multiplied_out() -> None:
    many = sum(sp.Symbol(f"a{k}") for k in range(30)) * u + 1
    assert expanded_size(2 * (u + 1) ** 2 * (v**2 + v + 1)) == 9 and expanded_size(((u + 1) ** 2 + 1) ** 2) == 10
    assert expanded_size(sp.Mul(2, many**9, many**8, evaluate=False)) == COUNTLESS
    assert closed_form(Expectation(9 * many**8 * sp.tanh(u), (u,), [[a]])) is None


def test_products_of_terms_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is small, but a product of dozens of ramps, and its derivative above all, takes a hundred thousand of them."""
    ramps = sp.Mul(*(relu(u - k) for k in range(4)))
    assert normalform.normal_form(ramps, (u,))
    monkeypatch.setattr(normalform, "MOST", 5)
    with pytest.raises(normalform.Unknown, match="too many products"):
        normalform.normal_form(ramps, (u,))
