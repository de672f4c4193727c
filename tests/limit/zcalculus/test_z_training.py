"""Training runs of linear and polynomial networks: their limits are exact rationals."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import sympy as sp

import tp
from tests.readings.specs import RUNS, network
from tp.gaussian.expectation import Expectation
from tp.limit.zcalculus import ZLimit
from tp.limit.zcalculus.training import training_limit

EXACT = {v["name"]: sp.Rational(v["exact"]) for v in json.loads((Path(__file__).parent / "data" / "training.json").read_text())}


@cache
def trained(name: str) -> tuple[ZLimit, str]:
    layers, phi, rate, steps = RUNS[name]
    X, y = ([[1.0, 0.0], [0.5, 1.0]], [1.0, -1.0]) if name == "lin1" else ([[1.0]], [1.0])
    lr = rate * len(y)  # the loss is a mean over the batch, the reference's a sum
    run = network(layers, phi, len(X[0])).train(X, y, steps=steps, lr=lr)
    return training_limit(run), run.training.output.name


@pytest.mark.parametrize("name", EXACT)
def test_outputs_are_the_reference_rationals(name: str) -> None:
    run, step, *sample = name.split("_")
    limit, f = trained(run)
    assert limit[f, int(step[1:]), int(sample[0][1:]) if sample else 0] == EXACT[name]


def test_a_network_that_is_no_polynomial_keeps_its_integrals() -> None:
    run = network(1, "tanh({h})", 1).train([[1.0]], [1.0], steps=2, lr=0.5)
    limit = training_limit(run)
    assert any(line.rhs.has(Expectation) for line in limit.lines)
    f = run.training.output.name
    assert limit.value(f, 1, 0) == pytest.approx(0.401021035336, abs=1e-9)
    assert limit.value(f, 2, 0) == pytest.approx(0.614278920191, abs=1e-9)


@pytest.mark.parametrize("steps", [-1, 3, 1.0])
def test_steps_that_the_run_has_not(steps: object) -> None:
    run = network(1, "tanh({h})", 1).train([[1.0]], [1.0], steps=2, lr=0.5)
    with pytest.raises(tp.DataError, match="the run has 2"):
        run.z(steps)  # type: ignore[arg-type]
    assert run.z(0).lines


MIRRORED = """network mirrored
  width n
  dim d = 1
  input x : [d]
  frozen weight U : [n, d] ~ N(0, 1)
  weight W : [n, n] ~ N(0, 1/n), lr 1/n
  weight v : [n] = {readout}
  h = W @ erf(U @ x)
  output f = v @ erf(h)
"""


def test_products_of_a_sample_and_its_mirror_image_are_one() -> None:
    """erf′ is even: the gradients at x and -x are multiples of each other, and their covariance has no inverse."""
    run = tp.parse(MIRRORED.format(readout="1/n * N(0, 1)")).train([[1.0], [-1.0]], [0.6, 0.1], steps=1, lr=0.1, optimizer="sign")
    limit, z = run.limit(tol=3e-3), run.z(1)
    f = run.training.output.name
    assert z.value(f, 1, 0) == pytest.approx(limit.outputs[1, 0, 0], abs=5 * limit.errors.max())
    assert abs(limit.outputs[1, 0, 0]) > 0.02


def test_a_readout_that_starts_at_zero() -> None:
    text = MIRRORED.format(readout="1 * N(0, 0), lr 1/n").replace("erf", "identity")
    run = tp.parse(text).train([[1.0]], [1.0], steps=2, lr=0.25)
    f, exact = run.training.output.name, run.limit().outputs
    assert [run.z(2).value(f, t, 0) for t in (1, 2)] == pytest.approx(exact[1:, 0, 0].tolist())
    assert exact[1, 0, 0] != 0
