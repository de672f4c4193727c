"""Mehler's expansion: coefficients, its certificate, and agreement with quadrature that shares no code path with it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp
from gaussian.run import call, couple, plain, q1, u, v

from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import softplus
from tp.gaussian.lowered import Lowered
from tp.gaussian.numeric import lower
from tp.gaussian.quadrature import integrate

ENTRIES = json.loads((Path(__file__).parent / "data" / "duals.json").read_text("utf-8"))["entries"]


def filled(low: Lowered, names: dict[str, Any], variances: tuple[float, float], length: int) -> list[np.ndarray]:
    vectors = []
    for site, q in zip(low.sites, variances, strict=True):
        vectors.append(np.zeros(length))
        names[site.function](q, vectors[-1])
    return vectors


def expanded(low: Lowered, names: dict[str, Any], variances: tuple[float, float]) -> list[np.ndarray]:
    return filled(low, names, variances, max(names[low.sites[0].count](q, 1e-13) for q in variances))


def by_sites(low: Lowered, names: dict[str, Any], point: tuple[float, float, float]) -> tuple[float, ...]:
    return names[low.with_sites](*expanded(low, names, (point[0], point[2])), *point)


def test_coefficients_of_tanh() -> None:
    """Values computed elsewhere, k = 0..7 at variance 1."""
    wanted = [0, 0.605705509602172, 0, -0.148437190787276, 0, 0.062547523752705, 0, -0.0314454192876793]
    low = lower(*couple(sp.tanh))
    (a, _) = filled(low, plain(low.sources), (1.0, 1.0), 10)
    assert a[:8] == pytest.approx(wanted, abs=2e-14)


@pytest.mark.parametrize("entry", [pytest.param(e, id=e["id"]) for e in ENTRIES if e["section"] == "B" and e["kind"] == "dual"])
def test_reference_values(entry: dict[str, Any]) -> None:
    from gaussian.activations import activation

    low = lower(*couple(lambda x: activation(entry["activation"], entry["params"], x)))
    assert low.method == "mehler" and 0 < low.bound <= 1e-11
    names, point = plain(low.sources), (entry["q1"], entry["c"], entry["q2"])
    wanted = (float(entry["V"]), float(entry["Vdot"]))
    assert by_sites(low, names, point) == pytest.approx(wanted, rel=1e-12)
    assert call(low, names, *point) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("f", [sp.tanh, lambda x: softplus(3 * x) - x**2 * sp.exp(-(x**2))], ids=["tanh", "made up"])
def test_sites_agree_with_quadrature_everywhere(f: Any) -> None:
    """Small and large variances, both ends of the correlation; the length from ``count`` keeps its promise."""
    low = lower(*couple(f))
    names = plain(low.sources)
    for a, b in ((1.0, 1.0), (1e-10, 1e-10), (1e-8, 2.0), (20.0, 0.3)):
        vectors = expanded(low, names, (a, b))
        scale = [math.sqrt(x * y) for x, y in zip(call(low, names, a, a, a), call(low, names, b, b, b), strict=True)]
        for rho in (0.0, 0.4, -0.95, 1 - 1e-9, -1 + 1e-12):
            point = (a, rho * math.sqrt(a * b), b)
            found, wanted = names[low.with_sites](*vectors, *point), call(low, names, *point)
            for x, y, s in zip(found, wanted, scale, strict=True):
                assert abs(x - y) <= 5e-12 * s, (point, found, wanted)


def test_relative_accuracy_at_small_variance() -> None:
    """V̇ comes from φ' itself: nothing is divided by a small q."""
    low = lower(*couple(softplus))
    q = 1e-12
    value, slope = by_sites(low, plain(low.sources), (q, 0.5 * q, q))
    assert value == pytest.approx(math.log(2) ** 2 + math.log(2) * q / 4 + q / 8, rel=1e-15)
    assert slope == pytest.approx(0.25, rel=1e-12)


def test_tails_bound_the_error() -> None:
    """The stated tail, with half the coefficients it takes, against the true error at ρ = 1."""
    low = lower(*couple(sp.tanh))
    names = plain(low.sources)
    q, length = 1.0, 34
    (a, _) = filled(low, names, (q, q), length)
    value, second = np.sum(a[1 : length - 2] ** 2) * q + a[0] ** 2, float(sp.N(integrate_square()))
    assert 0 <= 1 - value / second <= a[length - 2] ** 2 + 1e-13  # at ρ = 1 the tail is the error, and both are rounded


def integrate_square() -> float:
    value, _ = integrate(Expectation(sp.tanh(u) ** 2, (u,), [[q1]]), {q1: 1})
    return float(value)


def test_kinks_go_to_quadrature_when_the_tail_is_long() -> None:
    """max(0, x)·eˣ-like functions have no closed form here: near ρ = 1 the sites fall back and stay exact."""
    f = lambda x: sp.Max(x, 0) * sp.exp(-x / 2)  # noqa: E731
    low = lower(*couple(f))
    assert low.method == "mehler"
    names = plain(low.sources)
    vectors = expanded(low, names, (1.0, 1.0))
    for rho in (0.3, -0.5, 0.99, -0.9999, 1 - 1e-12):
        point = (1.0, rho, 1.0)
        assert names[low.with_sites](*vectors, *point) == pytest.approx(call(low, names, *point), rel=1e-11, abs=1e-14)
    value, _ = integrate(Expectation(f(u) * f(v), (u, v), [[1, sp.Rational(1, 3)], [sp.Rational(1, 3), 1]]), {})
    assert names[low.with_sites](*vectors, 1.0, 1 / 3, 1.0)[0] == pytest.approx(float(value), rel=1e-11)
