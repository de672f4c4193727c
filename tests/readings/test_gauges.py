"""Limits of training do not depend on how a power of the width is shared among multiplier, initial size and rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import tp

X, Y = np.array([[1.0, 0.5], [-0.3, 1.0]]), np.array([1.0, -0.5])
HALF = Fraction(1, 2)


def spec(bias: str, readout: str, normalised: bool = False) -> str:
    """Two hidden layers in μP, but for the declarations of a bias and the read-out."""
    c = 1 if normalised else 0
    return f"""network gauges
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] ~ N(0, 1), lr n^({c - 1})
  weight W : [n, n] ~ N(0, 1/n), lr n^({-c})
  weight b : [n] = {bias}
  weight v : [n] = {readout}
  h = U @ x + b
  g = W @ (h + h^2/2)
  output f = v @ g
"""


def outputs(text: str, **settings: Any) -> np.ndarray[Any, Any]:
    return tp.parse(text).train(X, Y, steps=2, lr=0.1, **settings).limit().outputs


def zero(a: Fraction, u: Fraction, degree: int) -> str:
    """A weight that starts at 0, with a multiplier n^(-a): its effective weight moves at rate n^(-u)."""
    return f"n^({-a}) * N(0, 0), lr n^({-(u - degree * a)})"


@pytest.mark.parametrize("a", [-HALF, Fraction(1)])
def test_weights_that_start_at_zero_have_the_size_of_their_updates(a: Fraction) -> None:
    zeros = outputs(spec(zero(Fraction(0), Fraction(-1), 2), zero(Fraction(1), Fraction(1), 2)))
    assert np.abs(zeros[1:]).min() > 1e-3
    np.testing.assert_allclose(outputs(spec(zero(a, Fraction(-1), 2), zero(HALF - a, Fraction(1), 2))), zeros, rtol=1e-12)


def test_entrywise_updates_of_weights_that_start_at_zero() -> None:
    batches = {"optimizer": "sign", "batches": [[0], [1]]}
    one = outputs(spec(zero(Fraction(0), Fraction(0), 1), zero(Fraction(1), Fraction(1), 1), True), **batches)
    two = outputs(spec(zero(HALF, Fraction(0), 1), zero(Fraction(0), Fraction(1), 1), True), **batches)
    np.testing.assert_allclose(one, two, rtol=1e-12)
    assert np.abs(one[1:]).min() > 1e-3


def test_what_begins_smaller_than_its_updates_begins_at_zero() -> None:
    small = outputs(spec("1 * N(0, 1/n), lr n", "1 * N(0, 1/n^3), lr 1/n"))
    np.testing.assert_allclose(small, outputs(spec("1 * N(0, 0), lr n", "1 * N(0, 0), lr 1/n")), rtol=1e-12)


def test_a_readout_that_starts_at_zero_at_finite_width() -> None:
    run = tp.parse(spec("1 * N(0, 0), lr n", "1 * N(0, 0), lr 1/n")).train(X, Y, steps=2, lr=0.1)
    wide = run.simulate(width=512, seeds=4)
    assert (np.abs(wide.outputs - run.limit().outputs) <= 5 * wide.errors + 4e-3).all()


def test_of_entrywise_updates_no_initial_value_is_left_out() -> None:
    with pytest.raises(tp.LimitError, match="grows like n"):  # the sign of n^(-2) v is that of v
        outputs(spec("1 * N(0, 0), lr 1", "1 * N(0, 1/n^4), lr 1/n", True), optimizer="sign", batches=[[0], [1]])


ONE_LAYER = """network one
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1), lr n
  weight b : [n] = 1 * N(0, 0), lr n
  weight c : [] = MULTIPLIER * N(0, 0), lr RATE
  weight v : [n] = 1/n * N(0, 1), lr n
  OUTPUT
"""


def test_a_bias_has_its_size_wherever_it_is_written() -> None:
    """Within the read-out's line a bias that starts at 0 was taken to grow like n^2."""
    apart, within = (
        tp.parse(ONE_LAYER.replace("MULTIPLIER", "1").replace("RATE", "1").replace("OUTPUT", text)).train(X, Y, steps=2, lr=0.1)
        for text in ("h = U @ x + b\n  output f = v @ tanh(h) + c", "output f = v @ tanh(U @ x + b) + c")
    )
    np.testing.assert_allclose(*(run.limit(method="grid").outputs for run in (apart, within)), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("multiplier", "rate"), [("n^(-1/2)", "n"), ("n^(1/2)", "1/n"), ("2", "1/4")])
def test_gauges_of_a_bias_of_the_output(multiplier: str, rate: str) -> None:
    text = ONE_LAYER.replace("OUTPUT", "output f = v @ tanh(U @ x + b) + c")
    one, two = (
        tp.parse(text.replace("MULTIPLIER", m).replace("RATE", r)).train(X, Y, steps=2, lr=0.1).limit(method="grid").outputs
        for m, r in (("1", "1"), (multiplier, rate))
    )
    assert np.abs(one[2] - two[2]).max() < 1e-7
