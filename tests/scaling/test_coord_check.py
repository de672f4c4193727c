"""Finite networks against derived exponents: right ones pass, wrong ones are caught, and blamed alike."""

import json
from fractions import Fraction as F

import numpy as np
import pytest

import tp
from tests.scaling import specs
from tests.scaling.specs import mlp
from tp.readings.coord_check import experiment, rules_of
from tp.readings.scale.optimizers import optimizer

WIDTHS = (128, 512)
FROZEN = specs.ATTENTION.replace("weight E : [n, d] ~ N(0, 1/d)", "weight E : [n, d] ~ N(0, 1/d), frozen")
CONSTRUCTS = {
    "mlp": mlp(3),
    "residual": specs.RESIDUAL,
    "rnn": specs.RNN,
    "layernorm": specs.LAYERNORM,
    "attention": FROZEN.format(let="", scale="1/n"),
    "zero": specs.ZERO,
    "autoencoder": specs.AUTOENCODER,
    "biases": specs.BIASES,
}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", CONSTRUCTS)
def test_maximal_updates(name, optimizer):
    """All settings by the rule of ``coord_check``; benchmarks/coord_checks.py does the same up to width 4096."""
    net = tp.parse(CONSTRUCTS[name], **({"L": 3} if name == "residual" else {}))
    check = net.coord_check(parametrization=net.mup(optimizer), widths=WIDTHS, steps=2, seeds=4, budget=0)
    assert check.passed and check.report.optimizer == optimizer, check
    off = [abs(r.slope - float(r.derived)) for r in check.rows if r.derived is not None]
    assert np.median(off) < 0.06 and max(off) < 0.3, check  # two widths and few seeds leave much undecided


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_bottleneck_of_two_widths(optimizer):
    """The spectral condition's rates; with tanh, SGD does not leave the small values behind, and nothing is Θ(1) that changes."""
    net, growth = tp.parse(specs.BOTTLENECK), {"m": "1/2"}
    rates = {"sgd": (-1, "1/2", "-1/2", 1), "adam": (0, 1, "1/2", 1)}[optimizer]
    rules = {p: (0, b, c) for p, b, c in zip("UDPv", (0, "3/4", "1/4", 1), rates, strict=True)}
    check = net.coord_check(optimizer, rules, (128, 512, 2048), steps=2, seeds=4, growth=growth, budget=0)
    assert check.agrees and not check.growing, check
    assert check.report.nontrivial == (optimizer == "adam")


def test_an_exponent_is_known_where_widths_and_seeds_suffice():
    net = tp.parse(mlp(2))
    check = net.coord_check("adam", net.mup("adam"), (128, 256, 512, 1024), steps=2, seeds=4, budget=0)
    assert check.passed and sum(r.verdict == "confirmed" for r in check.rows) >= len(check.rows) - 1, check


def test_kernel_regime_and_its_features_that_fall():
    check = tp.parse(mlp(2)).coord_check("sgd", "ntp", WIDTHS, seeds=4, budget=0)
    assert check.passed and check.report.kernel_regime, check
    falls = {r.quantity: r.slope for r in check.rows if r.step == 2}
    assert falls["h1"] < -0.3 and falls["h2"] < -0.3 and abs(falls["f"]) < 0.15


def test_second_order_overtakes():
    """Attention logits under SGD: n^(-1/2) at first order in the rate, n^0 at second; the derivation says n^(-1/2), then n^0."""
    net = tp.parse(CONSTRUCTS["attention"])
    rows = net.coord_check("sgd", net.mup("sgd"), WIDTHS, steps=2, seeds=4, budget=0).rows
    first, second = (next(r for r in rows if r.quantity.startswith("a[") and r.step == t) for t in (1, 2))
    assert (first.derived, second.derived) == (F(-1, 2), 0)
    assert (first.part, second.part) == ("odd", "even") and first.agrees and second.agrees


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_whole_transformer(optimizer):
    """Embedding, positions, causal attention, feed-forward, gains and biases, tied read-out."""
    net = tp.zoo("transformer", L=1, T=3)
    check = net.coord_check(optimizer, net.mup(optimizer), (64, 128), steps=2, seeds=1, budget=0)
    off = {r.quantity for r in check.rows if not r.agrees}
    assert check.report.feature_learning and not check.growing
    assert not off, check
    logits = [r.verdict for r in check.rows if r.quantity.startswith("w[") and r.step]
    assert optimizer == "adam" or set(logits) == {"undecided"}  # what all networks share is hidden by what fluctuates


