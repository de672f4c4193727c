"""Kernel regression against its definition."""

import re
from contextlib import nullcontext

import numpy as np
import pytest

from tp.data import digits
from tp.regression import accuracy, fit, told_of_classes


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


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ([0, 1, 2, 1], "np.eye(3)[labels]"),
        ([[3], [1], [2], [1]], "np.eye(3)[labels - 1]"),
        ([0, 2, 9, 4, 5, 5, 3], "np.eye(10)[labels]"),
        ([0.0, 1.0, 2.0, 1.0], None),  # floats are numbers
        ([0, 1, 1, 0], None),  # of two, the difference is what is asked for
        ([0, 1, 2, 3], None),  # all different
        ([0, 700, 30, 30], None),  # sizes
        ([-1, 0, 1, 1], None),
        ([[0, 1], [1, 2], [2, 2]], None),  # two columns already
    ],
)
def test_numbers_of_classes_are_told_from_sizes(targets, told):
    with pytest.warns(UserWarning, match=re.escape(told)) if told else nullcontext():
        told_of_classes(np.array(targets))
