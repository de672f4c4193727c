"""Conjugate gradients against the Cholesky factor, in memory and on disk, and what their preconditioner does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import eigh

import tp
from tests.kernel.plain import kernel
from tests.kernel.specs import mlp
from tp.kernel.conjugate import Wish, _basis, conjugate_gradients, pivoted


@pytest.fixture(scope="module")
def both():
    return kernel(mlp())[0]


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X, test = rng.standard_normal((40, 3)), rng.standard_normal((5, 3))
    test[0] = X[3]
    return X, np.stack([np.sin(X[:, 0]), 0 * X[:, 0], X[:, 1] * X[:, 2]], axis=1), test


def smooth(n: int = 200) -> np.ndarray:
    """A matrix whose eigenvalues fall fast."""
    x = np.sort(np.random.default_rng(0).uniform(0, 10, n))
    return np.exp(-0.5 * (x[:, None] - x) ** 2)


def inverse(matrix, ridge, tol=1e-8, rank=None, memory=10**8, store=None):
    return conjugate_gradients(matrix if store is None else store, np.diag(matrix), ridge, Wish(tol, rank), memory)


# ---------------------------------------------------------------- the same predictions


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_predictions_are_those_of_the_factor(both, problem, tmp_path, where, kind):
    X, y, test = problem
    exact = both.solve(X, y, ridge=0.01, kind=kind)
    out = {"out": tmp_path / "K.npy", "memory": "30MB"} if where == "disk" else {}
    found = both.solve(X, y, ridge=0.01, kind=kind, method="cg", tol=1e-10, rank=10, **out)
    np.testing.assert_allclose(found.mean(test), exact.mean(test), atol=1e-8)
    np.testing.assert_allclose(found.variance(test), exact.variance(test), atol=1e-9)
    np.testing.assert_allclose(found.covariance(test), exact.covariance(test), atol=1e-9)
    assert 0 < found.residual <= 1e-10 and 0 < found.iterations <= 60
    assert found.jitter == 0.0 and found.log_marginal_likelihood is None
    assert exact.residual is None and exact.iterations is None
    assert not list(tmp_path.glob("*cholesky*"))


def test_the_reported_residual_is_what_is_left(both, problem):
    X, y, _ = problem
    found = both.solve(X, y, ridge=0.01, kind="nngp", method="cg", tol=1e-3)
    rest = y - (both(X)[0] + 0.01 * np.eye(40)) @ found.alpha
    norms = np.linalg.norm(rest, axis=0) / np.maximum(np.linalg.norm(y, axis=0), 1e-300)
    assert found.residual == pytest.approx(norms.max(), rel=1e-9) and found.residual < 1e-3


def test_errors_stay_within_the_stated_bounds(both, problem):
    """A loose tolerance: means within √(K(x, x)/λ) ‖r‖, variances from above within (tol ‖k‖)²/λ."""
    X, y, test = problem
    y, ridge, tol = y[:, 2], 0.05, 1e-2
    exact = both.solve(X, y, ridge=ridge, kind="nngp")
    found = both.solve(X, y, ridge=ridge, kind="nngp", method="cg", tol=tol, rank=0)
    error = np.abs(found.mean(test) - exact.mean(test))
    assert error.max() > 1e-6  # loose indeed
    assert (error <= np.sqrt(both.diag(test)[0] / ridge) * found.residual * np.linalg.norm(y)).all()
    excess = found.variance(test) - exact.variance(test)
    assert excess.max() > 1e-9 and excess.min() > -1e-13
    assert (excess <= (tol * np.linalg.norm(both(test, X)[0], axis=1)) ** 2 / ridge).all()
    assert np.linalg.eigvalsh(found.covariance(test) - exact.covariance(test)).min() > -1e-13


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_a_zarr_store_serves_both_methods(both, problem, tmp_path, kind):
    pytest.importorskip("zarr")
    X, y, test = problem
    exact = both.solve(X, y, ridge=0.01, kind=kind)
    for method in ("cholesky", "cg"):
        found = both.solve(X, y, ridge=0.01, kind=kind, out=tmp_path / "K.zarr", memory="30MB", method=method)
        np.testing.assert_allclose(found.mean(test), exact.mean(test), atol=1e-6)
        np.testing.assert_allclose(found.variance(test), exact.variance(test), atol=1e-7)


# ---------------------------------------------------------------- the solver


def test_a_matrix_on_disk_is_read_in_strips(tmp_path):
    matrix = smooth(60)
    np.save(tmp_path / "K.npy", matrix)
    found = inverse(matrix, 0.1, memory=256 * 60, store=np.load(tmp_path / "K.npy", mmap_mode="r"))
    right = np.random.default_rng(1).standard_normal((60, 5))
    shifted = matrix + 0.1 * np.eye(60)
    np.testing.assert_allclose(found.times(right), shifted @ right, rtol=1e-12)
    np.testing.assert_allclose(found.solve(right), np.linalg.solve(shifted, right), atol=1e-6)


def test_columns_of_any_size_reach_the_tolerance():
    """Each column by its own norm, a column of zeros included."""
    size = np.array([1e8, 1.0, 1e-8, 1e-200, 0.0])
    matrix, right = smooth(), np.random.default_rng(1).standard_normal((200, 5)) * size
    found = inverse(matrix, 0.1).solved(right)
    unit = np.where(size > 0.0, size, 1.0)  # squares of the smallest vanish
    left = np.linalg.norm((right - (matrix + 0.1 * np.eye(200)) @ found.x) / unit, axis=0)
    assert (left <= 1e-8 * np.linalg.norm(right / unit, axis=0)).all()
    assert not found.x[:, 4].any()


def test_the_preconditioner_takes_iterations_away():
    """At a small ridge: none, too small a rank, and one that holds all but the ridge."""
    matrix, right = smooth(), np.random.default_rng(1).standard_normal((200, 1))
    taken = [inverse(matrix, 1e-4, 1e-6, rank).solved(right).iterations for rank in (0, 8, 40)]
    assert taken[0] > 60 > taken[1] > 10 > taken[2]


def test_the_condition_number_is_as_the_docstring_bounds_it():
    matrix, ridge = smooth(), 1e-3
    upper = pivoted(matrix, np.diag(matrix), 12, ridge)
    rest = matrix - upper.T @ upper
    assert np.linalg.eigvalsh(rest).min() > -1e-12
    basis = _basis(upper, ridge)
    preconditioner = upper.T @ upper + ridge * np.eye(200)
    np.testing.assert_allclose((np.eye(200) - basis @ basis.T) / ridge @ preconditioner, np.eye(200), atol=1e-8)
    values = eigh(matrix + ridge * np.eye(200), preconditioner, eigvals_only=True)
    assert values.min() > 1 - 1e-9 and values.max() < 1 + np.trace(rest) / ridge


def test_pivots_are_those_of_lapack():
    from scipy.linalg.lapack import dpstrf

    matrix = smooth(30)
    factor, order, _, _ = dpstrf(matrix, lower=1)
    found = pivoted(matrix, np.diag(matrix), 6, 0.0)
    rows = order[:6] - 1
    np.testing.assert_allclose(np.abs(found[:, rows]), np.abs(np.tril(factor)[:6, :6].T), atol=1e-10)


def test_no_more_rank_than_the_matrix_has():
    A = np.random.default_rng(0).standard_normal((50, 3))
    assert len(pivoted(A @ A.T, np.sum(A * A, axis=1), 20, 0.0)) == 3
    assert len(pivoted(np.zeros((5, 5)), np.zeros(5), 3, 1e-3)) == 0


# ---------------------------------------------------------------- refused


def test_what_does_not_converge_is_an_error_with_its_residual():
    """A ridge that rounding drowns: no answer, but how far it came and what to do."""
    right = np.random.default_rng(1).standard_normal((200, 1))
    with pytest.raises(
        tp.DataError, match=r"residual is \d\.\de[-+]\d+ of .* not 1\.0e-12(.|\n)*rank= \(it was 3\), ridge=(.|\n)*cholesky"
    ):
        inverse(smooth(), 1e-13, 1e-12, 3).solved(right)


def test_iterations_are_limited(monkeypatch):
    from tp.kernel.conjugate import ConjugateGradients

    monkeypatch.setattr(ConjugateGradients, "limit", 5)
    with pytest.raises(tp.DataError, match="after 5 iterations"):
        inverse(smooth(), 1e-4, rank=0).solved(np.ones((200, 1)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "lu"}, "no method 'lu'"),
        ({"tol": 1e-6}, 'method="cg"'),
        ({"method": "cholesky", "rank": 3}, 'method="cg"'),
        ({"method": "cg", "ridge": 0.0}, "take a ridge"),
        ({"method": "cg", "tol": 0.0}, "the tolerance is 0.0"),
        ({"method": "cg", "tol": np.nan}, "the tolerance is nan"),
        ({"method": "cg", "rank": -1}, "the rank is -1"),
        ({"method": "cg", "rank": 2.5}, "the rank is 2.5"),
        ({"method": "cg", "time": 3.0}, "all eigenvalues"),
    ],
)
def test_wrong_arguments(both, problem, change, said):
    X, y, _ = problem
    with pytest.raises(tp.DataError, match=said):
        both.solve(**{"X": X, "y": y, "ridge": 0.1, **change})


def test_a_rank_past_the_memory_is_refused():
    with pytest.raises(tp.DataError, match="rank 100 for 200 samples does not fit"):
        inverse(smooth(), 0.1, rank=100, memory=10**6)
