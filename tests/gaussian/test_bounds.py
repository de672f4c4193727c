"""Errors are never larger than what is said: oscillations that no break announces, cancellation near 0, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sympy as sp
from gaussian.run import c, call, couple, plain, q1, q2, u

from tp.errors import LimitError
from tp.gaussian.breaks import breaks
from tp.gaussian.codegen import scalar_function
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import gelu, relu, softplus
from tp.gaussian.lowered import Lowered
from tp.gaussian.numeric import lower
from tp.gaussian.panels import between, doubt
from tp.gaussian.powers import node
from tp.gaussian.quadrature import integrate
from tp.gaussian.stable import cancels, taylor
from tp.kernel import linewise

X = sp.Symbol("x", real=True)
NODES = np.array([side * node(i)[0] for i in range(9) for side in (-1, 1)])
WEIGHTS = np.repeat([node(i)[1] for i in range(9)], 2)


@pytest.mark.parametrize(
    ("f", "integral"),
    [
        (lambda x: np.cos(6 * x + 0.3), math.sin(6) / 3 * math.cos(0.3)),
        (lambda x: np.cos(12 * x + 0.3), math.sin(12) / 6 * math.cos(0.3)),
        (lambda x: np.cos(40 * x + 0.3), math.sin(40) / 20 * math.cos(0.3)),
        (lambda x: 1 / (1 + x * x), math.pi / 2),
        (lambda x: np.abs(x - 0.23), (1.23**2 + 0.77**2) / 2),
        (lambda x: np.where(x > 0.23, 1.0, 0.0), 0.77),
        (
            lambda x: np.exp(-1.6 * x * x) + 8e-5 * np.abs(x - 0.02),
            math.sqrt(math.pi / 1.6) * math.erf(math.sqrt(1.6)) + 8e-5 * 1.0004,
        ),
        (lambda x: np.abs(x - 0.993), (1.993**2 + 0.007**2) / 2),
        (lambda x: np.where(x < -0.996, 1.0, 0.0), 0.004),
    ],
    ids=["wave", "fast", "aliased", "poles", "kink", "jump", "hidden kink", "kink at an end", "jump at an end"],
)
def test_doubt_is_no_smaller_than_the_error(f: Any, integral: float) -> None:
    """On half a panel; where nothing is resolved both are of order 1. Its twin for plain Python says the same."""
    values = f(NODES)
    assert abs(WEIGHTS @ values - integral) <= 2 * doubt(values) + 1e-15
    assert linewise.doubt(values) == pytest.approx(doubt(values), rel=1e-12, abs=1e-15)


def alone(f: sp.Expr) -> tuple[Lowered, dict[str, Any]]:
    low = lower(Expectation(f, (u,), [[q1]]))
    return low, plain(low.sources)


@pytest.mark.parametrize("q", [0.3, 4.0, 12.0])
def test_chirp(q: float) -> None:
    """E sin²(u²) = (1 − Re (1 − 4iq)^{−1/2})/2."""
    assert call(*alone(sp.sin(u**2) ** 2), q)[0] == pytest.approx((1 - ((1 - 4j * q) ** -0.5).real) / 2, rel=1e-13)


def test_pairs_of_a_chirp() -> None:
    """E[sin u² sin v²] from E e^{i(±u² ± v²)}; φ' = 2u cos u² is recognized but for its factor, so both come by sites."""
    low = lower(*couple(lambda x: sp.sin(x**2)))
    assert low.method == "mehler"
    names, (a, c, b) = plain(low.sources), (0.5, 0.2, 0.4)

    def wave(s: int) -> float:
        return float(((1 - 2j * (a + s * b) - 4 * s * (a * b - c * c)) ** -0.5).real)

    vectors = [np.zeros(130), np.zeros(130)]
    for q, vector in zip((a, b), vectors, strict=True):
        names[low.sites[0].function](q, vector)
    assert names[low.with_sites](*vectors, a, c, b)[0] == pytest.approx((wave(-1) - wave(1)) / 2, rel=1e-12)


@pytest.mark.parametrize(("q", "rho"), [(30.0, 0.999), (60.0, 1 - 1e-9)])
def test_squares_reach_farther_than_means(q: float, rho: float) -> None:
    """E φ² of φ = e^{u/2} − 1 has its mass at √q standard deviations, twice as far out as E φ."""
    low = lower(*couple(lambda x: sp.exp(x / 2) - 1))
    names, (site, _), v, vector = plain(low.sources), low.sites, rho * q, np.zeros(100)
    names[site.function](q, vector)
    value, slope = names[low.with_sites](vector, vector, q, v, q)
    e = math.exp(q / 2)
    assert value == pytest.approx(math.exp((q + v) / 4) - 2 * math.exp(q / 8) + 1, abs=1e-13 * e)
    assert slope == pytest.approx(math.exp((q + v) / 4) / 4, abs=1e-13 * e)


