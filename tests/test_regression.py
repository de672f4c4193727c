"""Kernel regression against its definition."""

import numpy as np
import pytest

from tp.data import digits
from tp.regression import accuracy, fit


def rbf(a, b, width=2.0):
    """A kernel that has nothing to do with networks."""
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * width**2))


@pytest.fixture(scope="module")
def problem():
    images, labels = digits()
    return images[:200].reshape(200, 64), labels[:200], images[200:300].reshape(100, 64), labels[200:300]


def test_fit_solves_the_normal_equations(problem):
    X, y, _, _ = problem
    K = rbf(X, X)
    found = fit(K, y, ridges=[1e-3])
    onehot = np.eye(10)[y]
    expected = np.linalg.solve(K + 1e-3 * np.mean(np.diag(K)) * np.eye(200), onehot - onehot.mean(0))
    np.testing.assert_allclose(found.alpha, expected, rtol=1e-8, atol=1e-10)
    assert found.ridge == 1e-3


def test_the_chosen_ridge_has_least_leave_one_out_error(problem):
    X, y, _, _ = problem
    X, y = X[:40], y[:40]
    K, onehot = rbf(X, X), np.eye(10)[y]
    target = onehot - onehot.mean(0)

    def left_out(ridge):
        errors = []
        for i in range(len(y)):
            rest = np.arange(len(y)) != i
            inner = K[np.ix_(rest, rest)] + ridge * np.mean(np.diag(K)) * np.eye(len(y) - 1)
            errors.append(K[i, rest] @ np.linalg.solve(inner, target[rest]) - target[i])
        return np.mean(np.square(errors))

    ridges = [1e-4, 1e-2, 1e-1, 10.0]
    assert fit(K, y, ridges).ridge == min(ridges, key=left_out)


def test_digits_are_learnt(problem):
    X, y, X_test, y_test = problem
    found = fit(rbf(X, X), y)
    assert accuracy(found.predict(rbf(X_test, X)), y_test) > 0.85