TWICE = mlp(2).replace("output f = W3 @ tanh(h2)", "output f = W3 @ tanh(h2) / n")
NO_ATTENTION_SCALE = specs.ATTENTION.format(let="", scale="n^(-1/2)")
WRONG = {
    "standard, SGD at rate 1": (mlp(2), "sp", "sgd"),
    "standard, Adam": (mlp(2), "sp", "adam"),
    "standard, Adam at rate 1/n": (mlp(2), {"W1": (0, 0, 1), "W2": (0, "1/2", 1), "W3": (0, "1/2", 1)}, "adam"),
    "Adam at the input's rate everywhere": (mlp(2), {"W1": (0, 0, 0), "W2": (0, "1/2", 1), "W3": (0, "1/2", 1)}, "adam"),
    "NTP, Adam": (mlp(2), "ntp", "adam"),
    "SGD's rates for Adam": (mlp(2), {"W1": (0, 0, -1), "W2": (0, "1/2", 0), "W3": (0, 1, 1)}, "adam"),
    "too large an initial scale": (mlp(2), {"W1": (0, 0, -1), "W2": (0, "1/4", 0), "W3": (0, 1, 1)}, "sgd"),
    "read-out multiplier twice, SGD": (TWICE, "mup", "sgd"),
    "read-out multiplier twice, Adam": (TWICE, "mup", "adam"),
    "1/sqrt(n) in attention, SGD": (NO_ATTENTION_SCALE, "mup", "sgd"),
    "1/sqrt(n) in attention, Adam": (NO_ATTENTION_SCALE, "mup", "adam"),
    "tied read-out without multiplier, SGD": (specs.TIED.format(let="", scale="1"), "mup", "sgd"),
    "tied read-out without multiplier, Adam": (specs.TIED.format(let="", scale="1"), "mup", "adam"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_parametrization_is_caught_twice(case):
    """By the derivation and by finite networks, which blame the same quantity, the same weight and the same exponent."""
    text, parametrization, optimizer = WRONG[case]
    check = tp.parse(text).coord_check(optimizer, parametrization, (128, 256, 512), seeds=2, budget=0)
    derived = check.report.reasons[0]
    assert not check.passed and not (check.report.stable and check.report.nontrivial)
    assert check.agrees, check
    assert check.blame == derived.quantity and check.culprit in derived.blame, check
    measured = (check.growing or check.idle)[0]
    assert measured.derived == derived.exponent and abs(measured.slope - float(derived.exponent)) < 0.1 + 2 * measured.error


def test_a_wrong_derivation_would_be_contradicted():
    """The check is not blind: with the exponents of another parametrization the same slopes contradict."""
    from tp.readings.slopes import CONTRADICTED, Slope

    check = tp.parse(mlp(2)).coord_check("sgd", "ntp", (128, 512), steps=1, seeds=4, budget=0)
    features = [r for r in check.rows if r.step == 1 and r.quantity.startswith("h")]
    assert all(Slope(r.slope, r.error).verdict(0) == CONTRADICTED for r in features), check


def test_an_output_that_is_identically_zero():
    rows = tp.parse(specs.ZERO).coord_check("sgd", "mup", (32, 64), steps=1, seeds=2, budget=0).rows
    first = next(r for r in rows if r.quantity == "f")
    assert first.derived is None and first.slope == 0 and first.verdict == "confirmed"


def test_table_plot_and_json(tmp_path):
    check = tp.parse(mlp(1)).coord_check("adam", "mup", (32, 64), steps=1, seeds=2, budget=0)
    assert check.table().splitlines()[0].split("|")[1].strip() == "quantity"
    assert check.table("latex").startswith(r"\begin{tabular}") and "<table>" in check.table("html")
    with pytest.raises(tp.DataError, match="style"):
        check.table("rst")
    data = json.loads(check.to_json())
    assert data["rows"][0]["quantity"] == "h1" and data["derivation"]["optimizer"] == "adam"
    assert {r["verdict"] for r in data["rows"]} <= {"confirmed", "undecided", "contradicted"}
    check.plot(tmp_path / "slopes.png")
    assert (tmp_path / "slopes.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["momentum", "nesterov", "sign", "lion", "rmsprop", "adamw", "adafactor", "muon", "shampoo"])
def test_every_optimizer_moves_features_at_theta_one(name):
    check = tp.parse(mlp(2)).coord_check(name, "mup", (32, 64, 128), steps=1, seeds=2, budget=0)
    assert check.agrees and not check.growing, check
    moves = {r.quantity: r.slope for r in check.rows if r.step == 1}
    assert all(abs(s) < 0.25 for s in moves.values()), check
    assert check.report.feature_learning and check.report.r == F(0)


def test_inputs_are_checked():
    net = tp.parse(mlp(1))
    with pytest.raises(tp.DataError, match="parametrization=…"):
        net.coord_check(net.mup("sgd"))
    for bad in ({"widths": (64,)}, {"widths": (64, 128), "seeds": 0}, {"widths": (64, 128), "steps": 0}):
        with pytest.raises(tp.DataError):
            net.coord_check("sgd", "mup", **bad, budget=0)
    X = np.ones((2, 3))
    check = net.coord_check("sgd", "mup", (16, 32), steps=1, seeds=1, inputs=X, lr=0.125, budget=0)
    assert check.rows and check.lr == 0.125


def test_initial_outputs_of_different_networks_are_independent():
    net = tp.parse(mlp(1, "softplus"))
    run = experiment(net._engine(None), rules_of(net._engine(None), "mup", optimizer("sgd")), optimizer("sgd"), 1)
    squares = np.array([run.sizes(256, seed, 1e-3)["f", 0, "initial"][0] ** 2 for seed in range(24)])
    spread = squares.var(ddof=1) / squares.mean() ** 2  # of 33 draws of what is nearly Σ v: 2/33, of shared draws 2/33²
    assert 0.02 < spread < 0.2
