"""Mehler's sums a row at a time, easy forms, single precision: against the robust forms of the same generated module."""

from __future__ import annotations

import numpy as np
import pytest

import tp
from tests.kernel.plain import data, kernel
from tests.kernel.specs import mlp
from tp.kernel import sizes
from tp.kernel.reference import reference
from tp.kernel.single import single


def both(k, X):
    """The kernel in easy forms and in robust ones: the same module, every row declared hard."""
    easy = k(X)
    module, name = k._module, k._call(len(X) ** 2).pairs
    pairs = getattr(module, name)

    def all_hard(n, c, i0, i1, j0, j1, upper, width, hard, *arrays):
        hard[:] = 1

    setattr(module, name, all_hard)
    try:
        return easy, k(X)
    finally:
        setattr(module, name, pairs)


def test_rows_of_sums_are_those_of_single_pairs():
    k, limit = kernel(mlp(phi="tanh"))
    X = data(limit, 40)
    X[3], X[5], X[7] = X[2] * (1 + 1e-9), -X[4], 0.01 * X[6]
    for ours, theirs in zip(*both(k, X), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-11)
    for whole, some in zip(k(X), k(X[::13]), strict=True):  # whose coefficients are interpolated, and not
        np.testing.assert_allclose(whole[::13, ::13], some, rtol=1e-11)
    for ours, theirs in zip(k(X[:2]), reference(limit, X[:2]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("many", [False, True])
def test_easy_relu_is_robust_relu_and_hard_pairs_are_found(many, monkeypatch):
    """Of many, rows of lanes near one angle, and rows that some lane keeps from that, are both among them."""
    monkeypatch.setattr(sizes, "MANY", 0 if many else 1 << 20)
    k, limit = kernel(mlp())
    assert ("= relu_near(" in k.source.split(f"def {k._call(3600).pairs}(")[1].split("\n\n\n")[0]) == many
    X = data(limit, 60)
    X[1], X[3], X[5], X[9] = -X[0], X[2] * (1 + 1e-9), X[4] + 1e-7, 0.0
    for ours, theirs in zip(*both(k, X), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_single_precision_is_near_double_precision_on_the_scale_of_the_diagonal():
    """Near-duplicates and opposite samples included: they are computed in double precision."""
    k, limit = kernel(mlp(), dtype="float32")
    X = data(limit, 12).astype(np.float32)
    X[1], X[3], X[5], X[9] = X[0] * (1 + 1e-4), -X[2], X[4] + np.float32(1e-5), 0.0
    for ours, theirs in zip(k(X), reference(limit, X.astype(np.float64)), strict=True):
        assert ours.dtype == np.float32
        size = np.sqrt(np.outer(np.diag(theirs), np.diag(theirs)))
        assert (np.abs(ours - theirs) / size).max() < 1e-6


def test_the_pair_loop_is_in_single_precision_throughout():
    text = single(kernel(mlp(phi="tanh"))[0].source)
    pairs = text[text.index("def pairs(") :]
    pairs = pairs[: pairs.index("@njit")]
    assert "mehler_rows_single" in pairs and "np.float32)" in pairs
    assert "float(" not in pairs and ".0" not in pairs.replace("np.float32(", "")


def test_quadrature_stays_in_double_precision():
    """Panels are halved until rounding of double precision: in single precision they would be refused."""
    text = single("def pair_1(c):\n    return c * 0.5\n\ndef pairs(c):\n    return pair_1(c) + 0.5\n")
    assert "return c * 0.5" in text and "pair_1(float(c)) + np.float32(0.5)" in text and "pair_1_single" not in text


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("phi", ["relu(z - 1)", "max(-1, min(1, z))"])
def test_near_duplicates_behind_kinks_away_from_0_are_exact_in_single_precision(phi):
    """Their slope falls like the angle between two samples, which rounded covariances lose: it was off by 1e-4."""
    net = tp.parse(mlp(L=1, phi="phi").replace("  let", f"  let phi(z) = {phi}\n  let", 1))
    X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    X[1] = X[0] * np.float32(1 + 1e-6)
    for found, exact in zip(net.kernel("nngp", "ntk", dtype="float32")(X), net.kernel("nngp", "ntk")(X), strict=True):
        np.testing.assert_allclose(found, exact, rtol=3e-7)
