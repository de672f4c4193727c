"""Primitives against 50-digit evaluations of the textbook formulas, where float64 formulas lose digits first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import mpmath as mp
import pytest
from gaussian.run import compiled, plain

from tp.gaussian import elu, powers, primitives, ramps, waves
from tp.gaussian.codegen import sources_of

VARIANCES = [(1.0, 1.0), (0.7, 2.3), (1e-12, 1e-12), (1e-12, 1e8), (1e8, 1e8), (3.3e7, 0.02)]
CORRELATIONS = [0.0, 1e-9, 0.3, 0.9, -0.9, -0.7072, -0.707, 1 - 1e-8, -(1 - 1e-8), 1 - 1e-12, -(1 - 1e-12)]
Exact = tuple[Any, Any, Any, Any]


POINTS = [(a, rho * math.sqrt(a) * math.sqrt(b), b) for a, b in VARIANCES for rho in CORRELATIONS]
POINTS += [(q, s * q, q) for q in (1.0, 0.3, 1e8) for s in (1, -1)]
"""Covariances (q1, c, q2) as doubles."""


@pytest.fixture(autouse=True)
def digits() -> Iterator[None]:
    with mp.workdps(50):
        yield


def exact(q1: float, c: float, q2: float) -> Exact:
    a, b, d = mp.mpf(q1), mp.mpf(c), mp.mpf(q2)
    return a, b, d, a * d - b * b


def assert_close(found: float, wanted: Any, rtol: float, where: object) -> None:
    assert abs(mp.mpf(found) - wanted) <= rtol * abs(wanted), (where, found, mp.nstr(wanted, 20))


def gates(q1: float, c: float, q2: float, e1: float, e2: float) -> tuple[Any, Any, Any, Any]:
    """2π times E[uΦ vΦ], its c-derivative, E[ΦΦ]; and δ."""
    a, b, d, det = exact(q1, c, q2)
    delta2 = det + e1 * d + e2 * a + mp.mpf(e1) * e2
    delta = mp.sqrt(delta2)
    psi = mp.atan2(delta, -b)
    if delta == 0:
        return b * psi, psi, psi, delta
    f = (e1 / (a + e1) if e1 else 0) + (e2 / (d + e2) if e2 else 0)
    return b * psi + (det + b * b * f) / delta, psi + b / delta * (f + mp.mpf(e1) * e2 / delta2), psi, delta


def test_relu_everywhere() -> None:
    for point in POINTS:
        v, vdot, _, _ = gates(*point, 0, 0)
        found = primitives.relu_pair(*point)
        assert_close(found[0], v / (2 * mp.pi), 1e-15, point)
        assert_close(found[1], vdot / (2 * mp.pi), 1e-15, point)
        assert primitives.relu_relu(*point) == found[0]
        assert primitives.step_step(*point) == found[1]


@pytest.mark.parametrize("e", [1.0, 0.5])
def test_gelu_erf_and_cdf_everywhere(e: float) -> None:
    for point in POINTS:
        v, vdot, psi, delta = gates(*point, e, e)
        found = primitives.gelu_pair(*point, e, e)
        assert_close(found[0], v / (2 * mp.pi), 3e-15, point)
        assert_close(found[1], vdot / (2 * mp.pi), 3e-15, point)
        arcsine = primitives.erf_pair(*point, e, e)
        assert_close(arcsine[0], 2 / mp.pi * mp.atan2(mp.mpf(point[1]), delta), 1e-15, point)
        assert_close(arcsine[1], 2 / mp.pi / delta, 1e-15, point)
        assert_close(primitives.cdf_cdf(*point, e, e), psi / (2 * mp.pi), 1e-15, point)


@pytest.mark.parametrize("q1, q2", [(1e-200, 1e-180), (1e200, 1e190), (1e-300, 1e300)])
@pytest.mark.parametrize("rho", [0.3, -0.9, -0.999999])
def test_relu_of_extreme_variances(q1: float, q2: float, rho: float) -> None:
    point = (q1, rho * math.sqrt(q1) * math.sqrt(q2), q2)
    v, vdot, _, _ = gates(*point, 0, 0)
    found = primitives.relu_pair(*point)
    assert_close(found[0], v / (2 * mp.pi), 1e-15, point)
    assert_close(found[1], vdot / (2 * mp.pi), 1e-15, point)


def test_slopes_and_levels() -> None:
    for point in POINTS:
        b, det = mp.mpf(point[1]), exact(*point)[3]
        psi = mp.atan2(mp.sqrt(det), -b)
        relu = (mp.sqrt(det) + b * psi) / (2 * mp.pi)
        for left, right in ((0.25, 1.0), (-1.0, 1.0), (0.0, 1.0)):
            found = primitives.slopes_pair(*point, left, right, left, right)
            assert_close(found[0], left * right * b + (right - left) ** 2 * relu, 2e-15, (point, left))
            level = left * right + (right - left) ** 2 * psi / (2 * mp.pi)
            assert_close(found[1], level, 2e-15, (point, left))


def test_zero_variance() -> None:
    """A relu's slope at 0 is 0, an absolute value's too, a leaky relu's the left one."""
    assert primitives.relu_pair(0.0, 0.0, 1.0) == (0.0, 0.0)
    assert primitives.relu_pair(0.0, 0.0, 0.0) == (0.0, 0.0)
    assert primitives.levels(0.0, 0.0, 1.0, -1.0, 1.0, -1.0, 1.0) == 0.0
    assert primitives.levels(0.0, 0.0, 1.0, 0.5, 1.0, 0.5, 1.0) == pytest.approx(0.5 * 0.75)
    assert primitives.gelu_pair(0.0, 0.0, 1.0, 1.0, 1.0) == pytest.approx((0.0, 0.25))
    assert primitives.erf_pair(0.0, 0.0, 2.0, 0.5, 0.5)[0] == 0.0
    assert primitives.gelu_cdf(0.0, 0.0, 2.0, 0.0, 0.0) == 0.0
    assert math.isnan(primitives.relu_pair(math.nan, 0.0, 1.0)[0])


