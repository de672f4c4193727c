"""Compiled loops against the oracle, which knows no schedule, for every structure of equations."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernel.plain import data, kernel
from tests.kernel.specs import EVERY_TIME, STRUCTURES
from tp.kernel.reference import reference


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.usefixtures("uncompiled")
def test_generated_text_agrees_with_the_equations(name):
    k, limit = kernel(STRUCTURES[name])
    X, Y = data(limit, 2), data(limit, 1, seed=1)
    for ours, theirs in zip(k(X, Y), reference(limit, X, Y), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
    square, alone = k(X), k.diag(X)
    for ours, theirs, diagonal in zip(square, reference(limit, X), alone, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
        np.testing.assert_array_equal(ours, ours.T)
        np.testing.assert_array_equal(np.diag(ours), diagonal)


@pytest.mark.usefixtures("uncompiled")
def test_an_output_family_has_a_kernel_per_index():
    k, limit = kernel(EVERY_TIME)
    X = data(limit, 3)
    nngp, ntk = k(X)
    assert nngp.shape == ntk.shape == (3, 3, 3)
    np.testing.assert_array_equal(ntk, ntk.transpose(1, 0, 2))
    last = EVERY_TIME.replace("output f[t] = v @ relu(h[t])", "output f = v @ relu(h[3])")
    np.testing.assert_allclose(kernel(last)[0](X)[1], ntk[..., 2], rtol=1e-13)
    np.testing.assert_array_equal(np.einsum("iit->it", ntk), k.diag(X)[1])
