"""Updates formed in blocks from outer products, against textbook optimizers on dense gradients."""

import numpy as np
import pytest

import tp
from tp.readings.gradient import pullback
from tp.readings.scale.optimizers import OPTIMIZERS, optimizer
from tp.readings.simulate import replay, simulate
from tp.readings.updates import BETA, BETA2, LION, MOMENTUM, trained
from tp.transform.parametrize import ABC, parametrize

TEXT = """network tied
  width n
  dim d = 3
  input x : [d]
  weight U : [n, d] = 2 * N(0, 1/d), lr 3
  weight W : [n, n] = n^(1/2) * N(0, n^(-2)), lr 1/2
  weight b : [n] = 1 * N(0, 0)
  weight F : [n, n] ~ N(0, 1/n), frozen
  weight v : [n] ~ N(0, 1/n)
  h = U @ x + b
  y = W @ tanh(h) + F @ h
  output f = v @ (W.T @ tanh(y))
"""


def dense(name, spectral, state, step, g):
    """What an optimizer makes of a dense gradient; ``state`` is a dict of its own."""
    matrix = g.ndim == 2 and g.shape[0] > 1
    if name == "sgd":
        return g
    if name in ("momentum", "nesterov"):
        state["m"] = MOMENTUM * state.get("m", 0) + g
        return state["m"] if name == "momentum" else g + MOMENTUM * state["m"]
    if name == "sign":
        return np.sign(g)
    if name == "lion":
        m = state.get("m", 0 * g)
        state["m"] = LION * m + (1 - LION) * g
        return np.sign(BETA * m + (1 - BETA) * g)
    if spectral and matrix:
        u, s, v = np.linalg.svd(g)
        kept = s > 1e-7 * s[0]
        return u[:, kept] @ v[kept]
    if name == "adafactor" and matrix:
        return g / np.sqrt(np.outer((g**2).mean(axis=1), (g**2).mean(axis=0)) / (g**2).mean())
    beta = 0.0 if name == "rmsprop" else BETA
    state["m"] = beta * state.get("m", 0) + (1 - beta) * g
    state["v"] = BETA2 * state.get("v", 0) + (1 - BETA2) * g**2
    return state["m"] / (1 - beta**step) / (np.sqrt(state["v"] / (1 - BETA2**step)) + 1e-60)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_blocks_of_outer_products_are_the_dense_update(name, monkeypatch):
    monkeypatch.setattr("tp.readings.updates.BLOCK", 64)  # many blocks even at this width
    opt, program = optimizer(name), tp.parse(TEXT).program
    data = {"x": np.random.default_rng(0).normal(size=(4, 3))}
    targets = {("f",): np.array([1.0, -1.0, 2.0, 0.5])}
    plain = simulate(program, data, 20, seed=1)
    states = {key: {} for key in plain.weights}
    expected = []
    for step in range(1, 4):
        gradient = pullback(plain, {k: (plain[k] - y) / 4 for k, y in targets.items()})
        changed = {}
        for key, drawn in plain.weights.items():
            if drawn.weight.frozen:
                continue
            g = gradient[key].sum(axis=0)
            rate = 0.05 * drawn.rate * drawn.multiplier**opt.degree
            changed[key] = plain[key] - rate * dense(name, opt.normalised == "spectral", states[key], step, g)
        plain = replay(plain, changed)
        expected.append(plain["f"])
    for now, f in zip(list(trained(simulate(program, data, 20, seed=1), opt, targets, 0.05, 3))[1:], expected, strict=True):
        np.testing.assert_allclose(now["f"], f, rtol=1e-7)
    assert np.ptp(expected[-1] - expected[0]) > 1e-3


def test_what_is_computed_stays_when_the_weights_move_on():
    run = simulate(tp.parse(TEXT).program, {"x": np.ones((1, 3))}, 16, seed=0)
    before, weight = run["y"].copy(), run["W"].copy()
    *_, last = trained(run, optimizer("sgd"), {("f",): np.ones(1)}, 0.1, 2)
    assert (run["y"] == before).all() and not (last["y"] == before).any()
    assert not (run["W"] == weight).all()  # updated in place


def test_replay_computes_only_what_depends_on_a_change():
    run = simulate(tp.parse(TEXT).program, {"x": np.ones((2, 3))}, 16, seed=0)
    again = replay(run, {("v",): 2 * run["v"]})
    assert again.values["y",] is run.values["y",]
    np.testing.assert_allclose(again["f"], 2 * run["f"])
    whole = simulate(tp.parse(TEXT).program, {"x": np.ones((2, 3))}, 16, seed=0)
    changed = {("W",): np.eye(16)}
    np.testing.assert_array_equal(replay(whole, changed)["f"], replay(again, changed | {("v",): run["v"]})["f"])


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "sign", "adafactor", "muon"])
def test_gauges_are_the_same_network_in_training(name):
    """(a, b, c) → (a + θ, b - θ, c - 2θ), or c - θ for normalised updates: the same run, exactly (Tensor Programs IV, 3.2)."""
    net, opt = tp.zoo("mlp", L=2), optimizer(name)
    data, outputs = {"x": np.random.default_rng(0).normal(size=(2, 10))}, []
    for gauge in ("table3", "table8", "table9"):
        rules = {p: ABC(r.a, r.b, r.c) for p, r in net.mup(name, gauge).rules.items()}
        run = simulate(parametrize(net.program, rules), data, 32, seed=0, constants={})
        outputs.append([now["f"] for now in trained(run, opt, {("f",): np.ones(2)}, 0.1, 3)])
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], rtol=1e-8)
