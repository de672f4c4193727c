"""Expectations that are infinite are refused, at the line; those that exist beside a pole are not."""

from __future__ import annotations

import pytest

import tp

SPEC = """network poles
  width n
  dim d = 2
  input x : [d]
  weight A : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h = W @ relu(A @ x)
  output f = v @ {}
"""

INFINITE = ["(1/h)", "(1/h^2)", "(h/(h - 1))", "(tanh(h)/(h^2 - 2))", "(1/sqrt(abs(h)))", "(1/(tanh(h) - 1/3))", "exp(1/h)"]
FINITE = ["(h/(h^2 + 1))", "(h^3/abs(h))", "(sin(h)/h)", "abs(h)^(-1/4)", "log(h^2)", "(h/(1 + exp(-h)))", "tanh(1/h)"]


@pytest.mark.parametrize("function", INFINITE)
def test_a_pole_that_is_not_square_integrable_is_refused(function: str) -> None:
    with pytest.raises(tp.LimitError, match=r"infinite expectation(.|\n)*\^\^\^(.|\n)*is infinite"):
        tp.parse(SPEC.format(function)).nngp()


@pytest.mark.parametrize("function", FINITE)
def test_what_exists_is_derived(function: str) -> None:
    tp.parse(SPEC.format(function)).nngp()


def test_a_derivative_may_be_infinite_where_the_function_is_not() -> None:
    net = tp.parse(SPEC.format("log(h^2)"))
    with pytest.raises(tp.LimitError, match="infinite expectation"):
        net.ntk()
    net = tp.parse(SPEC.format("sqrt(relu(h))"))
    with pytest.raises(tp.LimitError, match="infinite expectation"):
        net.ntk()


def test_poles_are_found_in_the_full_calculus_as_well() -> None:
    text = SPEC.format("(1/g)").replace("  output", "  g = W.T @ h\n  output")
    with pytest.raises(tp.LimitError, match="infinite expectation"):
        tp.parse(text).nngp()
