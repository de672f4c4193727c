"""One variable's expectations for a row of variances: interpolated, as good as one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy as sp
from gaussian.run import plain, q1, u

from tp.gaussian import spread
from tp.gaussian.expectation import Expectation
from tp.gaussian.numeric import lower


def test_integrals_of_many_variances() -> None:
    """E tanh² and E tanh'²: two panels, variances that are 0 or no number, and the lanes beyond left alone."""
    low = lower(*(Expectation(f, (u,), [[q1]]) for f in (sp.tanh(u) ** 2, (1 - sp.tanh(u) ** 2) ** 2)))
    names, asked = plain(low.sources), []
    one = names[low.function]
    names[low.function] = lambda q: asked.append(q) or one(q)
    q = np.random.default_rng(0).permutation([0.0, math.nan, *np.linspace(1e-3, 1.8e-3, 50), *np.linspace(2.0, 3.0, 50), 1e4])
    rows = np.full((4, len(q) + 1), -1.0)
    rows[1, : len(q)] = q
    names[low.spread](rows, 1, len(q))
    assert len(asked) == 2 * 18 + 3  # nodes, and one between them
    assert (rows[0] == -1).all() and (rows[:, -1] == -1).all()
    for at in (*range(0, len(q), 9), *np.flatnonzero(~(q > 0))):
        np.testing.assert_allclose(rows[2:, at], one(q[at]), rtol=2e-14)


def made(monkeypatch: pytest.MonkeyPatch, f) -> list[float]:  # type: ignore[no-untyped-def]
    asked: list[float] = []

    def each(q: float, out: np.ndarray) -> None:
        asked.append(q)
        out[0] = f(q)

    monkeypatch.setattr(spread, "each", each)
    return asked


def test_equal_variances_are_integrated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, rows = made(monkeypatch, math.sqrt), np.full((2, 300), 1.7)
    spread.spread(rows, 0, 300)
    assert asked == [1.7] and (rows[1] == math.sqrt(1.7)).all()


def test_a_tail_is_integrated_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """E[1 if u > 1]: small where the variance is, and interpolated to the same relative accuracy in each panel."""
    asked = made(monkeypatch, lambda q: math.erfc(1 / math.sqrt(2 * q)) / 2)
    rows = np.random.default_rng(1).uniform(0.1, 2.0, (2, 500))
    spread.spread(rows, 0, 500)
    assert len(asked) < 250
    wanted = np.array([math.erfc(1 / math.sqrt(2 * q)) / 2 for q in rows[0]])
    np.testing.assert_allclose(rows[1], wanted, rtol=1e-12)


def test_what_does_not_converge_is_integrated(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, rows = made(monkeypatch, lambda q: abs(q - 1.1)), np.random.default_rng(2).uniform(0.8, 1.5, (2, 200))
    spread.spread(rows, 0, 200)
    assert np.array_equal(rows[1], np.abs(rows[0] - 1.1)) and len(asked) == 200 + 17 + 33
