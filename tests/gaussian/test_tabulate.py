"""Coefficient vectors by interpolation: against closed forms, 50-digit values, and the same vectors computed one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import sympy as sp
from gaussian.run import couple, plain

from tp.gaussian import hermite, tabulate
from tp.gaussian.numeric import lower
from tp.kernel.coefficients import columns

TANH = {
    0.37: {1: 0.47021878997459468942, 3: -0.073234094793990386626, 7: -0.0073407701274063650758, 21: 0.000048022890644125283582},
    0.9: {1: 0.59272894567597582995, 3: -0.13973467808582520536, 7: -0.027765827768748359073, 21: 0.00095878386961489265629},
    1.23456: {1: 0.63027272032332166908, 3: -0.16587584271534369608, 7: -0.039550639424030781259, 21: 0.0021255160368339247438},
    2.9: {1: 0.70870873351847412393, 3: -0.23081147334366497284, 7: -0.078911716365336239216, 21: 0.010390139615674286902},
}
"""E[tanh(√q z) h_k(z)] by the trapezoid rule with 50 digits."""


@dataclass
class Made:
    """A site made of a function from a row to a vector; how many rows it was asked for."""

    vector: Callable[[np.ndarray, int], np.ndarray]
    squares: Callable[[float, np.ndarray], tuple[float, float]] = hermite.squares
    asked: int = 0

    def site(self) -> tabulate.Site:
        return tabulate.Site(self.fill, self.add, lambda work, tasks: [work(t) for t in tasks])

    def fill(self, rows: np.ndarray, out: np.ndarray) -> None:
        self.asked += len(rows)
        for row, vector in zip(rows, out, strict=True):
            vector[:] = self.vector(row, len(vector))

    def add(self, rows: np.ndarray, vectors: np.ndarray, out: np.ndarray) -> None:
        for k, row in enumerate(rows):
            out[k] = self.squares(row[0], vectors[k])


def with_tails(vector: np.ndarray, q: float, value: float, slope: float) -> np.ndarray:
    a, b = hermite.squares(q, vector)
    vector[-2:] = math.sqrt(max(1 - a / value, 2e-16)), math.sqrt(max(1 - b / slope, 2e-16))
    return vector


def waves(row: np.ndarray, length: int) -> np.ndarray:
    """φ = p sin: a_k = ±p √q^k e^{−q/2}/√k! for odd k, E φ² = p² (1 − e^{−2q})/2, E φ'² = p² (1 + e^{−2q})/2."""
    q, p = row[0], row[1] if len(row) > 1 else 1.0
    out = np.zeros(length)
    for k in range(1, length - 2, 2):
        out[k] = p * (-1) ** (k // 2) * math.exp(0.5 * (k - 1) * math.log(q) - 0.5 * q - 0.5 * math.lgamma(k + 1))
    return with_tails(out, q, p * p * -math.expm1(-2 * q) / 2, p * p * (1 + math.exp(-2 * q)) / 2)


def test_interpolated_where_there_are_many() -> None:
    """Norms between tiny and large: few vectors are computed, the others are as good, tails included."""
    q = np.sort(np.random.default_rng(0).uniform(-9, 3, 3000))
    rows, made = np.exp(q)[:, None], Made(waves)
    found = tabulate.coefficients(made.site(), rows, 24, 1e-13)
    wanted = np.array([waves(row, 24) for row in rows])
    assert made.asked < 400  # in eighteen panels in which q doubles
    assert np.abs(found[:, :22] - wanted[:, :22]).max() < 1e-14
    assert np.abs(found[:, 22:] ** 2 - wanted[:, 22:] ** 2).max() < 5e-13
    assert (found[:, 22:] ** 2 >= wanted[:, 22:] ** 2 - 1e-14).all()  # a tail is a bound


def test_a_kink_is_no_obstacle() -> None:
    """φ = max(x − 1, 0): a_k = √(q/k(k−1)) h_{k−2}(t) γ(t), t = 1/√q, for k ≥ 2; of its step-like φ' the same."""

    def ramp(row: np.ndarray, length: int) -> np.ndarray:
        q, t = row[0], 1 / math.sqrt(row[0])
        density, beyond = math.exp(-t * t / 2) / math.sqrt(2 * math.pi), math.erfc(t / math.sqrt(2)) / 2
        before, now, out = 0.0, 1.0, np.zeros(length)
        out[0], out[1] = (density - t * beyond) / t, beyond
        for k in range(2, length - 2):
            out[k] = now * density / math.sqrt(k * (k - 1))
            before, now = now, (t * now - math.sqrt(k - 2) * before) / math.sqrt(k - 1)
        return with_tails(out, q, (1 + t * t) * beyond * q - t * density * q, beyond)

    rows, made = np.random.default_rng(1).uniform(0.3, 9.0, (500, 1)), Made(ramp)
    found = tabulate.coefficients(made.site(), rows, 66, 1e-13)
    assert made.asked <= 200
    assert np.abs(found[:, :64] - [ramp(row, 66)[:64] for row in rows]).max() < 1e-14


def test_tanh_to_fifty_digits() -> None:
    low = lower(*couple(sp.tanh))
    names = plain(low.sources)

    def tanh(row: np.ndarray, length: int) -> np.ndarray:
        vector = np.zeros(length)
        names[low.sites[0].function](row[0], vector)
        return vector

    assert low.sites[0].squares == "squares"
    made = Made(tanh, names["squares"])
    rows = np.array([*TANH, *np.linspace(0.3, 3.1, 116)])[:, None]
    found = tabulate.coefficients(made.site(), rows, 26, 1e-13)
    assert made.asked < 80
    for (q, wanted), vector in zip(TANH.items(), found, strict=False):
        for k, value in wanted.items():
            assert vector[k] * math.sqrt(q) == pytest.approx(value, abs=1e-14)


def test_what_is_not_interpolated() -> None:
    """No variance, no number, few variances, one variance many times, and functions that differ by sample."""
    few = np.array([[0.5], [1.0], [2.0], [0.0], [0.5], [np.nan], [2.0]])
    made = Made(lambda row, length: np.full(length, row[0]))
    found = tabulate.coefficients(made.site(), few, 5, 1e-13)
    assert made.asked == 5
    assert np.array_equal(found, np.repeat(few, 5, axis=1), equal_nan=True)

    rng = np.random.default_rng(2)
    rows = np.column_stack([rng.uniform(0.5, 3.0, 200), 1.0 + np.arange(200.0)])
    made = Made(waves)
    assert np.array_equal(tabulate.coefficients(made.site(), rows, 20, 1e-13), [waves(row, 20) for row in rows])
    assert made.asked == 200

    made, rows[:, 1] = Made(waves), 1 + np.arange(200) % 2
    found = tabulate.coefficients(made.site(), rows, 20, 1e-13)
    assert made.asked < 150
    assert np.abs(found[:, :18] - [waves(row, 20)[:18] for row in rows]).max() < 1e-14


def test_what_does_not_converge_is_computed() -> None:
    """A function of the variance with a bend in it, which no expectation is: seen, and not interpolated."""
    made = Made(lambda row, length: with_tails(np.full(length, abs(row[0] - 1.1)), row[0], 1e3, 1e3))
    rows = np.random.default_rng(3).uniform(0.8, 1.5, (400, 1))
    found = tabulate.coefficients(made.site(), rows, 6, 1e-13)
    assert np.array_equal(found[:, 0], np.abs(rows[:, 0] - 1.1))


def test_tails_of_a_jump() -> None:
    """φ = step: its coefficients do not depend on the variance, and neither does its only tail."""

    def step(row: np.ndarray, length: int) -> np.ndarray:
        out = np.zeros(length)
        out[0] = 0.5
        for m in range((length - 2) // 2):
            double = math.exp(math.lgamma(2 * m + 1) - m * math.log(2) - math.lgamma(m + 1) - 0.5 * math.lgamma(2 * m + 2))
            out[2 * m + 1] = (-1) ** m * double / math.sqrt(2 * math.pi)
        out[-2:] = math.sqrt(1 - 2 * float(out[:-2] @ out[:-2]))
        return out

    made = Made(step, hermite.squares_of_jump)
    found = tabulate.coefficients(made.site(), np.linspace(0.5, 0.9, 100)[:, None], 42, 1e-13)
    assert made.asked == 18
    assert np.abs(found - step(np.array([1.0]), 42)).max() < 1e-13


@pytest.mark.parametrize("top", [0.0, 1e-3, 0.1, 0.6, 0.999])
def test_sums_of_one_sample_with_many(top: float) -> None:
    """E sin u sin v = e^{−(q1+q2)/2} sinh c and E cos u cos v = e^{−(q1+q2)/2} cosh c, as far as the largest |ρ| needs terms."""
    q = np.linspace(0.4, 2.5, 40)
    rho = top * np.cos(np.arange(40))
    others = columns(np.array([waves(np.array([x]), 44) for x in q]), True)
    rows = np.zeros((3, 20))
    for at in (0, 20):
        rows[0] = rho[at : at + 20]
        assert hermite.mehler_rows(waves(np.array([1.3]), 44), others, at, rows, 0, 20) == 0
        some = slice(at, at + 20)
        size, c = np.exp(-(1.3 + q[some]) / 2), rho[some] * np.sqrt(1.3 * q[some])
        np.testing.assert_allclose(c * rows[1], size * np.sinh(c), rtol=1e-14, atol=1e-300)
        np.testing.assert_allclose(rows[2], size * np.cosh(c), rtol=1e-14)
