"""Odd and even activations: what their symmetry makes of averages, branches and derivatives."""

from fractions import Fraction as F

import pytest
import sympy as sp

import tp
from tests.scaling import specs
from tests.scaling.specs import mlp
from tp.readings.scale.expressions import _parity

X = sp.Symbol("x", real=True)
HALF = F(1, 2)

OVERLAP = """network overlap
  width n
  dim   d = 3
  input x : [d]
  weight A : [n, d] ~ N(0, 1/d)
  weight B : [n, d] ~ N(0, 1/d)
  weight v : [n] = 1 * N(0, 1/n^2), lr 1/n
  g = A @ x
  h = B @ x
  s = avg(PHI(g) * PHI(h))
  output f = v @ tanh(g + s * h)
"""


@pytest.mark.parametrize(
    ("f", "parity"),
    [(sp.tanh(X), -1), (sp.erf(X), -1), (sp.sin(X), -1), (sp.sign(X), -1), (sp.cos(X), 1), (sp.Abs(X), 1), (sp.exp(X), 0)],
)
def test_parity_is_read_off_the_expression(f, parity):
    assert _parity(f, X) == parity


@pytest.mark.parametrize(("phi", "initial"), [("tanh", -HALF), ("sin", -HALF), ("cos", F(0)), ("abs", F(0)), ("sigmoid", F(0))])
def test_averages_of_odd_functions_vanish(phi, initial):
    net = tp.parse(OVERLAP.replace("PHI", phi))
    assert net.scaling().exponents["s"].initial == initial


@pytest.mark.parametrize("phi", ["tanh", "sigmoid"])
def test_averages_of_odd_functions_vanish_as_measured(phi):
    check = tp.parse(OVERLAP.replace("PHI", phi)).coord_check("sgd", None, widths=(64, 256, 1024), steps=1, seeds=8, budget=0)
    (row,) = (r for r in check.rows if r.quantity == "s" and r.step == 0)
    assert abs(row.slope - float(row.derived)) < 0.2 and row.agrees


@pytest.mark.parametrize(("phi", "alpha", "diverse"), [("tanh", HALF, True), ("relu", F(1), False)])
def test_branches_with_a_mean_add_up_coherently(phi, alpha, diverse):
    """x + L^(-α) φ(W x): an odd φ has mean 0 and adds √L, relu adds L."""
    text = specs.RESIDUAL.replace("W[l] @ tanh(h[l-1])", f"{phi}(W[l] @ h[l-1])").replace("1/sqrt(L)", "L^(-alpha)")
    depth = tp.parse(text.replace("let L = 12", "let L, alpha")).mup("sgd").depth
    assert depth.constants == {"alpha": alpha} and depth.diverse == diverse and depth.stable


@pytest.mark.parametrize("phi", ["sin", "erf", "cos", "abs", "gelu", "silu", "softplus", "elu", "leaky_relu", "exp", "relu6"])
def test_rules_of_perceptrons_are_those_of_any_activation(phi):
    found = tp.parse(mlp(2, phi)).mup("adam").rules
    assert [tuple(r) for r in found.values()] == [(0, 0, 0), (0, HALF, 1), (0, 1, 1)]
