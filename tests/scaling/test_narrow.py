"""Finite layers between wide ones: what maps into a width is input-like, and arguments of bounded functions have sizes."""

from fractions import Fraction as F

import pytest

import tp
from tp.cli import main

NARROW = """network narrow
  width n
  dim   d = 2
  {r}
  input  x : [d]
  weight A : [n, d] ~ N(0, 1/d)
  weight D : [r, n] ~ N(0, 1/n)
  weight U : [n, r] ~ N(0, 1/r)
  weight v : [n]    ~ N(0, 1/n)
  {body}
"""
BODIES = {
    "tanh": "output f = v @ tanh(U @ (D @ tanh(A @ x)))",
    "linear": "output f = v @ (U @ (D @ tanh(A @ x)))",
    "relu": "output f = v @ relu(U @ (D @ relu(A @ x)))",
    "statements": "z = D @ relu(A @ x)\n  output f = v @ relu(U @ z)",
}
RULES = {"A": (0, 0, 0), "D": (0, 1, 1), "U": (0, 0, 0), "v": (0, 1, 1)}


@pytest.mark.parametrize("body", BODIES)
def test_a_finite_bottleneck(body):
    """A dim and a width that does not grow have the same rules, and those of the table by roles."""
    finite = tp.parse(NARROW.format(r="dim r = 2", body=BODIES[body]))
    still = tp.parse(NARROW.format(r="width r", body=BODIES[body]))
    report = finite.mup("adam")
    assert {p: (r.a, r.b, r.c) for p, r in report.rules.items()} == RULES and report.feature_learning and report.unique
    assert {p: r.role for p, r in report.rules.items()} == {"A": "input", "D": "output", "U": "input", "v": "output"}
    assert {p: (r.a, r.b, r.c) for p, r in still.mup("adam", growth={"r": 0}).rules.items()} == RULES
    assert finite.scaling("mup", "adam").feature_learning and still.scaling("mup", "adam", growth={"r": 0}).feature_learning


def test_finite_networks_agree():
    net = tp.parse(NARROW.format(r="dim r = 2", body=BODIES["tanh"]))
    check = net.coord_check("adam", net.mup("adam"), (64, 256), steps=2, seeds=3, budget=0)
    assert check.agrees and not check.growing and any(r.quantity == "A @ x" for r in check.rows), check


def test_the_argument_of_a_bounded_function_may_not_grow():
    net = tp.parse(NARROW.format(r="dim r = 2", body=BODIES["tanh"]))
    report = net.scaling({**RULES, "A": (0, -4, 0)}, "adam")
    assert not report.stable_at_init and report.reasons[0].quantity == "A @ x" and report.reasons[0].exponent == F(4)


def test_a_gated_sum_is_blamed_for_its_argument():
    text = NARROW.format(r="dim r = 2", body="g = tanh(A @ x) * (A @ x)\n  output f = D[1] @ g")
    text = text.replace("  weight U : [n, r] ~ N(0, 1/r)\n  weight v : [n]    ~ N(0, 1/n)\n", "").replace("D[1] @ g", "D @ g")
    report = tp.parse(text).scaling("mfp", "adam")
    assert report.reasons[0].quantity == "A @ x" and report.reasons[0].exponent == 1
    assert list(report.exponents) == ["A @ x"]  # what comes after the first violation has no meaning


def test_a_vector_output_is_called_by_its_name():
    text = NARROW.format(r="dim r = 2", body="output f = D @ tanh(A @ x)").replace("  weight U : [n, r] ~ N(0, 1/r)\n", "")
    report = tp.parse(text.replace("  weight v : [n]    ~ N(0, 1/n)\n", "")).scaling("mup", "adam")
    assert set(report.exponents) == {"A @ x", "f"} and report.outputs == ("f",)


def test_slips_of_the_pen(capsys):
    with pytest.raises(tp.DataError, match="did you mean `adamw`"):
        tp.zoo("mlp").mup("admw")
    for argv in (["scale", "mlp", "--parametrization", "mupp"], ["mup", "mlp", "--gauge", "table7"]):
        assert main(argv) == 1
        err = capsys.readouterr().err
        assert "choose " in err and "{" not in err and "(a, b, c)" not in err
