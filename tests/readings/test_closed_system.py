"""Linear programs in the space of their letters: against rationals, Sobol points and finite widths."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import tp
from tp.program.ir import Ref
from tp.readings.degrees import degrees, is_linear

X, Y = np.array([[1.0, 0.0], [0.5, 1.0]]), np.array([1.0, -1.0])
HEAD = """\
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1), lr n
  weight v : [n] = 1/n * N(0, 1), lr n
"""
DEEP = f"""network deep
{HEAD}  let L = 3
  weight W[l] : [n, n] = 1 * N(0, 1/n) for l in 2..L
  h[1] = U @ x
  h[l] = W[l] @ h[l-1] for l in 2..L
  output f = v @ h[L]
"""
TIED = f"""network tied
{HEAD}  let T = 3
  weight W : [n, n] = 1 * N(0, 3/(4*n))
  h[1] = U @ x
  h[t] = h[t-1]/2 + W @ h[t-1] for t in 2..T
  output f = v @ h[T]
"""
TRANSPOSED = f"""network transposed
{HEAD}  width m = 2*n
  weight W : [m, n] = 1 * N(0, 1/n)
  weight b : [m] = 1 * N(0, 0), lr n
  h = U @ x
  y = W @ h + b
  output f = v @ (W.T @ y)
"""
SPECS = {"deep": DEEP, "tied": TIED, "transposed": TRANSPOSED}


@pytest.mark.parametrize(("layers", "steps"), [(2, 4), (3, 3)])
def test_rationals(layers: int, steps: int) -> None:
    run = tp.parse(DEEP, L=layers).train(X, Y, steps=steps, lr=0.25)
    found, exact = run.limit(), run.limit(method="exact").exact
    assert found.method == "exact" and found.exact is None and exact is not None
    for name in ("outputs", "losses", "kernels"):
        assert getattr(found, name) == pytest.approx(getattr(exact, name).astype(float), abs=1e-12)


def test_what_lies_beyond_a_boundary_is_zero() -> None:
    text = f"""network conv
{HEAD.replace("x :", "x[p] :")}  index p in 1..2 boundary zero
  weight A[k] : [n, n] ~ N(0, 1/n) for k in -1..1
  h[p] = U @ x[p]
  g[p] = sum(A[k] @ h[p+k] for k in -1..1)
  output f = v @ mean(g[p] for p)
"""
    run = tp.parse(text).train(X[None], [1.0], steps=2, lr=0.25)
    found, exact = run.limit(), run.limit(method="exact").exact
    assert found.exact is None and exact is not None
    assert found.outputs == pytest.approx(exact.outputs.astype(float), abs=1e-12)


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.6}, {"decay": 0.1, "loss": "logistic"}])
@pytest.mark.parametrize("name", SPECS)
def test_sobol_points(name: str, settings: dict[str, float]) -> None:
    run = tp.parse(SPECS[name]).train(X, Y, steps=3, lr=0.2, batches=[[0, 1], [1], [0]], **settings)
    exact, sobol = run.limit(method="exact"), run.limit(method="sobol")
    assert exact.errors.max() == 0
    assert np.abs(exact.outputs[-1] - exact.outputs[0]).min() > 0.01
    assert np.abs(exact.outputs - sobol.outputs).max() < 5e-3
    assert np.abs(exact.kernels - sobol.kernels).max() < 3e-2


def test_finite_widths_approach_long_training() -> None:
    run = tp.parse(DEEP, L=2).train(X, Y, steps=12, lr=0.2)
    limit = run.limit()
    coarse, fine = (np.abs(run.simulate(n, seeds=6).outputs - limit.outputs).max() for n in (64, 1024))
    assert fine < 0.6 * coarse  # theory: 0.25
    assert fine < 0.1


def test_one_hidden_layer_is_the_finite_network() -> None:
    """Two ways that share no code: the letters, and the network of width d + k."""
    run = tp.zoo("linear_mup", d=2).train(X, Y, steps=6, lr=0.3, momentum=0.5)
    as_letters = tp.parse(DEEP, L=1).train(X, Y, steps=6, lr=0.3, momentum=0.5)
    from tp.readings import feature_limit

    found = feature_limit.limit(as_letters.leading, as_letters._numbers(), as_letters._wanted(), "exact")
    f = as_letters.training.output.name
    outputs = [[found.values[f, t, i] for i in range(2)] for t in range(7)]
    assert run.limit().outputs[..., 0] == pytest.approx(np.array(outputs), abs=1e-12)


def test_what_is_linear() -> None:
    run = tp.zoo("mup_mlp", d=2).train(X, Y, steps=1, lr=0.1)
    assert not is_linear(run.leading)
    with pytest.raises(tp.LimitError, match="no polynomial"):
        run.limit(method="exact")
    shifted = tp.parse(DEEP.replace("h[1] = U @ x", "h[1] = U @ x + 1")).train(X, Y, steps=1, lr=0.1)
    assert not is_linear(shifted.leading)


def test_what_is_too_large_or_diverges_is_refused() -> None:
    rng = np.random.default_rng(0)
    run = tp.parse(DEEP, d=40).train(rng.normal(size=(30, 40)), rng.normal(size=30), steps=2, lr=0.1)
    with pytest.raises(tp.LimitError, match="GiB"):
        run.limit(memory=1000)
    assert run.limit().details["letters"] > 64
    with pytest.raises(tp.LimitError, match="not finite at step"):
        tp.parse(DEEP).train(X, Y, steps=30, lr=20.0).limit()


def test_long_training_stays_exact() -> None:
    """Against the same training in turned coordinates, whose arithmetic differs."""
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(4, 4)) / 2, rng.normal(size=4)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    one, two = (tp.parse(DEEP, d=4, L=2).train(X, y, steps=60, lr=0.1).limit() for X in (rows, rows @ turn))
    assert one.losses[-1] < 0.1 * one.losses[0]
    assert one.outputs == pytest.approx(two.outputs, abs=1e-11)
    assert one.details["letters"] < 100


def test_several_outputs_and_cross_entropy() -> None:
    spec = DEEP.replace("weight v : [n]", "dim k = 3\n  weight v : [k, n]")
    run = tp.parse(spec, L=2).train(X, np.array([[1.0, 0, 0], [0, 0.5, 0.5]]), steps=2, lr=0.5, loss="xent")
    exact, sobol = run.limit(method="exact"), run.limit(method="sobol")
    assert np.abs(exact.outputs - sobol.outputs).max() < 5e-3 < np.abs(exact.outputs[-1]).max()
    assert np.abs(exact.losses - sobol.losses).max() < 5e-3


def test_degrees() -> None:
    x, y, s, k = Ref("x"), Ref("y"), Ref("s"), sp.Symbol("k")
    assert degrees(s * x + 2 * y, ["x", "y"]) == {1}
    assert degrees((x + s) * y**2, ["x", "y"]) == {2, 3}
    assert degrees(sp.Sum(s * x * y, (k, 0, 3)), ["x", "y"]) == {2}
    assert degrees(sp.tanh(x), ["x"]) is None
    assert degrees(1 / x, ["x"]) is None
    assert degrees(sp.tanh(s), ["x"]) == {0}
