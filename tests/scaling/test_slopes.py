"""Exponents from noisy sizes with corrections: the stated errors are right, and verdicts are what they say."""

from fractions import Fraction as F

import numpy as np
import pytest

from tp.readings.slopes import CONFIRMED, CONTRADICTED, UNDECIDED, Slope, relative_variances, slope

WIDTHS = (128, 256, 512, 1024, 2048, 4096)
COUNTS = (32, 32, 32, 16, 8, 4)


def drawn(exponent, kappa, degrees, generator, widths=WIDTHS, counts=COUNTS):
    """Mean squares n^(2e) (1 + κ/n) times χ²/degrees, as many as there are seeds."""
    chi = [generator.chisquare(degrees, count) / degrees for count in counts]
    return [n ** (2 * exponent) * (1 + kappa / n) * x for n, x in zip(widths, chi, strict=True)]


@pytest.mark.parametrize("exponent", [0.0, -0.5, 1.0])
@pytest.mark.parametrize(("kappa", "degrees"), [(0, 20), (5, 50), (40, 200), (-20, 200), (1000, 500)])
def test_errors_cover_noise_and_corrections(exponent, kappa, degrees):
    generator = np.random.default_rng(0)
    found = [slope(WIDTHS, drawn(exponent, kappa, degrees, generator)) for _ in range(60)]
    off = np.array([(s.exponent - exponent) / s.error for s in found])
    assert np.mean(np.abs(off) < 2) > 0.8 and np.max(np.abs(off)) < 5
    assert np.median([s.error for s in found]) < 0.08


def test_a_plain_fit_would_be_fooled():
    """κ = 1000: the plain slope is off by 0.28, ours is not."""
    squares = [np.full(4, n ** (-1.0) * (1 + 1000 / n)) * [0.99, 1, 1, 1.01] for n in WIDTHS]
    plain = np.polyfit(np.log(WIDTHS), np.log([x.mean() for x in squares]) / 2, 1)[0]
    assert plain < -0.75
    assert slope(WIDTHS, squares).exponent == pytest.approx(-0.5, abs=0.03)


def test_corrections_count_in_the_narrowest_width():
    narrow = [int(n**0.5) for n in WIDTHS]
    squares = [np.full(4, 1 + 6 / m) * [0.99, 1, 1, 1.01] for m in narrow]
    right, wrong = slope(WIDTHS, squares, narrow), slope(WIDTHS, squares)
    assert abs(right.exponent) < abs(wrong.exponent) and abs(right.exponent) < 2 * right.error


def test_variances_of_few_seeds_are_pooled_with_narrower_widths():
    generator = np.random.default_rng(1)
    squares = drawn(0, 0, 10, generator)
    squares[-1] = np.array([1.0, 1.0, 1.0, 1.0])  # by luck
    assert relative_variances(squares)[-1] > 0.02
    assert relative_variances([np.ones(1), np.ones(1)]).tolist() == [1, 1]  # one seed tells nothing of its noise


@pytest.mark.parametrize(
    ("found", "error", "verdict"),
    [
        (0.02, 0.03, CONFIRMED),
        (-0.09, 0.04, CONFIRMED),
        (0.02, 0.06, UNDECIDED),
        (0.18, 0.05, UNDECIDED),
        (0.25, 0.05, CONTRADICTED),
        (-0.5, 0.1, CONTRADICTED),
    ],
)
def test_three_verdicts(found, error, verdict):
    assert Slope(found, error).verdict(F(0)) == verdict
    assert Slope(found - 0.5, error).verdict(F(-1, 2)) == verdict
