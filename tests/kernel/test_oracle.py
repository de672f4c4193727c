"""The oracle's integrator where kinks are away from 0, against closed forms that were compared with fifty digits."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import tp
from tp.gaussian import ramps
from tp.gaussian.functions import relu, step
from tp.kernel.quadrature import expect
from tp.kernel.reference import reference

u, v, t = sp.symbols("u v t", real=True)
COVARIANCES = np.array(
    [(1.0, 0.3, 2.0), (1.0, 0.99, 1.0), (1.0, -0.9, 1.0), (1.0, 1.0, 1.0), (0.1, 0.5, 30.0), (0.7, 0.0, 0.7)]
).T


@pytest.mark.parametrize(
    ("one", "two", "known"),
    [
        (relu(u - 1), relu(v + t), lambda q1, c, q2: ramps.ramp_ramp(q1, c, q2, -1.0, 0.5)),
        (step(u - 1), step(v + t), lambda q1, c, q2: ramps.jump_jump(q1, c, q2, -1.0, 0.5)),
        (sp.Max(1, u) - 1, relu(t - v), lambda q1, c, q2: ramps.opposite_ramps(q1, c, q2, -1.0, 0.5)),
        (sp.Max(-1, sp.Min(1, u)), v, lambda q1, c, q2: c * (ramps.jump_mean(q1, 1.0) - ramps.jump_mean(q1, -1.0))),
    ],
    ids=["ramps", "jumps", "opposite", "clip"],
)
def test_kinks_away_from_0(one, two, known):
    q1, c, q2 = COVARIANCES
    found = expect(one * two, [u, v], [[q1, c], [c, q2]], {t: np.full(6, 0.5)})
    np.testing.assert_allclose(found, [known(*point) for point in COVARIANCES.T], rtol=1e-9, atol=1e-15)


def test_one_variable_with_a_kink():
    q = np.array([0.1, 1.0, 30.0])
    np.testing.assert_allclose(expect(relu(u - 1), [u], [[q]], {}), [ramps.ramp_mean(x, -1.0) for x in q], rtol=1e-12)


@pytest.mark.usefixtures("quick")
def test_a_clip_behind_a_norm():
    """It was off by a percent; the kernel is right."""
    net = tp.parse(
        "network a\n  width n\n  dim d = 3\n  input x : [d]\n  weight U : [n, d] ~ N(0, 1)\n  weight v : [n] ~ N(0, 1/n)\n"
        "  h = U @ x\n  output f = v @ hardtanh(rmsnorm(h))\n"
    )
    X = np.random.default_rng(0).standard_normal((3, 3))
    for found, oracle in zip(net.kernel("nngp", "ntk")(X), reference(net.ntk(), X), strict=True):
        np.testing.assert_allclose(found, oracle, rtol=1e-9)