@pytest.mark.parametrize("m, n", [(1, 0), (2, 2), (3, 3), (1, 3), (0, 2), (5, 6)])
def test_rectified_powers(m: int, n: int) -> None:
    """E[u₊^m v₊^n] in polar coordinates, scaled to the unit interval."""
    for point in POINTS[::4]:
        a, b, d, det = exact(*point)
        psi = mp.atan2(mp.sqrt(det), -b)
        unit = mp.quad(lambda x, p=psi: mp.sin(p * x) ** m * mp.sin(p * (1 - x)) ** n / p ** (m + n), [0, 1])
        integral = unit * psi ** (m + n + 1)
        radial = mp.mpf(2) ** (mp.mpf(m + n) / 2) * mp.gamma(1 + mp.mpf(m + n) / 2)
        assert_close(
            powers.rectified(*point, m, n), integral * radial / (2 * mp.pi) * mp.sqrt(a) ** m * mp.sqrt(d) ** n, 3e-15, point
        )
        if (m, n) == (1, 0):
            assert_close(primitives.gelu_cdf(*point, 0.0, 0.0), integral * radial / (2 * mp.pi) * mp.sqrt(a), 2e-15, point)


@pytest.mark.parametrize("a1, b1, a2, b2", [(1.0, 0.0, 1.0, 0.0), (1.5, 0.4, 1.5, 0.4), (0.7, 0.1, -1.4, 0.3)])
def test_sines(a1: float, b1: float, a2: float, b2: float) -> None:
    for point in POINTS:
        q1, c, q2, _ = exact(*point)
        a1, b1, a2, b2 = (mp.mpf(x) for x in (a1, b1, a2, b2))
        minus, plus = (mp.exp(-(a1 * a1 * q1 + a2 * a2 * q2 + s * 2 * a1 * a2 * c) / 2) for s in (-1, 1))
        if max(minus, plus) < mp.mpf(10) ** -280:
            continue
        found = waves.sine_pair(*point, *(float(x) for x in (a1, b1, a2, b2)))
        assert_close(found[0], (minus * mp.cos(b1 - b2) - plus * mp.cos(b1 + b2)) / 2, 3e-15 + 1e-16 * float(q1 + q2), point)
        assert_close(
            found[1], a1 * a2 * (minus * mp.cos(b1 - b2) + plus * mp.cos(b1 + b2)) / 2, 3e-15 + 1e-16 * float(q1 + q2), point
        )


