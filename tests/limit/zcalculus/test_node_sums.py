"""Sums over nodes: compiled as by NumPy, and grids without what weighs nothing."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.limit.zcalculus import integrals
from tp.limit.zcalculus.integrals import Integrals
from tp.limit.zcalculus.points import _negligible, _pruned

u, v = sp.symbols("u v", real=True)
a = sp.Symbol("a", positive=True)


@pytest.mark.parametrize("integrand", [sp.tanh(u + a * v) * (1 - sp.tanh(v) ** 2) / sp.sqrt(2), sp.sin(u) * v])
def test_compiled_sums_are_those_of_numpy_to_rounding(integrand: sp.Expr, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that no compiled loop has is left to NumPy."""
    e = Expectation(integrand, (u, v), [[1, a / 2], [a / 2, 1]])
    known = {a: np.array([0.1, 0.5, 1.0])}
    plain = Integrals().value(e, known, 3)
    monkeypatch.setattr(integrals, "MUCH", 0)
    assert np.allclose(Integrals().value(e, known, 3), plain, rtol=0, atol=1e-14)
    if integrand.has(sp.sin):
        assert integrals.fused(integrand, (u, v), 2) is None
        assert np.allclose(plain, known[a] / 2 * np.exp(-0.5), rtol=0, atol=1e-10)


@pytest.mark.parametrize("weight", [1e-3, 1e-8, 2.0])
def test_what_is_left_out_weighs_little_and_is_about_all_that_does(weight: float) -> None:
    w = np.exp(-np.random.default_rng(0).exponential(10, size=3000))
    w /= w.sum()
    bound = _negligible(w, weight)
    assert w[w <= bound].sum() <= weight * (1 + 1e-9)
    assert weight > 1 or w[w <= 1.5 * bound].sum() > weight


def test_a_pruned_grid_has_the_moments_of_gaussians() -> None:
    x, w = _pruned((1.0, 0.5), 1e-10, 0.8)
    assert x.flags.c_contiguous and abs(w.sum() - 1) < 1e-12
    assert np.allclose((w * x) @ x.T, np.eye(2), rtol=0, atol=1e-8)
