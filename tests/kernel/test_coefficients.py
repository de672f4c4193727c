"""Tables of coefficient vectors that are made by the same functions have these in common, and are made together."""

from __future__ import annotations

import numpy as np
import pytest

import tp
from tp.kernel import coefficients
from tp.kernel.reference import reference

SPEC = """
network two
  width n
  dim c = 3
  input x : [c]
  weight U : [n, c] ~ N(0, 1/c)
  weight W[l] : [n, n] ~ N(0, 2/n) for l in 1..2
  weight v : [n] ~ N(0, 1/n)
  h[0] = U @ x
  h[l] = W[l] @ PHI for l in 1..2
  output f = v @ tanh(h[2])
"""


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(("phi", "makers"), [("tanh(h[l-1])", {"coef1"}), ("tanh(h[l-1])^2", {"coef1", "coef2"})])
def test_functions_in_common(phi, makers, monkeypatch):
    net = tp.parse(SPEC.replace("PHI", phi))
    kernel = net.kernel("nngp")
    assert {*kernel.compiled.makers.values()} == makers and kernel.source.count("\ndef fill_") == len(makers)
    asked = []
    made = coefficients._vectors
    monkeypatch.setattr(coefficients, "_vectors", lambda call, name, *rest: asked.append(name) or made(call, name, *rest))
    x = np.random.default_rng(0).standard_normal((3, 3))
    values = kernel(x)
    assert {*asked} == makers
    np.testing.assert_allclose(values, reference(net.nngp(), x)[0], rtol=1e-9)
