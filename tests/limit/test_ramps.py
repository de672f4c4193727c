"""The larger and the smaller of two combinations of Gaussians: ramps of their difference, in formulas and compiled kernels."""

import numpy as np
import pytest
import sympy as sp

import tp
from tp.gaussian.expectation import Expectation
from tp.limit.nodes.kernel import NodeKernel
from tp.program.ir import Ref
from tp.program.parts import within
from tp.readings.empirical import kernels_of

pytestmark = pytest.mark.usefixtures("quick")

SPEC = """network maxout
  width n
  dim d = 3
  let L = 3
  input x : [d]
  weight A[1] : [n, d] ~ N(0, 1/d)
  weight B[1] : [n, d] ~ N(0, 2/d)
  weight A[l] : [n, n] ~ N(0, 1/n) for l in 2..L
  weight B[l] : [n, n] ~ N(0, 1/n) for l in 2..L
  weight b[l] : [n] ~ N(0, 1/5) for l in 1..L
  weight v : [n] ~ N(0, 1/n)
  h[1] = max(A[1] @ x + b[1], B[1] @ x)
  h[l] = {body} for l in 2..L
  output f = v @ h[L]
"""
BODIES = {
    "maxout": "max(A[l] @ h[l-1] + b[l], B[l] @ h[l-1])",
    "shared bias and a constant": "min(A[l] @ h[l-1] + b[l], B[l] @ h[l-1] - b[l]/3 + 1/4)",
    "beside others": "A[l] @ h[l-1] - 2*max(b[l], B[l] @ h[l-1]) + tanh(b[l])",
    "times another": "max(A[l] @ h[l-1], B[l] @ h[l-1]) * b[l]",
}


def data(count: int) -> np.ndarray:
    X = np.random.default_rng(0).standard_normal((count, 3))
    X[1] = 0.3 * X[0]
    return X


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_formulas_agree_with_nodes(body: str) -> None:
    net, X = tp.parse(SPEC.format(body=body)), data(3)
    kernel = net.kernel("nngp", "ntk")
    assert not getattr(kernel, "statistical", False)
    nodes = NodeKernel(net.program, ("K", "Theta"), {}, None, "float64").measured(X)
    for exact, found in zip(kernel(X), nodes, strict=True):
        scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
        assert (abs(found.values - exact) < 5 * found.errors).all()
        assert (found.errors < 1e-2 * scale).all()


def test_finite_networks_have_this_kernel() -> None:
    net, X = tp.parse(SPEC.format(body=BODIES["maxout"]), L=2), data(2)
    seen = [kernels_of(net.simulate(X, width=512, seed=s)) for s in range(16)]
    for kind, exact in zip(("K", "Theta"), net.kernel("nngp", "ntk")(X), strict=True):
        of_seeds = np.array([one[kind] for one in seen])
        error = of_seeds.std(axis=0, ddof=1) / 4
        assert (abs(of_seeds.mean(axis=0) - exact) < 4 * error).all() and (error < 0.05 * exact.max()).all()


def test_maxout_of_independent_halves_has_the_arc_cosine_kernel() -> None:
    """max(u, v) = (u + v)/2 + |u − v|/2, and these are independent: K = c/2 + E|z||z'|/4 with Var z = 2.  Cho & Saul 2009."""
    text = """network maxout
  width n
  dim d = 3
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight A : [n, n] ~ N(0, 1/n)
  weight B : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h = U @ x
  output f = v @ max(A @ h, B @ h)
"""
    X = data(4)
    c = X @ X.T / 3
    r = np.sqrt(np.diag(c))
    angle = np.clip(c / np.outer(r, r), -1, 1)
    folded = np.outer(r, r) * 4 / np.pi * (np.sqrt(1 - angle**2) + angle * np.arcsin(angle))
    assert tp.parse(text).kernel("nngp")(X) == pytest.approx(c / 2 + folded / 4, rel=1e-6)


def test_maxout_has_closed_forms() -> None:
    limit = tp.parse(SPEC.format(body=BODIES["maxout"])).ntk().closed()
    assert not any(e.rhs.has(Expectation, sp.Max) for e in limit.equations)


def test_three_at_once_are_left_to_nodes() -> None:
    net = tp.parse(SPEC.format(body="max(max(A[l] @ h[l-1], B[l] @ h[l-1]), b[l])"))
    assert isinstance(net.kernel("nngp"), NodeKernel)


@pytest.mark.parametrize("body", ["A @ x + relu(A @ x)", "max(A @ x, B @ x)", "A @ x - 2*sin(A @ x + B @ x)"])
def test_a_product_beside_a_function_of_it_is_not_taken_apart(body: str) -> None:
    """Every entry is about vectors, none about columns of a weight that an input meets; and kernels are right."""
    head = "network t\n  width n\n  dim d = 3\n  input x : [d]\n  weight v : [n] ~ N(0, 1/n)\n"
    weights = "  weight A : [n, d] ~ N(0, 1/d)\n  weight B : [n, d] ~ N(0, 2/d)\n"
    net, X = tp.parse(f"{head}{weights}  output f = v @ ({body})\n"), data(3)
    limit = net.ntk()
    assert {e.name for eq in limit.equations for part in (eq.lhs, eq.rhs) for e in within(part, Ref)} <= {"f", "x", "u1", "u2"}
    nodes = NodeKernel(net.program, ("K", "Theta"), {}, None, "float64").measured(X)
    for exact, found in zip(net.kernel("nngp", "ntk")(X), nodes, strict=True):
        assert (abs(found.values - exact) < 5 * found.errors + 1e-12).all() and (found.errors < 1e-2 * exact.max()).all()
