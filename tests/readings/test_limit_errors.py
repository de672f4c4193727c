"""Errors of numeric limits cover the truth; tolerances are met or refused; memory is what it is said to be."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

import tp
from tests.readings.specs import SIGNS, VALUES, mlp
from tp.readings.evaluate import executed, prepared
from tp.readings.forecast import forecast
from tp.readings.nodes import Grid
from tp.readings.scramblings import MANY, bytes_needed
from tp.readings.sobol import Sobol

BACK = """network back
  width n
  weight x : [n] ~ N(0, {vx})
  weight W : [n, n] ~ N(0, {vw}/n)
  y = W.T @ {act}({a}*(W @ x))
  output f = avg(x*y)
  output g = avg(y*y)
"""
Scalar = Callable[[float], float]
FUNCTIONS: dict[str, tuple[Callable[[float, float], float], Callable[[float, float], float]]] = {
    "tanh": (lambda z, a: math.tanh(a * z), lambda z, a: a / math.cosh(min(abs(a * z), 300)) ** 2),
    "erf": (lambda z, a: math.erf(a * z), lambda z, a: 2 * a / math.sqrt(math.pi) * math.exp(-min((a * z) ** 2, 700))),
    "sin": (lambda z, a: math.sin(a * z), lambda z, a: a * math.cos(a * z)),
    "sigmoid": (lambda z, a: 0.5 + 0.5 * math.tanh(a * z / 2), lambda z, a: a / 4 / math.cosh(min(abs(a * z) / 2, 300)) ** 2),
    "relu": (lambda z, a: max(a * z, 0.0), lambda z, a: a * (z > 0)),
    "abs": (lambda z, a: abs(a * z), lambda z, a: math.copysign(a, z)),
}


def expectation(f: Scalar) -> float:
    """E f(z), z standard normal, by adaptive quadrature between points that crowd at 0."""
    ends = [-12, -6, -3, -1, -0.3, -0.1, -0.03, -0.01, 0, 0.01, 0.03, 0.1, 0.3, 1, 3, 6, 12]
    total = sum(quad(lambda z: f(z) * math.exp(-z * z / 2), a, b, epsabs=1e-14, limit=200)[0] for a, b in pairwise(ends))
    return total / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("act", FUNCTIONS)
@pytest.mark.parametrize("a", [1, 3, 10])
@pytest.mark.parametrize(("vx", "vw"), [(1, 1), (4, 2)])
def test_errors_cover_the_truth(act: str, a: int, vx: int, vw: int) -> None:
    """E x Wᵀφ(aWx) = v_W v_x E φ′ and E y² = v_W E φ² + v_W² v_x (E φ′)²: steep functions, kinks, large variances."""
    value, slope = FUNCTIONS[act]
    s = math.sqrt(vx * vw)
    mean = expectation(lambda z: slope(s * z, a))
    truth = {"f": vw * vx * mean, "g": vw * expectation(lambda z: value(s * z, a) ** 2) + vw**2 * vx * mean**2}
    found = tp.parse(BACK.format(vx=vx, vw=vw, act=act, a=a)).moments()
    assert found.method == ("sobol" if act in ("relu", "abs") else "grid")
    for name, exact in truth.items():
        allowed = (4 if found.method == "sobol" else 1) * found.errors[name].item()
        rounding = 1e-15 * a * vx * vw  # of the integral, where the limit is 0 exactly
        assert abs(found[name].item() - exact) <= allowed + rounding
        assert allowed < 3e-6 or found.method == "sobol"


def test_standard_errors_are_standard() -> None:
    """Over independent seeds, differences from the exact value have the size that is reported."""
    net = tp.parse(BACK.format(vx=1, vw=1, act="relu", a=1))
    found = [net.moments(seed=seed) for seed in range(12)]
    scores = np.array([(f["f"].item() - 0.5) / f.errors["f"].item() for f in found])
    assert 0.5 < np.sqrt(np.mean(scores**2)) < 2.0


def test_rationals_grid_and_sobol_agree_within_their_errors() -> None:
    net = tp.parse(str(mlp("")).replace("output f = V @ (h[L])", "output f = V @ (h[L]^2)"), L=2, d=1)
    run = net.train([[1.0]], [1.0], steps=2, lr=0.05)
    exact, grid, sobol = (run.limit(method) for method in ("exact", "grid", "sobol"))
    assert exact.errors.max() == 0
    assert (np.abs(grid.outputs - exact.outputs) <= grid.errors + 1e-12).all()
    assert (np.abs(sobol.outputs - exact.outputs) <= 5 * sobol.errors + 1e-12).all()


def test_a_tolerance_is_met_or_refused() -> None:
    run = mlp("tanh", L=2, d=1).train([[1.0]], [1.0], steps=3, lr=0.5)
    best = run.limit("grid")
    for tol in (3e-3, 2e-4):
        found = run.limit("sobol", tol=tol)
        assert 2 * max(found.errors.max(), found.loss_errors.max()) <= tol
        assert np.abs(found.outputs - best.outputs).max() <= 2 * tol
    little = bytes_needed(prepared(run.leading, run._numbers(), run._wanted()), 11)
    first = run.limit("sobol", memory=little)
    assert first.kernel_errors is not None
    largest = 2 * max(first.errors.max(), first.loss_errors.max(), first.kernel_errors.max())
    more = run.limit("sobol", tol=largest / 1.6, memory=little)
    assert more.details["nodes"] == 2**11
    assert 8 < more.details["scramblings"] <= MANY
    with pytest.raises(tp.LimitError, match=r"is the error that .* of memory reach, not 1.0e-06"):
        run.limit("sobol", tol=1e-6, memory=little)
    with pytest.raises(tp.LimitError, match="bytes"):
        run.limit("sobol", memory=1000)


@pytest.mark.parametrize(("layers", "batch", "steps"), [(2, 2, 4), (3, 4, 3)])
def test_memory_is_bounded_by_the_stated_formula(layers: int, batch: int, steps: int) -> None:
    X = np.random.default_rng(0).standard_normal((batch, 2))
    run = mlp("tanh", L=layers).train(X, np.ones(batch), steps=steps, lr=0.3)
    plan = prepared(run.leading, run._numbers(), run._wanted())
    executed(plan, Sobol(4, np.random.default_rng(0)))
    tracemalloc.start()
    try:
        executed(plan, Sobol(14, np.random.default_rng(0)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.4 * bytes_needed(plan, 14) < peak < bytes_needed(plan, 14) + 2**21  # what does not grow with the nodes


def test_steps_are_linear_in_time_and_do_not_depend_on_the_batch() -> None:
    def count(batch: int, steps: int) -> int:
        run = mlp("tanh", L=2).train(np.eye(2)[np.arange(batch) % 2] + 0.1, np.ones(batch), steps=steps, lr=0.1)
        return len(prepared(run.leading, run._numbers(), run._wanted()).steps)

    assert count(2, 9) - count(2, 6) == count(2, 6) - count(2, 3)
    assert count(4, 6) == count(2, 6)


def test_a_grid_that_is_too_large_is_refused() -> None:
    run = mlp("tanh", L=2, d=1).train([[1.0]], [1.0], steps=3, lr=0.5)
    plan = prepared(run.leading, run._numbers(), run._wanted())
    with pytest.raises(tp.LimitError, match="more than"):
        executed(plan, Grid(1e-6, limit=1000))
    with pytest.raises(tp.LimitError, match="GiB"):
        executed(plan, Grid(1e-6, memory=10_000))


@pytest.mark.parametrize(("batch", "steps", "eps"), [(1, 3, 1e-5), (2, 1, 1e-4)])
def test_the_memory_of_a_grid_is_known_before_it_is_made(batch: int, steps: int, eps: float) -> None:
    run = mlp("tanh", L=2, d=batch).train(np.eye(batch), np.ones(batch), steps=steps, lr=0.5)
    plan = prepared(run.leading, run._numbers(), run._wanted())
    ahead = forecast(plan)
    assert ahead is not None
    needed = ahead.bytes(eps, 0.8)
    executed(plan, Grid(eps, memory=int(1.3 * needed)))
    with pytest.raises(tp.LimitError, match="GiB"):
        executed(plan, Grid(eps, memory=needed // 2))


def test_a_grid_that_would_not_fit_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    run = mlp("tanh", L=2).train([[1.0, 0.5], [0.2, -1.0], [0.3, 0.4]], [1.0, -1.0, 0.5], steps=3, lr=0.5)
    monkeypatch.setattr(Grid, "begin", lambda *_: pytest.fail("begun"))
    with pytest.raises(tp.LimitError, match=r"needs .* GiB .* more than 4\b") as error:
        run.limit("grid")
    assert "--method sobol" in error.value.text(command=True)


def test_adam_with_a_tiny_epsilon_is_sign_descent_at_first() -> None:
    run = tp.parse(SIGNS, L=1, d=1).train([[1.0]], [1.0], steps=1, lr=0.3, optimizer="adam", eps=1e-9)
    found = run.limit()
    assert abs(found.outputs[1, 0, 0] - VALUES["sign_tanh1_f1"]) <= 4 * found.errors[1, 0, 0]
    assert found.errors.max() < 1e-4


def test_moving_kinks_of_one_hidden_layer() -> None:
    """relu, trained: the first step is exact, E relu(u)² = 1/2 and so f = 3/4 η y … by Sobol points, within their errors."""
    run = mlp("relu", L=1, d=1).train([[1.0]], [1.0], steps=2, lr=0.5)
    found = run.limit()
    assert found.method == "sobol"
    wanted = np.array([VALUES["relu1_f1"], VALUES["relu1_f2"]])
    assert (np.abs(found.outputs[1:, 0, 0] - wanted) <= 4 * found.errors[1:, 0, 0]).all()


@pytest.mark.parametrize(("phi", "optimizer"), [("relu(U @ x)", "sgd"), ("abs(U @ x)", "sgd"), ("tanh(U @ x)", "adam")])
def test_a_grid_is_refused_where_something_is_not_smooth(phi: str, optimizer: str) -> None:
    rate = "lr n" if optimizer == "sgd" else "lr 1"
    text = f"""network kinked
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1), {rate}
  weight v : [n] = 1/n * N(0, 1), {rate}
  output f = v @ {phi}
"""
    run = tp.parse(text).train(np.array([[1.0, 0.5]]), [1.0], steps=2, lr=0.1, optimizer=optimizer)
    with pytest.raises(tp.LimitError, match=r"not smooth.*\n.*sobol"):
        run.limit(method="grid")


def test_one_width_is_no_convergence() -> None:
    with pytest.raises(tp.DataError, match="width"):
        tp.zoo("mlp").verify(widths=(16,))
