"""Scrambled points: SciPy's, whatever pieces they are made in; none of them an outlier; and errors that hold."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import qmc

from tp.gaussian import scrambled
from tp.gaussian.scrambled import estimate, finer, normals


@pytest.mark.parametrize(("count", "log2"), [(1, 0), (3, 4), (5000, 7)])
def test_points_are_those_of_the_sequence(count: int, log2: int) -> None:
    found = normals(count, log2, np.random.default_rng((1, 2)))
    points = qmc.Sobol(count, scramble=True, rng=np.random.default_rng((1, 2))).random_base2(log2).T
    assert found.shape == (count, 2**log2) and (found == ndtri(points + 2.0**-31)).all()


def test_there_may_be_none_and_more_than_a_sequence_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert normals(0, 3, np.random.default_rng(0)).shape == (0, 8)
    monkeypatch.setattr(scrambled, "COORDINATES", 2)
    found = normals(40, 10, np.random.default_rng(0))
    assert (found[:2] == normals(2, 10, np.random.default_rng(0))).all()
    assert abs(found @ found.T / 1024 - np.eye(40)).max() < 5 / math.sqrt(1024)


def test_no_node_is_an_outlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sobol points are multiples of 2^-30, and 0 is one of them: it stands for the least 2^-30 of the probability."""
    ends = np.array([[0.0], [1.0 - 2.0**-30]])
    monkeypatch.setattr(qmc, "Sobol", lambda *_, **__: SimpleNamespace(random=lambda _: ends.copy()))
    (low, high) = normals(1, 1, np.random.default_rng(0))[0]
    assert low == pytest.approx(-high) and -6.2 < low < -6.1


def test_errors_are_told_and_fall_as_is_said() -> None:
    """E[tanh(z₁ + z₂)²] on 2^m points, as many as a tolerance asks for."""

    def means(log2: int) -> np.ndarray:
        points = (normals(2, log2, np.random.default_rng((0, k))) for k in range(scrambled.SCRAMBLINGS))
        return np.array([np.mean(np.tanh(z[0] + z[1]) ** 2) for z in points])

    x, w = np.polynomial.hermite_e.hermegauss(150)
    exact = float(w @ np.tanh(math.sqrt(2) * x) ** 2) / math.sqrt(2 * math.pi)
    value, error = estimate(means(8))
    assert abs(value - exact) < 4 * error
    tol = 2 * float(error) / 20
    more = finer(8, 2 * float(error), tol)
    assert more == 14
    value, error = estimate(means(more))
    assert abs(value - exact) < 4 * error and 2 * error < tol
    assert finer(8, 1.01, 1.0) == 9
