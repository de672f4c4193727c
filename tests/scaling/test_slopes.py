"""Exponents from noisy sizes with corrections: the stated errors are right, and verdicts are what they say."""

from fractions import Fraction as F

import numpy as np
import pytest

from tp.readings.slopes import (
    CONFIRMED,
    CONTRADICTED,
    PRESENT,
    UNDECIDED,
    Slope,
    relative_variances,
    shared,
    shared_slope,
    slope,
)

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


# ---------------------------------------------------------------- what all seeds share


def values(exponent, kappa, generator, widths=(128, 256, 512, 1024), counts=(24, 16, 12, 8), entries=6, noise=20.0):
    """Entries μ_j n^e (1 + κ/n)^(1/2) + noise·n^(-1/2): fluctuations are larger than what is shared at all widths."""
    mean = np.linspace(0.5, 1.5, entries)
    size = [n**exponent * np.sqrt(1 + kappa / n) for n in widths]
    return [
        s * mean + noise * n**-0.5 * generator.standard_normal((c, entries)) for n, c, s in zip(widths, counts, size, strict=True)
    ]


def test_products_of_different_seeds_have_the_square_of_the_mean():
    generator = np.random.default_rng(0)
    found = [shared(generator.standard_normal((6, 3)) * 5 + [1.0, 2.0, -1.0]) for _ in range(4000)]
    m2, errors = np.array(found).T
    assert m2.mean() == pytest.approx(2.0, abs=4 * m2.std() / np.sqrt(4000))  # the plain mean square is 27
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(m2.std(), rel=0.35)


@pytest.mark.parametrize(("exponent", "kappa"), [(0.0, 0), (0.0, 30), (-0.25, 0)])
def test_the_slope_of_what_is_shared(exponent, kappa):
    generator = np.random.default_rng(1)
    widths = (128, 256, 512, 1024)
    found = [shared_slope(widths, values(exponent, kappa, generator, noise=4.0)) for _ in range(60)]
    off = np.array([(s.exponent - exponent) / s.error for s in found])
    assert np.mean(np.abs(off) < 2) > 0.85 and np.max(np.abs(off)) < 5
    assert np.median([s.error for s in found]) < 0.1
    whole = slope(widths, [np.mean(v**2, axis=1) for v in values(0.0, 0, generator)])
    assert whole.verdict(0) == CONTRADICTED  # a part of size n^0 that the mean square hides


def test_nothing_is_claimed_of_what_is_lost_in_noise():
    generator = np.random.default_rng(2)
    found = shared_slope((128, 256, 512, 1024), values(-2, 0, generator))
    assert found.error == np.inf and found.verdict(0) == UNDECIDED and found.signal < PRESENT
    assert (
        shared_slope((128, 256, 512), values(0, 0, generator, widths=(128, 256, 512), counts=(24, 16, 2))) is None
    )  # two widths tell too little


@pytest.mark.parametrize("counts", [(16, 16, 4, 4), (6, 8, 4, 4), (48, 4, 5, 4)])
def test_of_few_sets_that_share_nothing_none_contradicts(counts):
    """One number at all inputs, a product of two Gaussians, in few sets: by chance these often seem to share something."""
    generator = np.random.default_rng(3)
    widths = (128, 256, 512, 1024)
    for _ in range(12):
        one = [np.prod(generator.standard_normal((2, c)), axis=0) * n**-0.5 for n, c in zip(widths, counts, strict=True)]
        found = shared_slope(widths, [np.tile(x[:, None], 3) for x in one])
        assert found.verdict(0) == UNDECIDED


def test_where_signs_are_taken_of_gradients_what_is_shared_may_still_grow():
    """E sign(a + b n^(-1/2)), measured of Adam on attention logits (in units of the widest), tends to n^0."""
    generator = np.random.default_rng(4)
    widths, sizes = (128, 256, 512, 1024), (0.61, 0.73, 0.86, 1.0)
    sets = [s + 0.01 * generator.standard_normal((8, 6)) for s in sizes]
    assert shared_slope(widths, sets).verdict(0) == CONTRADICTED
    assert shared_slope(widths, sets, smooth=False).verdict(0) == UNDECIDED
    assert shared_slope(widths, [n**0.75 * s for n, s in zip(widths, sets, strict=True)], smooth=False).verdict(0) == CONTRADICTED


def test_means_count_as_known_no_better_than_to_the_next_correction():
    """(1 + 2/m)² has a second order; with 10⁶ seeds the first alone would not fit, and the slope would be sure and wrong."""
    narrow = (11, 16, 23, 32, 45)
    squares = [np.full(2, (1 + 2 / m) ** 2) * [0.9999, 1.0001] for m in narrow]
    found = slope((128, 256, 512, 1024, 2048), squares, narrow)
    assert abs(found.exponent) < 2 * found.error and found.error > 0.02