def test_gaussians_and_monomials() -> None:
    for point in POINTS:
        q1, c, q2, det = exact(*point)
        m = 1 + 2 * (mp.mpf(0.3) * q1 + mp.mpf(0.3) * q2) + 4 * mp.mpf(0.3) ** 2 * det
        found = waves.gaussian_pair(*point, 0.3, 0.3)
        assert_close(found[0], m**-0.5, 2e-15, point)
        assert_close(found[1], 4 * mp.mpf(0.3) ** 2 * c * m**-1.5, 2e-15, point)
        assert_close(powers.monomials(*point, 2, 2), q1 * q2 + 2 * c * c, 1e-15, point)
        assert_close(powers.monomials(*point, 3, 1), 3 * c * q1, 1e-15, point)
        assert_close(powers.monomials(*point, 4, 4), 9 * q1**2 * q2**2 + 72 * q1 * q2 * c**2 + 24 * c**4, 2e-15, point)
        assert powers.monomials(*point, 3, 2) == 0.0


def test_monomial_times_gate() -> None:
    """E[u^m v^n Φ_e(v)] against one-dimensional quadrature over v."""
    for point in ((0.7, -0.9, 2.3),):
        _, c, q2, det = exact(*point)
        for m, n, e in ((1, 0, 1.0), (1, 1, 0.0), (3, 2, 0.5)):

            def density(z: Any, m: int = m, n: int = n, e: float = e, c: Any = c, q2: Any = q2, det: Any = det) -> Any:
                z2 = mp.sqrt(q2) * z
                moment = sum(
                    mp.binomial(m, j) * (c / q2 * z2) ** (m - j) * (det / q2) ** (j // 2) * mp.fac2(j - 1)
                    for j in range(0, m + 1, 2)
                )
                gate = mp.ncdf(z2 / mp.sqrt(e)) if e else (z2 > 0) * mp.mpf(1)
                return moment * z2**n * gate * mp.npdf(z)

            with mp.workdps(18):
                wanted = mp.quad(density, [-10, -3, 0, 3, 10])
            assert_close(primitives.monomial_cdf(*point, m, n, e), wanted, 1e-13, (point, m, n, e))


def test_mills_ratio_and_its_gaps() -> None:
    for k in (0.0, 1e-9, 0.1, 0.5, 1.0, 2.9, 3.0, 3.1, 5.0, 10.0, 30.0):
        m = mp.sqrt(mp.pi / 2) * mp.exp(mp.mpf(k) ** 2 / 2) * mp.erfc(mp.mpf(k) / mp.sqrt(2))
        assert_close(elu.mills(k)[0], m, 1e-15, k)
        assert_close(elu.mills(k)[1], 1 - k * m, 1e-14, k)
        assert_close(elu.mills_gap(k), mp.sqrt(mp.pi / 2) - m, 1e-15, k)


def test_elu_reduces_to_relu_and_linear() -> None:
    """α = 0 is relu; at tiny variances elu with α = 1 is the identity."""
    for point in ((0.7, -0.9, 2.3), (1e-6, 9e-7, 1e-6), (100.0, -99.0, 100.0)):
        assert elu.elu_pair(*point, 0.0, 0.0) == pytest.approx(primitives.relu_pair(*point), rel=1e-14)
    value, slope = elu.elu_pair(1e-20, 0.5e-20, 1e-20, 1.0, 1.0)
    assert value == pytest.approx(0.5e-20, rel=1e-9)
    assert slope == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(("q1", "rho", "q2"), [(1e-12, -(1 - 1e-8), 1e8), (3.3e7, 1 - 1e-8, 0.02)])
def test_elu_at_hard_points(q1: float, rho: float, q2: float) -> None:
    """Against quadrature over u of what is closed given u."""
    c = rho * math.sqrt(q1) * math.sqrt(q2)
    a, b, _, det = exact(q1, c, q2)
    r, slope, s = mp.sqrt(a), b / a, mp.sqrt(det / a)

    def inner(m: Any) -> tuple[Any, Any]:
        below = mp.exp(m + s * s / 2) * mp.ncdf(-(m + s * s) / s)
        return m * mp.ncdf(m / s) + s * mp.npdf(m / s) + below - mp.ncdf(-m / s), mp.ncdf(m / s) + below

    def mean(f: Callable[[Any], Any], k: int) -> Any:
        width = min(s / abs(slope), r)
        ends = [x for x in (0, width, 5 * width, 12 * width, r, 4 * r, 1, 10, 60) if x <= 4 * r]
        knots = sorted({-12 * r, 12 * r, *ends, *(-x for x in ends)})
        with mp.workdps(18):
            return mp.quad(lambda u: f(u) * inner(slope * u)[k] * mp.npdf(u / r) / r, knots)

    value, dot = elu.elu_pair(q1, c, q2, 1.0, 1.0)
    assert_close(value, mean(lambda u: u if u > 0 else mp.expm1(u), 0), 1e-13, rho)
    assert_close(dot, mean(lambda u: mp.mpf(1) if u > 0 else mp.exp(u), 1), 1e-13, rho)


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.9, 0.999, -0.999, 1 - 1e-10])
def test_ramps(rho: float) -> None:
    """Ramps against E[max(u + t1, 0) E[max(v + t2, 0) | u]], the inner mean in closed form."""
    q1, q2, t1, t2 = 1.3, 0.6, 0.4, -0.3
    c = rho * math.sqrt(q1 * q2)
    s = mp.sqrt(exact(q1, c, q2)[3] / q1)

    def inner(u: Any) -> Any:
        m = mp.mpf(c) / q1 * u + t2
        return (m * mp.ncdf(m / s) + s * mp.npdf(m / s)) if s else max(m, 0)

    edge = -mp.mpf(t1)
    turn = -t2 * mp.mpf(q1) / c if c else edge
    knots = sorted({edge, mp.mpf(9) * mp.sqrt(q1), *(turn + k * s * 3 for k in (-3, -1, 0, 1, 3) if turn + k * s * 3 > edge)})
    with mp.workdps(25):
        wanted = mp.quad(lambda u: (u + t1) * inner(u) * mp.npdf(u / mp.sqrt(q1)) / mp.sqrt(q1), knots)
        slope = mp.quad(lambda u: (mp.ncdf((mp.mpf(c) / q1 * u + t2) / s)) * mp.npdf(u / mp.sqrt(q1)) / mp.sqrt(q1), knots)
    found = ramps.ramp_pair(q1, c, q2, t1, t2)
    assert found[0] == pytest.approx(float(wanted), abs=3e-16)
    assert found[1] == pytest.approx(float(slope), abs=3e-16)


COMPILED: list[tuple[Callable[..., Any], tuple[float, ...]]] = [
    (primitives.relu_pair, ()),
    (primitives.gelu_pair, (1.0, 0.5)),
    (primitives.slopes_pair, (0.25, 1.0, -1.0, 1.0)),
    (waves.sine_pair, (0.7, 0.1, -1.4, 0.3)),
    (ramps.ramp_pair, (0.5, -0.25)),
    (elu.elu_pair, (1.0, 0.5)),
]


@pytest.mark.parametrize("function, extra", COMPILED)
def test_compiled_equals_interpreted(function: Callable[..., Any], extra: tuple[float, ...]) -> None:
    sources = sources_of(function)
    fast, slow = compiled(sources)[function.__name__], plain(sources)[function.__name__]
    for point in (
        (0.7, -0.9, 2.3),
        (1.0, 1.0 - 1e-8, 1.0),
        (1e-12, -1e-12, 1e-12),
        (1e8, 5e7, 3e7),
        (0.0, 0.0, 1.0),
        (2.0, 2.0, 2.0),
    ):
        assert fast(*point, *extra) == pytest.approx(slow(*point, *extra), rel=1e-14, abs=1e-300), point
        assert slow(*point, *extra) == function(*point, *extra)
