"""A sum over an index inside a nonlinearity: what has no rule is refused, never left with an index that nothing binds."""

import pytest

import tp
from tests.scaling.specs import HEADS


def test_an_index_that_nothing_binds_is_refused():
    net = tp.parse(HEADS.format(let="", scale="dh^(-1/2)"))
    assert "K_q" in net.nngp().text()
    with pytest.raises(tp.LimitError, match="sum over an index"):
        net.ntk()
