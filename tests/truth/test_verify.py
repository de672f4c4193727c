"""Derived kernels against finite networks: the error falls like 1/sqrt(n), for every construct there is a rule for."""

from __future__ import annotations

import numpy as np
import pytest

import tp
from tp.readings.empirical import kernels_of

pytestmark = pytest.mark.usefixtures("quick")

HEAD = """network {name}
  width n
  dim d = 4
  input x : [d]
"""

VECTOR = {
    "tied weights with skips": """
  let L = 3
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 0.5/n)
  weight v : [n] ~ N(0, 1/n)
  z[0] = U @ x
  z[l] = z[l-1] + W @ relu(z[l-1])   for l in 1..L
  output f = v @ relu(z[L])
""",
    "gain and shift after layernorm": """
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1.5/n)
  weight g : [n] ~ 1
  weight b : [n] ~ 0
  weight v : [n] ~ N(0, 1/n)
  h = U @ x
  y = g*layernorm(relu(h)) + b
  output f = v @ relu(W @ y)
""",
    "gates between a vector and its image": """
  weight U : [n, d] ~ N(0, 1/d)
  weight A : [n, n] ~ N(0, 1/n)
  weight B : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h = U @ x
  g = sigmoid(A @ h)
  output f = v @ (g * tanh(B @ h) + (1 - g) * h)
""",
    "gated recursion": """
  index t in 1..3
  weight U : [n, d] ~ N(0, 1/d)
  weight V : [n, d] ~ N(0, 1/d)
  weight A : [n, n] ~ N(0, 1/n)
  weight B : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h[0] = 0
  h[t] = sigmoid(U @ x + A @ h[t-1]) * tanh(V @ x + B @ h[t-1])
  output f = v @ h[3]
""",
    "product of branches": """
  weight A : [n, d] ~ N(0, 1/d)
  weight B : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1.5/n)
  weight v : [n] ~ N(0, 1/n)
  y = relu(A @ x) * (B @ x)
  z = W @ y
  output f = v @ (relu(z) + z)
""",
    "skips around activations": """
  let L = 3
  weight U : [n, d] ~ N(0, 1/d)
  weight W[l] : [n, n] ~ N(0, 0.5/n)  for l in 1..L
  weight v : [n] ~ N(0, 1/n)
  y[0] = relu(U @ x)
  y[l] = y[l-1] + relu(W[l] @ y[l-1])   for l in 1..L
  output f = v @ y[L]
""",
    "biases with a mean, two outputs' worth of weights": """
  weight U : [n, d] ~ N(0, 1/d)
  weight b : [n] ~ N(0.5, 0.3)
  weight W : [n, n] ~ N(0, 2/n)
  weight v : [n] ~ N(0, 1/n)
  weight w : [n] ~ N(0, 2/n)
  weight c : [] ~ N(0, 0.1)
  h = U @ x + b
  output f = v @ relu(W @ relu(h)) + w @ erf(h) + c
""",
    "frozen layer and rates of its own": """
  frozen weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] = n^(-1/2) * N(0, 2), lr 3
  weight v : [n] = n^(-1/2) * N(0, 1), lr 1/2
  h = U @ x
  output f = v @ gelu(W @ relu(h))
""",
}

WIDTHS = """network widths
  width n
  width m = 2*n
  dim d = 4
  input x : [d]
  weight U : [m, d] ~ N(0, 1/d)
  weight W : [n, m] ~ N(0, 2/m)
  weight v : [n] ~ N(0, 1/n)
  h = U @ x
  output f = v @ erf(W @ relu(h))
"""


def converges(net: tp.Net) -> None:
    report = net.verify(widths=(32, 128, 512), seeds=8)
    assert report.passed, report.table()
    for kind in ("nngp", "ntk"):
        coarse, fine = report.mean(kind)[0], report.mean(kind)[-1]
        assert fine < 0.5 * coarse, report.table()  # theory: 1/4
        assert fine < 0.25, report.table()


@pytest.mark.parametrize("name", VECTOR)
def test_constructs(name):
    converges(tp.parse(HEAD.format(name="net") + VECTOR[name]))


def test_unequal_widths():
    converges(tp.parse(WIDTHS))


@pytest.mark.parametrize("name", ["mlp", "resmlp", "cnn1d", "cnn2d", "rnn", "attention", "gcn", "layernorm"])
def test_zoo(name):
    """The shipped networks, the deep ones less deep: a relative error grows with depth."""
    smaller = {"mlp": {"L": 2}, "rnn": {"T": 3}, "attention": {"T": 3}}
    converges(tp.zoo(name, **smaller.get(name, {})))


def test_a_wrong_limit_does_not_converge():
    """With fresh weights at every step the times decorrelate: finite networks with one weight tell the difference."""
    net = tp.zoo("rnn", T=3)
    X = np.random.default_rng(0).standard_normal((3, 3, 8))
    untied = tp.parse(
        """network untied
  width n
  dim d = 8
  index t in 1..3
  input x[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W[t] : [n, n] ~ N(0, 1.2/n)
  weight v : [n] ~ N(0, 1/n)
  h[0] = 0
  h[t] = W[t] @ tanh(h[t-1]) + U @ x[t]
  output f = v @ mean(tanh(h[t]) for t)
"""
    )
    right, _ = net.kernel("nngp", "ntk")(X)
    wrong, _ = untied.kernel("nngp", "ntk")(X)
    drawn = [kernels_of(net.simulate(X, width=1024, seed=seed), ["K"])["K"] for seed in range(12)]
    measured, spread = np.mean(drawn, axis=0), np.std(drawn, axis=0) / np.sqrt(12)
    assert np.all(np.abs(measured - right) < 5 * spread)
    assert np.any(np.abs(measured - wrong) > 8 * spread)
