"""One network written in two ways has one kernel, whatever rules each way takes."""

from __future__ import annotations

import numpy as np
import pytest

import tp
from tests.kernel.plain import data

pytestmark = pytest.mark.usefixtures("quick")

HEAD = """network net
  width n
  dim d = 2
"""

VECTOR = """  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight Q : [n, n] ~ N(0, 2/n)
  weight v : [n] ~ N(0, 1/n)
  h = U @ x
"""

SEQUENCE = """  index t in 0..2
  input x[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight Q : [n, n] ~ N(0, 2/n)
  weight v : [n] ~ N(0, 1/n)
  h[t] = U @ x[t]
"""

IMAGE = """  index p in 0..1
  index q in 0..0
  input x[p, q] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h[p, q] = U @ x[p, q]
  y[p, q] = W @ h[p, q]
  z[p, q] = W.T @ y[p, q]
"""

LINE = """  index p in 0..4 boundary EDGE
  input x[p] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight A[k] : [n, n] ~ N(0, 1/n)   for k in -1..1
  weight v : [n] ~ N(0, 1/n)
  h[p] = relu(U @ x[p])
"""

PAIRS = {
    "two times of a recursion whose first member holds the input": (
        VECTOR,
        """
  z[0] = h
  z[l] = W @ relu(z[l-1])   for l in 1..3
  output f = v @ (z[3] + z[1])
""",
        """
  a = W @ relu(h)
  b = W @ relu(a)
  c = W @ relu(b)
  output f = v @ (c + a)
""",
    ),
    "a recursion of nonlinear members from a linear one": (
        SEQUENCE,
        """
  z[0] = Q @ h[0]
  z[t] = erf(W @ z[t-1] + h[t])   for t in 1..2
  output f = v @ (z[2] + z[0])
""",
        """
  a = Q @ h[0]
  b = erf(W @ a + h[1])
  output f = v @ (erf(W @ b + h[2]) + a)
""",
    ),
    "two layers of a residual network": (
        VECTOR,
        """
  weight A[l] : [n, n] ~ N(0, 1/n)   for l in 1..2
  z[0] = h
  z[l] = z[l-1] + A[l] @ relu(z[l-1])   for l in 1..2
  output f = v @ (z[2] + z[1])
""",
        """
  weight A[l] : [n, n] ~ N(0, 1/n)   for l in 1..2
  a = h + A[1] @ relu(h)
  output f = v @ (2*a + A[2] @ relu(a))
""",
    ),
    "input weights that stand in a norm before the readout": (
        VECTOR,
        "output f = v @ rmsnorm(U @ x + W @ relu(U @ x))",
        """
  u = h + W @ relu(h)
  output f = v @ rmsnorm(u)
""",
    ),
    "a power of a sum inside a nonlinearity": (
        VECTOR,
        "output f = v @ tanh(log(1 + (W @ relu(h) + h)^2))",
        """
  u = W @ relu(h) + h
  output f = v @ tanh(log(1 + u^2))
""",
    ),
    "inner products divided by the width where they are read": (
        VECTOR,
        "output f = v @ (exp(dot(h, relu(h))/n) * (W @ h) + dot(h, h)*dot(h, W @ h)/n^2 * h + (dot(h, h)/n)^2 * h)",
        """
  a = dot(h, relu(h))/n
  b = dot(h, h)/n
  c = dot(h, W @ h)/n
  output f = v @ (exp(a) * (W @ h) + b*c*h + b^2*h)
""",
    ),
    "multiples of a sum inside nonlinearities": (
        VECTOR,
        """
  weight b : [n] ~ N(0, 1/2)
  a = W @ relu(h)
  output f = v @ (relu(a + b) - erf(-2*a - 2*b))
""",
        """
  weight b : [n] ~ N(0, 1/2)
  u = W @ relu(h) + b
  output f = v @ (relu(u) + erf(2*u))
""",
    ),
    "a sum and a function of it": (
        VECTOR,
        "output f = v @ (3*(U @ x + W @ h) * exp(-(U @ x + W @ h)^2))",
        """
  u = h + W @ h
  output f = v @ (3*u * exp(-u^2))
""",
    ),
    "a window beyond edges that reflect": (
        LINE.replace("EDGE", "reflect"),
        """
  index r in 0..1
  g[r] = sum(A[k] @ h[4*r+2*k] for k in -1..1)
  output f = v @ relu(g[0] + g[1])
""",
        """
  g = A[-1] @ h[2] + A[0] @ h[0] + A[1] @ h[2]
  u = A[-1] @ h[2] + A[0] @ h[4] + A[1] @ h[2]
  output f = v @ relu(g + u)
""",
    ),
    "a window beyond edges that meet": (
        LINE.replace("EDGE", "circular"),
        """
  index r in 0..1
  g[r] = sum(A[k] @ h[4*r+2*k] for k in -1..1)
  output f = v @ relu(g[0] + g[1])
""",
        """
  g = A[-1] @ h[3] + A[0] @ h[0] + A[1] @ h[2]
  u = A[-1] @ h[2] + A[0] @ h[4] + A[1] @ h[1]
  output f = v @ relu(g + u)
""",
    ),
    "a recurrence and its steps": (
        SEQUENCE,
        """
  z[0] = h[0]
  z[t] = W @ relu(z[t-1]) + h[t]   for t in 1..2
  output f = v @ mean(relu(z[t]) for t)
""",
        """
  a = W @ relu(h[0]) + h[1]
  b = W @ relu(a) + h[2]
  output f = v @ (1/3 * relu(h[0]) + 1/3 * relu(a) + 1/3 * relu(b))
""",
    ),
    "a loop over two indices and its members": (
        SEQUENCE,
        """
  z[0, t] = h[t]
  z[l, 0] = h[0]   for l in 1..2
  z[l, t] = W @ relu(z[l-1, t]) + Q @ relu(z[l, t-1])   for l in 1..2, t in 1..2
  output f = v @ relu(z[2, 2])
""",
        """
  a = W @ relu(h[1]) + Q @ relu(h[0])
  b = W @ relu(h[2]) + Q @ relu(a)
  c = W @ relu(a) + Q @ relu(h[0])
  output f = v @ relu(W @ relu(b) + Q @ relu(c))
""",
    ),
    "a variance by the width of either side": (
        VECTOR,
        """
  width m = 2*n
  weight A : [m, n] ~ N(0, 1/m)
  weight B : [n, m] ~ N(0, 3/n)
  output f = v @ erf(B @ relu(A @ relu(h)))
""",
        """
  output f = v @ erf(sqrt(3) * W @ relu(W @ relu(h)))
""",
    ),
    "two matrices of one vector, and a transpose of its own": (
        VECTOR,
        "output f = v @ erf(W.T @ relu(h) + Q @ relu(h))",
        """
  weight P : [n, n] ~ N(0, 3/n)
  output f = v @ erf(P @ relu(h))
""",
    ),
    "halves of a rectified vector": (
        VECTOR,
        "output f = v @ (relu(W @ h) - relu(-W @ h) + relu(2*h) + relu(-2*h))",
        "output f = v @ (W @ h + 2*abs(h))",
    ),
    "a mean of read-outs, over ranges of one and of none": (
        SEQUENCE,
        """
  index s in 1..1
  g[t] = h[t] + sum(softmax(dot(h[t], h[s])/n over s) * (W @ h[s]) for s) + sum(Q @ h[k] for k in 1..0)
  output f = mean(v @ relu(g[t]) for t)
""",
        """
  a = W @ h[1]
  output f = v @ mean(relu(h[t] + a) for t)
""",
    ),
    "moments in two notations": (
        VECTOR,
        "output f = v @ (avg(relu(h)^2) * (W @ h) + rmsnorm(h))",
        """
  a = dot(relu(h), relu(h))/n
  b = dot(h, h)/n
  output f = v @ (a * (W @ h) + h/sqrt(b))
""",
    ),
    "nothing is left": (VECTOR, "output f = v @ relu(h - h)", "output f = v @ relu(h) * 0"),
    "nothing is left behind a transpose": (
        VECTOR,
        "output f = v @ relu(W.T @ (W @ h) - W.T @ (W @ h))",
        "output f = v @ relu(h) * 0",
    ),
    "an output over two indices, member by member": (
        IMAGE,
        "output f[p, q] = v @ z[p, q]",
        "\n".join(f"output f[{p}, {q}] = v @ z[{p}, {q}]" for p in (0, 1) for q in (0,)),
    ),
}


@pytest.mark.parametrize(("head", "one", "two"), PAIRS.values(), ids=PAIRS)
def test_one_network_written_in_two_ways(head, one, two):
    nets = [tp.parse(HEAD + head + lines) for lines in (one, two)]
    X = data(nets[0].nngp(), 3)
    for found, expected in zip(*(net.kernel("nngp", "ntk")(X) for net in nets), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
