"""The easy forms against the robust ones, wherever they say that they are exact."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from tp.gaussian import primitives, waves
from tp.gaussian.easy import EASY, arcsine_turns, arcsine_turns_single

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


def test_polynomials():
    z = np.linspace(1e-6, 0.5, 2000)
    turns = np.arcsin(np.sqrt(z)) / np.sqrt(z) / (2 * np.pi)
    np.testing.assert_allclose(arcsine_turns(z), turns, rtol=2e-15)
    np.testing.assert_allclose(arcsine_turns_single(z), turns, rtol=1e-7)