@pytest.mark.parametrize(
    "f", [sp.log(1 + sp.exp(3 * u)) / 3 - u / 2, sp.log(sp.exp(u) + sp.exp(-u)) / 2], ids=["softplus", "cosh"]
)
def test_logarithms_of_sums_of_exponentials(f: sp.Expr) -> None:
    """Both are |u|/2 but near 0, also where the exponentials are beyond double precision; and log(1 + |u|) is |u| near 0."""
    assert call(*alone(f**2), 1e8)[0] == pytest.approx(0.25e8, rel=1e-10)
    assert call(*alone(sp.log(1 + sp.Abs(u)) ** 2), 1e-24)[0] == pytest.approx(1e-24, rel=1e-11)


@pytest.mark.parametrize(
    ("f", "value", "slope"),
    [
        (u * sp.exp(u) / (sp.exp(u) + 2), 800.0, 1.0),
        (sp.exp(2 * u) / (1 + sp.exp(u)) ** 2, 1.0, 0.0),
        (sp.exp(u) / (1 + sp.exp(2 * u)), 0.0, 0.0),
        ((sp.exp(u) - sp.exp(-u)) / (sp.exp(u) + sp.exp(-u)), 1.0, 0.0),
        (u * ((1 + sp.exp(u)) ** 2 - 1) / ((1 + sp.exp(u)) ** 2 + 1), 800.0, 1.0),
        (sp.sqrt(1 + sp.exp(u)), math.exp(400), math.exp(400) / 2),
        (u / (1 + sp.exp(-u)), 800.0, 1.0),
    ],
    ids=["swish", "square", "bell", "tanh", "mish", "root", "silu"],
)
def test_quotients_of_exponentials(f: sp.Expr, value: float, slope: float) -> None:
    """Far out, where each power of e is beyond double precision."""
    source = scalar_function("phi", [f, sp.diff(f, u)], [u], ["x"])
    assert plain(source)[source[-1][0]](800.0) == pytest.approx((value, slope), rel=1e-12, abs=1e-300)


def test_what_is_too_large_has_no_number() -> None:
    """E[e^{2u}/4(1 + e^u)] has its mass at q."""
    low, names = alone(sp.diff(sp.sqrt(1 + sp.exp(u)), u) ** 2)
    assert call(low, names, 200.0)[0] == pytest.approx(math.exp(100) / 4, rel=1e-12)
    assert math.isnan(call(low, names, 900.0)[0])


def test_sizes_are_not_those_of_one_place() -> None:
    """The slope of a hat vanishes in the middle."""
    low = lower(*couple(lambda x: relu(x - 1) * relu(2 - x)))
    names = plain(low.sources)
    reach = next(f for name, f in names.items() if name.startswith("phi_reach"))
    for s in (0.5, 1.0, 30.0):
        assert min(reach(0.0, s, 2.0, 0.0, 0.0)[1:]) > 1e-3


def test_polynomials_between_nodes() -> None:
    """At a node, beside one, and elsewhere."""
    x = np.append(NODES[:3], [NODES[3] + 1e-15, -1.0, 0.3])
    table = np.stack([np.exp(NODES), 2 * NODES**15])
    for at in x:
        assert between(table, at) == pytest.approx((math.exp(at), 2 * at**15), rel=1e-12)


def test_means_of_waves_are_tabulated() -> None:
    """φ is faster than the mean of ψ given it, of which a few panels are enough."""
    value, slope = couple(lambda x: sp.sin(12 * x) * relu(x))
    low, at = lower(value, slope), {q1: 0.04, c: 0.02, q2: 0.04}
    names = plain(low.sources)
    assert call(low, names, *at.values()) == pytest.approx([integrate(e, at)[0] for e in (value, slope)], rel=1e-11)


def test_waves_behind_a_kink() -> None:
    """Of opposite variables one is below 0, where sin(relu) is."""
    low = lower(*couple(lambda x: sp.sin(relu(x))))
    assert call(low, plain(low.sources), 1.0, -1.0, 1.0) == (0.0, 0.0)


