"""A symmetric matrix whose lower triangle is written from its upper one, block by block."""

import sys

import numba
import numpy as np
import pytest

from tp.kernel import aside, mirror


@pytest.mark.parametrize("edge", [100, 400], ids=["numpy", "compiled"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_block_at_its_mirror_image(edge, dtype):
    assert numba.__name__ in sys.modules  # else nothing is compiled
    n = 850
    table = np.random.default_rng(0).normal(size=(n, n)).astype(dtype)
    upper = np.triu(table)
    for i in range(0, n, edge):
        for j in range(i, n, edge):
            assert mirror.write(table, i, min(i + edge, n), j, min(j + edge, n))
    np.testing.assert_array_equal(table, upper + np.triu(upper, 1).T)


@pytest.mark.parametrize("edge", [100, 400], ids=["numpy", "compiled"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_what_is_not_finite_is_seen_above_the_diagonal_alone(edge, value):
    table = np.ones((400, 400))
    table[7, 7] = table[9, 5] = value  # the diagonal and what lies below are written by others
    assert mirror.write(table, 0, edge, 0, edge)
    table[3, edge - 1] = value
    assert not mirror.write(table, 0, edge, 0, edge)


def test_the_usual_call_is_compiled_ahead():
    calls = (np.ones((400, 400)), 0, 400, 0, 400)
    assert tuple(aside.kind(a) for a in calls) == tuple(mirror.USUAL["mirror"])
