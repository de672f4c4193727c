"""Exact rationals: against the published ones, the symbolic calculus and quadrature; and what is refused."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import tp
from tests.readings.specs import RUNS, network
from tp.limit.zcalculus.training import training_limit
from tp.readings.polynomials import Algebra, Exploded, add, constant

VALUES = json.loads((Path(__file__).parents[1] / "limit" / "zcalculus" / "data" / "training.json").read_text())
EXACT = {v["name"]: Fraction(v["exact"]) for v in VALUES}
X, Y = np.array([[1.0, 0.0], [0.5, 1.0]]), np.array([1.0, -1.0])


@pytest.mark.parametrize("name", sorted({key.split("_")[0] for key in EXACT}))
def test_published_rationals(name: str) -> None:
    layers, phi, rate, steps = RUNS[name]
    rows, targets = (X, Y) if name == "lin1" else (np.ones((1, 1)), np.ones(1))
    run = network(layers, phi, rows.shape[1]).train(rows, targets, steps=steps, lr=rate * len(rows))
    found = run.limit(method="exact")
    assert found.method == "exact" and found.errors.max() == 0
    for key, value in EXACT.items():
        run_name, step, *sample = key.split("_")
        if run_name == name:
            assert found.exact.outputs[int(step[1:]), int(sample[0][1:]) if sample else 0, 0] == value
    assert found.outputs == pytest.approx(found.exact.outputs.astype(float), abs=1e-15)


@pytest.mark.parametrize(
    ("layers", "phi", "steps", "settings"),
    [
        (1, "({h})^2", 1, {}),
        (1, "({h} + 1)^2", 1, {"momentum": 0.5}),
        (2, "({h} + ({h})^2/2)", 1, {"batches": [[1]]}),
        (2, "{h}", 3, {"momentum": 0.5, "decay": 0.1}),
    ],
)
def test_the_symbolic_calculus(layers: int, phi: str, steps: int, settings: dict[str, float]) -> None:
    run = network(layers, phi, 2).train(X, Y, steps=steps, lr=0.1, **settings)
    found, symbolic, f = run.limit(method="exact"), training_limit(run), run.training.output.name
    for t in range(steps + 1):
        for i in range(2):
            assert str(found.exact.outputs[t, i, 0]) == str(symbolic[f, t, i])


TIED = """network tied
  width n
  width m = 2*n
  dim d = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1), lr n
  weight W : [m, n] = 1 * N(0, 1/n)
  weight b : [m] = 1 * N(1, 1/4), lr n
  weight v : [n] = 1/n * N(0, 1), lr n
  h = U @ x
  y = W @ h + b
  output f = v @ (W.T @ y + h*h)
"""


def test_transposes_unequal_widths_and_means_on_sobol_points() -> None:
    run = tp.parse(TIED).train(X, Y, steps=1, lr=0.1)
    exact, sobol = run.limit(method="exact"), run.limit(method="sobol")
    assert exact.exact is not None
    assert np.abs(exact.outputs[1]).min() > 0.05
    assert (np.abs(exact.outputs - sobol.outputs) <= 6 * sobol.errors + 1e-6).all()
    assert (np.abs(exact.kernels - sobol.kernels) <= 6 * sobol.kernel_errors + 1e-6).all()


def test_auto_takes_rationals_where_they_are_cheap() -> None:
    assert network(1, "({h})^2", 2).train(X, Y, steps=1, lr=0.1).limit().exact is not None
    assert network(2, "({h})^3", 2).train(X, Y, steps=2, lr=1e-5).limit().method != "exact"


def test_what_explodes_is_refused_with_its_cost() -> None:
    with pytest.raises(tp.LimitError, match=r"more than [\d,]+ products.*\n.*fewer steps"):
        network(2, "({h})^3", 2).train(X, Y, steps=3, lr=0.01).limit(method="exact")
    with pytest.raises(tp.LimitError, match="no polynomial"):
        network(1, "tanh({h})", 2).train(X, Y, steps=1, lr=0.1).limit(method="exact")
    with pytest.raises(tp.LimitError, match="no polynomial"):
        network(1, "({h})^2", 2).train(X, Y, steps=1, lr=0.1, loss="logistic").limit(method="exact")
    linear = network(2, "{h}", 2).train(X, Y, steps=12, lr=0.1).limit(method="exact")  # in floating point instead
    assert linear.exact is None and linear.method == "exact"


def test_print() -> None:
    found = network(1, "{h}", 2).train(X, Y, steps=2, lr=0.5).limit(method="exact")
    assert "8117/16384" in str(found)
    assert r"\tfrac{1}{4}" in found.latex() and found.latex().count(r"\\") == 4
    assert json.loads(found.to_json())["exact"][1] == [["1/4"], [str(found.exact.outputs[1, 1, 0])]]
    numeric = network(1, "tanh({h})", 2).train(X, Y, steps=1, lr=0.5).limit()
    assert r"\pm" in numeric.latex() and "exact" not in json.loads(numeric.to_json())


def test_wick() -> None:
    algebra = Algebra(1000)
    x, y = algebra.letter(Fraction(2)), algebra.letter(Fraction(1, 3))
    square = algebra.product(x, x)
    assert algebra.mean(square, square) == 3 * 2**2
    assert algebra.mean(algebra.product(square, y), y) == Fraction(2, 3)
    assert algebra.mean(x, y) == 0
    assert add(x, x, Fraction(-1)) == {}
    assert constant(Fraction(0)) == {}
    with pytest.raises(Exploded):
        Algebra(3).product(add(x, y), add(x, y))
