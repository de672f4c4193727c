"""Finite networks against derived exponents: right ones pass, wrong ones are caught, and blamed alike."""

import json
from fractions import Fraction as F

import numpy as np
import pytest

import tp
from tests.scaling import specs
from tests.scaling.specs import mlp

WIDTHS = (128, 512)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("parametrization", ["mup", "ntp"])
def test_perceptron(parametrization, optimizer):
    net = tp.parse(mlp(2))
    check = net.coord_check(parametrization, optimizer, WIDTHS, seeds=6)
    assert check.agrees and check.passed == check.report.stable, check
    wide = [r for r in check.rows if r.quantity.startswith("h") and parametrization == "mup"]
    assert all(abs(r.slope - float(r.derived)) < 0.1 for r in wide)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    "text", [specs.RESIDUAL, specs.RNN, specs.LAYERNORM, specs.ZERO, specs.AUTOENCODER], ids=lambda t: t.split()[1]
)
def test_maximal_updates_of_other_networks(text, optimizer):
    net = tp.parse(text, **({"L": 3} if "let L" in text else {}))
    check = net.coord_check(net.mup(optimizer), optimizer, WIDTHS, seeds=3)
    assert check.passed, check


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_bottleneck_of_two_widths(optimizer):
    net = tp.parse(specs.BOTTLENECK.replace("tanh(z)", "sigmoid(z)"))
    growth = {"m": "1/2"}
    rules = net.mup(optimizer, growth=growth)
    check = net.coord_check(rules, optimizer, (128, 512, 1024), steps=1, seeds=2, growth=growth)
    assert check.agrees and not check.growing, check


@pytest.mark.parametrize(
    ("parametrization", "optimizer"),
    [("sp", "sgd"), ("sp", "adam"), ({"W1": (0, 0, 0), "W2": (0, "1/2", 1), "W3": (0, "1/2", 1)}, "adam")],
)
def test_a_wrong_parametrization_is_caught_twice(parametrization, optimizer):
    net = tp.parse(mlp(2))
    check = net.coord_check(parametrization, optimizer, WIDTHS, seeds=6, lr=0.03)
    derived = check.report.reasons[0]
    assert not check.passed and not check.report.stable
    assert check.blame == derived.quantity and check.culprit in derived.blame, check
    assert check.growing[0].agrees and check.growing[0].derived == derived.exponent


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 1.0), ("adam", 0.02)])
def test_attention(optimizer, lr):
    """The logits' change carries noise that falls with the width beside its Θ(1) part; at these widths it still counts."""
    net = tp.parse(specs.ATTENTION.format(let="", scale="1/n"))
    check = net.coord_check(net.mup(optimizer), optimizer, WIDTHS, steps=2, seeds=3, lr=lr)
    assert check.report.stable and not check.growing
    assert all(r.agrees for r in check.rows if r.step == 0 or not r.quantity.startswith("a[")), check


def test_an_output_that_is_identically_zero():
    rows = tp.parse(specs.ZERO).coord_check("mup", "sgd", (32, 64), steps=1, seeds=2).rows
    first = next(r for r in rows if r.quantity == "f")
    assert first.derived is None and first.slope == 0 and first.agrees


def test_table_plot_and_json(tmp_path):
    check = tp.parse(mlp(1)).coord_check("mup", "adam", (32, 64), steps=1, seeds=2)
    assert check.table().splitlines()[0].split("|")[1].strip() == "quantity"
    assert check.table("latex").startswith(r"\begin{tabular}") and "<table>" in check.table("html")
    data = json.loads(check.to_json())
    assert data["rows"][0]["quantity"] == "h1" and data["derivation"]["optimizer"] == "adam"
    check.plot(tmp_path / "slopes.png")
    assert (tmp_path / "slopes.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["momentum", "nesterov", "sign", "lion", "rmsprop", "adamw", "adafactor", "muon", "shampoo"])
def test_every_optimizer_moves_features_at_theta_one(name):
    check = tp.parse(mlp(2)).coord_check("mup", name, (32, 64, 128), steps=1, seeds=2, lr=0.05)
    moves = {r.quantity: r.slope for r in check.rows if r.step == 1}
    assert all(abs(s) < 0.25 for s in moves.values()), check
    assert check.report.feature_learning and check.report.r == F(0)


def test_inputs_are_checked():
    net = tp.parse(mlp(1))
    for bad in ({"widths": (64,)}, {"widths": (64, 128), "seeds": 0}, {"widths": (64, 128), "steps": 0}):
        with pytest.raises(tp.DataError):
            net.coord_check("mup", "sgd", **bad)
    X = np.ones((2, 3))
    assert net.coord_check("mup", "sgd", (16, 32), steps=1, seeds=1, inputs=X).rows
