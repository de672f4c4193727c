"""Compiled passes over tables of nodes: what NumPy gives, to rounding; and rows that serve one vector at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from tests.readings.specs import mlp
from tp.gaussian import branchless
from tp.readings import passes
from tp.readings.evaluate import Evaluation, executed, prepared
from tp.readings.fused import shaped
from tp.readings.rows import _ends, _made
from tp.readings.sobol import MUCH, Sobol
from tp.readings.steps import Vectors

EXACT = {
    "exp": np.exp,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "silu": lambda x: x * special.expit(x),
    "erf": special.erf,
    "normal_cdf": special.ndtr,
    "normal_pdf": lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "gelu": lambda x: x * special.ndtr(x),
}


@pytest.mark.parametrize("name", EXACT)
def test_functions_without_branches_have_the_values_of_the_library(name: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([np.linspace(-30, 30, 1201), rng.normal(size=500) * 10 ** rng.uniform(-12, 1, 500), [0.0, -0.0]])
    values, exact = np.array([getattr(branchless, name)(z) for z in x]), EXACT[name](x)
    assert (np.abs(values - exact) <= 6e-16 * np.maximum(1, np.abs(exact))).all()
    assert math.isnan(getattr(branchless, name)(math.nan))
    if name not in ("silu", "gelu"):  # ∞ · 0
        far = [getattr(branchless, name)(z) for z in (-800.0, 800.0, math.inf)]
        with np.errstate(over="ignore"):
            assert np.array_equal(far, EXACT[name](np.array([-800.0, 800.0, math.inf])))


@pytest.mark.parametrize(("outputs", "sources"), [(1, 1), (5, 19), (13, 8)])
def test_passes_are_products(outputs: int, sources: int) -> None:
    rng = np.random.default_rng(outputs)
    table, count = rng.normal(size=(40, 1500)), 1431
    before, places = table.copy(), rng.permutation(40)
    out, rows = places[:outputs], places[outputs : outputs + sources]
    weights = rng.normal(size=(outputs, sources))
    wanted = weights @ before[rows, :count]
    passes.combine(table, weights, rows, out, count, True)
    assert np.allclose(table[out, :count], wanted, rtol=0, atol=1e-13)
    passes.combine(table, weights, rows, out, count, False)
    assert np.allclose(table[out, :count], 2 * wanted, rtol=0, atol=1e-13)
    untouched = np.setdiff1d(np.arange(40), out)
    assert np.array_equal(table[untouched], before[untouched]) and np.array_equal(table[out, count:], before[out, count:])
    assert np.allclose(passes.inner(before, out, rows, count), before[out, :count] @ before[rows, :count].T, rtol=0, atol=1e-11)


def planned(activation: str, steps: int = 3) -> tuple[Evaluation, list]:
    X = np.random.default_rng(1).standard_normal((3, 2))
    run = mlp(activation, L=2).train(X, [1.0, -1.0, 0.5], steps=steps, lr=0.3)
    return prepared(run.leading, run._numbers(), run._wanted()), run._wanted()


@pytest.mark.parametrize("activation", ["tanh", "sin"])
def test_compiled_runs_are_those_of_numpy_to_rounding(activation: str) -> None:
    plan, wanted = planned(activation)
    runs = [executed(plan, Sobol(8, np.random.default_rng(5), fast, plan.shapes)) for fast in (False, True)]
    plain, compiled = (np.array([run[key] for key in wanted]) for run in runs)
    assert np.abs(plain).max() > 0.1
    assert np.abs(plain - compiled).max() < 1e-12
    left = {id(tape) for step in plan.steps if isinstance(step, Vectors) for tape in step.tapes if shaped(tape) is None}
    assert bool(left) == (activation == "sin")  # which stays with NumPy


def test_small_tables_are_left_to_numpy() -> None:
    plan, _ = planned("tanh", 1)
    nodes = Sobol(8, np.random.default_rng(5))
    nodes.begin(plan.layout)
    assert not nodes.fast
    assert nodes.table.size < MUCH


def test_a_row_has_one_owner_at_a_time() -> None:
    plan, _ = planned("tanh", 6)
    ends, rows = _ends(plan.steps), plan.layout.rows
    owner: dict[int, tuple] = {}
    for n, step in enumerate(plan.steps):
        for member in _made(step):
            before = owner.get(rows[member.out])
            assert before is None or ends.get(before, 0) < n
            owner[rows[member.out]] = member.out
    assert plan.layout.height < 0.8 * (len(plan.plan.group))
    assert len({rows[key] for key in plan.layout.innovations}) == len(plan.layout.innovations)
