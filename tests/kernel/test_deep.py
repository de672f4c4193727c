"""Deep and long recursions: no digits lost, nothing compiled again."""

from __future__ import annotations

import mpmath as mp
import numpy as np

from tests.kernel.plain import kernel
from tests.kernel.specs import mlp


def exact(x, y, depth):
    """K and Θ of the relu network with sw2 = 2, sb2 = 0 , to 50 digits: every step keeps the variances."""
    with mp.workdps(50):
        x, y = [mp.mpf(float(v)) for v in x], [mp.mpf(float(v)) for v in y]
        c, p, q = (2 * mp.fdot(a, b) / len(x) for a, b in ((x, y), (x, x), (y, y)))
        r, theta = mp.sqrt(p * q), c
        for _ in range(depth - 1):
            angle = mp.acos(c / r)
            dot = (mp.pi - angle) / mp.pi
            c = (mp.sqrt(r * r - c * c) + c * (mp.pi - angle)) / mp.pi
            theta = c + theta * dot
        angle = mp.acos(c / r)
        value = (mp.sqrt(r * r - c * c) + c * (mp.pi - angle)) / (2 * mp.pi)
        return float(value), float(value + theta * (mp.pi - angle) / (2 * mp.pi))


def test_depth_costs_no_digits_and_no_compilation():
    X = np.random.default_rng(0).standard_normal((6, 3))
    X[1], X[2] = -X[0], X[0] * 1.5
    X[1, 1] += 0.1
    X[2, 0] += 0.03
    modules = []
    for depth in (3, 30, 300):
        k, _ = kernel(mlp(L=depth, sb2="0"))
        K, Theta = k(X)
        modules.append(k._module)
        for i in range(6):
            for j in range(i):
                wanted = exact(X[i], X[j], depth)
                np.testing.assert_allclose((K[i, j], Theta[i, j]), wanted, rtol=1e-12 if depth < 300 else 1e-11)
    assert modules[0] is modules[1] is modules[2]
    assert len(modules[0].pairs.signatures) == len(modules[0].sites.signatures) == 1


RECURRENT = """network rnn
  width n
  dim   d = 3
  let   T = 5
  index t in 1..T
  input  x[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1.2/n)
  weight v : [n]    ~ N(0, 1/n)
  h[0] = 0
  h[t] = W @ relu(h[t-1]) + U @ x[t]
  output f = v @ relu(h[T])
"""


def recurrent(x, y):
    """K and Θ of ``RECURRENT`` to 50 digits; the first step starts from no variance at all."""

    def pair(p, c, q):
        r = mp.sqrt(p * q)
        angle = mp.pi - mp.acos(min(c / r, mp.mpf(1))) if r else mp.mpf(0)
        return (mp.sqrt(max(r * r - c * c, mp.mpf(0))) + c * angle) / (2 * mp.pi), angle / (2 * mp.pi)

    with mp.workdps(50):
        gain, (p, c, q), theta = mp.mpf(12) / 10, (mp.mpf(0),) * 3, mp.mpf(0)
        value, dot = mp.mpf(0), mp.mpf(0)
        for a, b in zip(*([[mp.mpf(float(v)) for v in step] for step in z] for z in (x, y)), strict=True):
            c = gain * value + mp.fdot(a, b) / 3
            p, q = gain * p / 2 + mp.fdot(a, a) / 3, gain * q / 2 + mp.fdot(b, b) / 3
            theta = c + gain * theta * dot
            value, dot = pair(p, c, q)
        return float(value), float(value + theta * dot)


def test_many_steps_cost_no_digits_and_no_compilation():
    X = np.random.default_rng(1).standard_normal((4, 200, 3))
    X[1] = X[0] + 0.05 * X[1]
    modules = []
    for steps in (5, 200):
        k, _ = kernel(RECURRENT.replace("T = 5", f"T = {steps}"))
        K, Theta = k(X[:, :steps])
        modules.append(k._module)
        for i in range(4):
            for j in range(i):
                np.testing.assert_allclose((K[i, j], Theta[i, j]), recurrent(X[i, :steps], X[j, :steps]), rtol=1e-13)
    assert modules[0] is modules[1]
    assert len(modules[0].pairs.signatures) == len(modules[0].sites.signatures) == 1
