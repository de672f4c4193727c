"""The easy forms against the robust ones, wherever they say that they are exact."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from tp.gaussian import primitives, waves
from tp.gaussian.arcs import arcsine, arcsine_turns, arcsine_turns_apart, arcsine_turns_near, arcsine_turns_single, follow
from tp.gaussian.easy import EASY, NEAR

PARAMETERS = {"slopes": (0.2, 1.0, -0.7, 1.0), "levels": (0.2, 1.0, -0.7, 1.0), "gaussian": (0.7, 1.3)}
RELATIVE = {"gelu_pair": 1e-13, "gelu_gelu": 1e-13, "gelu_slope": 1e-13}  # of the whole size: these change sign


def _points(count: int):
    """Variances over four decades, correlations down to 1e-12 from ±1, and 0."""
    rng = random.Random(1)
    for _ in range(count):
        q1, q2 = 10 ** rng.uniform(-2, 2), 10 ** rng.uniform(-2, 2)
        near = 1 - 10 ** rng.uniform(-12, 0)
        yield q1, rng.choice((-1, 0.01, 1)) * near * math.sqrt(q1 * q2), q2


@pytest.mark.parametrize("name", EASY)
def test_what_says_it_is_exact_is(name):
    form, pick, mark = EASY[name]
    known = getattr(primitives, name, None) or getattr(waves, name)
    params = next((v for k, v in PARAMETERS.items() if name.startswith(k)), (0.5, 0.8) if mark == "e" else ())
    e1, e2 = {"0": (0.0, 0.0), "e": params[:2], "a": tuple(0.5 / a for a in params[:2])}[mark]
    exact = 0
    for q1, c, q2 in _points(600):
        found = form(q1**0.5, (q1 + e1) ** -0.5, c, q2**0.5, (q2 + e2) ** -0.5, *params)
        if not found[2] > 0:
            continue
        exact += 1
        wanted = known(q1, c, q2, *params)
        sizes = known(q1, q1, q1, *params[:1] * 2, *params[2:3] * 2), known(q2, q2, q2, *params[1:2] * 2, *params[3:4] * 2)
        for k, value in enumerate(wanted if pick == "" else (wanted,)):
            ours = found[k] if pick == "" else found[int(pick[1])]
            if name in RELATIVE or name in ("slopes_pair", "slopes", "levels"):
                size = math.sqrt(abs((sizes[0][k] * sizes[1][k]) if pick == "" else sizes[0] * sizes[1])) or 1.0
                assert abs(ours - value) <= 1e-13 * max(size, abs(value)), (q1, c, q2)
            else:
                assert ours == pytest.approx(value, rel=1e-13, abs=0), (q1, c, q2)
    assert exact > 150


def test_what_would_lose_digits_is_not_easy():
    form = EASY["relu_pair"][0]
    for gap in (1e-7, 1e-9, 1e-12, 0.0):
        for c in (1.0 - gap, -1.0 + gap):
            assert not form(1.0, 1.0, c, 1.0, 1.0)[2] > 0


def test_no_variance():
    """1/√0 comes as 0; of functions with a value at the kink the robust form decides."""
    assert EASY["relu_pair"][0](0.0, 0.0, 0.0, 1.3, 1 / 1.3)[:2] == primitives.relu_pair(0.0, 0.0, 1.69) == (0.0, 0.0)
    assert EASY["relu_pair"][0](0.0, 0.0, 0.0, 0.0, 0.0)[2] > 0
    assert not EASY["slopes_pair"][0](0.0, 0.0, 0.0, 1.3, 1 / 1.3, 0.2, 1.0, -0.7, 1.0)[2] > 0


def _after(*correlations: float) -> list[float]:
    """The state of the angle that is followed after rows of lanes with these correlations."""
    state = [0.0] * 8
    for x in correlations:
        follow(state, x)
    return state


@pytest.mark.parametrize("form", NEAR)
def test_near_an_angle_what_says_it_is_exact_is(form):
    params = {"slopes_easy": (0.2, 1.0, -0.7, 1.0), "relu_easy": ()}[form.__name__]
    rng, exact = random.Random(2), 0
    for middle in (-1.0, -0.5, -0.2, 0.0, 0.1, 0.3, 0.7, 0.9, 1.0):
        angle = _after(middle, middle)[:3]
        for _ in range(100):
            q1, q2 = 10 ** rng.uniform(-1, 1), 10 ** rng.uniform(-1, 1)
            w1, w2 = q1**-0.5, q2**-0.5
            x = rng.choice((rng.uniform(-1, 1), 1 - 10 ** rng.uniform(-9, 0), 10 ** rng.uniform(-9, 0)))
            given = (q1**0.5, w1, x / (w1 * w2), q2**0.5, w2)
            found = NEAR[form](*given, *angle, *params)
            if found[2] > 0:
                exact += 1
                wanted = form(*given, *params)
                assert wanted[2] > 0 and abs(math.asin(x) - math.asin(angle[0])) < 0.281
                assert found[:2] == pytest.approx(wanted[:2], rel=1e-13, abs=2e-16 * (given[0] * given[3] + 1))
    assert exact > 100


def test_no_variance_is_near_nothing():
    """A lane without variance has correlation 0, but not the values of that correlation."""
    for form in (NEAR[EASY["relu_pair"][0]], NEAR[EASY["slopes_pair"][0]]):
        params = (0.2, 1.0, -0.7, 1.0) if form is NEAR[EASY["slopes_pair"][0]] else ()
        assert form(1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, *params)[2] > 0
        assert not form(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, *params)[2] > 0


def test_an_angle_is_followed_where_rows_are_near_it():
    state = _after(0.5, 0.7)
    assert state[:3] == pytest.approx([0.6, 0.8, math.asin(0.6) / (2 * math.pi)])
    tries = 0
    for _ in range(2000):  # a row of which some lane is always elsewhere
        tries += state[1] > 0
        follow(state, 0.6)
    assert tries < 50
    assert _after(0.5, math.nan)[0] == _after(0.5, 2.0)[0] == 0.5  # no correlations
    served = _after(0.5, 0.7)
    served[3] = 9.0
    follow(served, 0.6)
    assert served[1] > 0  # an exception among many


def test_arcs():
    x = np.concatenate([np.linspace(-1, 1, 4001), [1e-9, -1e-300, 0.5, np.nextafter(0.5, 1)]])
    found = [arcsine(a, math.sqrt(1 - a * a), 1 - a * a) for a in x]
    np.testing.assert_allclose(found, np.arcsin(x) / (2 * np.pi), rtol=2e-15)


def test_polynomials():
    for most, polynomial, error in (
        (0.5, arcsine_turns, 2e-15), (0.5, arcsine_turns_apart, 2e-15),
        (0.0764, arcsine_turns_near, 2e-15), (0.5, arcsine_turns_single, 1e-7),
    ):  # fmt: skip
        z = np.linspace(1e-6, most, 1000)
        np.testing.assert_allclose(polynomial(z), np.arcsin(np.sqrt(z)) / np.sqrt(z) / (2 * np.pi), rtol=error)