def test_what_is_too_fast_has_no_number() -> None:
    _, names = alone(sp.tanh(u) * sp.sin(u**2))
    mean = next(f for name, f in names.items() if name.startswith("phi_mean"))
    assert mean(0.0, 1.5, 0.0, 0.0, 300) == mean(0.0, 1.5, 0.0, 0.0, 3000)
    assert all(map(math.isnan, mean(0.0, 100.0, 0.0, 0.0, 300)))


@pytest.mark.parametrize(
    ("f", "leading"),
    [
        (sp.exp(u) - 1, lambda q: q + 7 * q * q / 4),
        (1 - sp.cos(u), lambda q: 3 * q * q / 4),
        (sp.tanh(u) - u, lambda q: 5 * q**3 / 3),
        (sp.sqrt(1 + u**2) - 1, lambda q: 3 * q * q / 4),
        (1 - sp.exp(-(u**2)), lambda q: 3 * q * q),
        (softplus(u) - sp.log(2), lambda q: q / 4),
    ],
    ids=["exp", "cos", "tanh", "root", "bell", "softplus"],
)
def test_cancellation_at_small_variance(f: sp.Expr, leading: Any) -> None:
    assert call(*alone(f**2), 1e-12)[0] == pytest.approx(leading(1e-12), rel=1e-11)


def test_closed_forms_where_they_hold() -> None:
    """Differences near 0 are integrated, and at variances above 1 in closed form; what does not cancel is closed everywhere."""
    p = sp.Symbol("p", positive=True)
    assert cancels(sp.exp(u) - 1, u) and cancels(sp.exp(p * u) - 1, u) and not cancels(relu(u) - u / 3, u)
    assert taylor(sp.tanh(u), u) is None and taylor(gelu(u) - u / 2, u) is not None
    assert call(*alone((1 - sp.cos(u)) ** 2), 1e8)[0] == pytest.approx(1.5, rel=1e-13)
    assert lower(Expectation(sp.exp(u) * sp.cos(1), (u,), [[q1]])).method == "closed"


def test_a_slope_without_a_square_mean() -> None:
    """Of sqrt|u| the derivative is asked for nothing: E|u v|^a = (4 q1 q2)^{a/2}/π Γ((a+1)/2)² 2F1(−a/2, −a/2; 1/2; ρ²)."""
    low = lower(couple(lambda x: sp.sqrt(sp.Abs(x)))[0])
    value = call(low, plain(low.sources), 0.7, 0.3, 1.9)[0]
    exact = sp.sqrt(2 * sp.sqrt(0.7 * 1.9)) / sp.pi * sp.gamma(0.75) ** 2 * sp.hyper([-0.25, -0.25], [0.5], 0.09 / 1.33)
    assert value == pytest.approx(float(exact), rel=1e-11)


@pytest.mark.parametrize(
    ("f", "places"),
    [
        (sp.Max(-1, sp.Min(1, X**3)), [-1.0, 1.0]),
        (relu(X**3 - 2 * X + sp.Rational(1, 10)), sorted(np.roots([1.0, 0.0, -2.0, 0.1]))),
        (sp.Abs(X**4 - 3 * X**2 + 1), [-1.618034, -0.618034, 0.618034, 1.618034]),
        (sp.Max(X / (1 + X**2), 0.3), [0.3333333, 3.0]),
        (sp.Abs(sp.sqrt(2) * X**3 - sp.pi), [(math.pi / math.sqrt(2)) ** (1 / 3)]),
        (relu(X**4 + 1), []),
    ],
)
def test_kinks_at_zeros_of_polynomials(f: sp.Expr, places: list[float]) -> None:
    np.testing.assert_allclose(sorted(float(b) for b in breaks(f, X)), places, atol=1e-6)


def test_pairs_with_kinks_at_zeros_of_a_cubic() -> None:
    """Against Gauss–Legendre panels in both variables, which end at the kinks."""
    low = lower(couple(lambda x: sp.Max(-1, sp.Min(1, x**3)))[0])
    assert call(low, plain(low.sources), 1.0, 0.5, 1.0)[0] == pytest.approx(0.17917686770716498, rel=1e-12)


def test_kinks_where_nothing_tells_them_are_refused() -> None:
    for f in (relu(sp.sin(X)), relu(X**3 - sp.Symbol("a", real=True)), sp.Abs(X**40 - X - 1)):
        with pytest.raises(LimitError, match="not known in closed form"):
            breaks(f, X)
