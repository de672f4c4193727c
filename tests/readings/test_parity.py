"""Averages that are 0 because of a sign: exactly, and no others."""

from __future__ import annotations

import math

import pytest

import tp
from tests.readings.specs import mlp
from tp.readings.parity import EVEN, Parity

U, V = Parity(frozenset([("u",)])), Parity(frozenset([("v",)]))


def test_products_sums_and_functions() -> None:
    assert U.times(U) == EVEN and U.times(V).vanishes
    both = U.plus(V)
    assert not both.vanishes and both.neither == {("u",), ("v",)} and not both.times(U).vanishes
    assert both.times(Parity(frozenset([("w",)]))).vanishes
    assert U.plus(U) == U and U.under(-1) == U and U.under(1) == EVEN and U.under(0).neither == {("u",)}


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_outputs_start_at_zero_and_leave_it(activation: str) -> None:
    run = mlp(activation, L=2).train([[1.0, 0.5], [0.3, -1.0]], [1.0, -1.0], steps=2, lr=0.4)
    found = run.limit("sobol")
    assert (found.outputs[0] == 0).all() and (found.errors[0] == 0).all()
    assert (found.outputs[1:] != 0).all() and (found.errors[1:] > 0).all()


@pytest.mark.parametrize("centred", [True, False])
def test_only_a_centred_weight_may_change_its_sign(centred: bool) -> None:
    text = f"network net\n  width n\n  weight v : [n] ~ {'N(0, 1)' if centred else '1'}\n  weight u : [n] ~ N(0, 1)\n"
    text += "  output f = avg(v*cos(u)^2)\n  output g = avg(sin(u)*cos(u))\n  output h = avg(sin(u)*relu(u))\n"
    found = tp.parse(text).moments(method="sobol")
    assert (found["f"].item() == found.errors["f"].item() == 0) == centred
    assert found["g"].item() == found.errors["g"].item() == 0
    assert abs(found["h"].item() - 0.5 * math.exp(-0.5)) < 5 * found.errors["h"].item()
