"""Maximal-update rules of many architectures: the tables of Tensor Programs V, and where there is no such rule."""

from fractions import Fraction as F

import pytest

import tp
from tests.scaling import specs
from tests.scaling.specs import mlp

HALF = F(1, 2)


def rules(net, optimizer, gauge=None, **more):
    report = net.mup(optimizer, gauge, **more)
    assert report.feature_learning and report.unique, report
    return {k: tuple(r) for k, r in report.rules.items()}


@pytest.mark.parametrize("L", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("optimizer", "rates"),
    [
        ("sgd", (-1, 0, 1)),
        ("momentum", (-1, 0, 1)),
        ("sign", (0, 1, 1)),
        ("adam", (0, 1, 1)),
        ("adafactor", (0, 1, 1)),
        ("muon", (0, 0, 1)),
    ],
)
def test_multilayer_perceptrons(L, optimizer, rates):
    found = rules(tp.parse(mlp(L)), optimizer)
    first, hidden, last = rates
    assert found["W1"] == (0, 0, first)
    assert all(found[f"W{k}"] == (0, HALF, hidden) for k in range(2, L + 1))
    assert found[f"W{L + 1}"] == (0, 1, last)


@pytest.mark.parametrize(
    ("gauge", "optimizer", "table"),
    [
        ("table3", "sgd", [(0, 0, -1), (0, HALF, 0), (0, 1, 1)]),
        ("table3", "adam", [(0, 0, 0), (0, HALF, 1), (0, 1, 1)]),
        ("table8", "sgd", [(0, 0, -1), (0, HALF, 0), (1, 0, -1)]),
        ("table8", "adam", [(0, 0, 0), (0, HALF, 1), (1, 0, 0)]),
        ("table9", "sgd", [(-HALF, HALF, 0), (0, HALF, 0), (HALF, HALF, 0)]),
        ("table9", "adam", [(-HALF, HALF, HALF), (0, HALF, 1), (HALF, HALF, HALF)]),
    ],
)
def test_the_tables_of_tensor_programs_v(gauge, optimizer, table):
    assert list(rules(tp.parse(mlp(2)), optimizer, gauge).values()) == table


def test_one_exponent_fixed_per_tensor():
    net = tp.parse(mlp(2))
    assert rules(net, "sgd", "c=0")["W1"] == (-HALF, HALF, 0)
    assert rules(net, "sgd", {"W3": {"b": 0}})["W3"] == (1, 0, -1)
    assert rules(net, "adam", {"W2": ("a", "1/2")})["W2"] == (HALF, 0, HALF)
    for bad in ("table7", {"W2": {"e": 0}}, {"X": {"a": 0}}, {"W2": {"a": 0, "b": 0}}):
        with pytest.raises(tp.DataError):
            net.mup("sgd", bad)


def test_epsilon_and_weight_decay():
    """Adam's ε follows the gradient (all like 1/n in table 8's gauge); decay multiplies the rate, and their product is Θ(1)."""
    net = tp.parse(mlp(2))
    third, eighth = net.mup("adamw").rules, net.mup("adamw", "table8").rules
    assert [r.epsilon for r in third.values()] == [-1, -1, 0]
    assert [r.epsilon for r in eighth.values()] == [-1, -1, -1]
    assert [r.decay for r in third.values()] == [0, 1, 1]


INPUT, HIDDEN, OUTPUT = {"sgd": -1, "adam": 0}, {"sgd": 0, "adam": 1}, {"sgd": 1, "adam": 1}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
class TestArchitectures:
    def test_residual_network_costs_the_same_at_any_depth(self, optimizer):
        found = rules(tp.parse(specs.RESIDUAL), optimizer)
        expected = {"U": (0, 0, INPUT[optimizer]), "W[l]": (0, HALF, HIDDEN[optimizer]), "v": (0, 1, OUTPUT[optimizer])}
        assert found == expected
        assert rules(tp.parse(specs.RESIDUAL, L=1000), optimizer) == expected

    def test_symbolic_depth(self, optimizer):
        assert rules(tp.parse(specs.RESIDUAL, L=None), optimizer)["W[l]"] == (0, HALF, HIDDEN[optimizer])

    def test_recurrent_network(self, optimizer):
        found = rules(tp.parse(specs.RNN), optimizer)
        assert found == {"U": (0, 0, INPUT[optimizer]), "W": (0, HALF, HIDDEN[optimizer]), "v": (0, 1, OUTPUT[optimizer])}

    def test_attention_finds_one_over_width(self, optimizer):
        report = tp.parse(specs.ATTENTION.format(let="let alpha", scale="n^(-alpha)")).mup(optimizer)
        assert report.constants == {"alpha": 1} and report.unique
        assert {tuple(report.rules[k]) for k in "QKVO"} == {(0, HALF, HIDDEN[optimizer])}
        assert tuple(report.rules["E"]) == (0, 0, INPUT[optimizer])

    def test_attention_with_one_over_root_width_is_refused(self, optimizer):
        wrong = tp.parse(specs.ATTENTION.format(let="", scale="n^(-1/2)"))
        with pytest.raises(tp.LimitError, match=r"[QK]`"):
            wrong.mup(optimizer)
        report = wrong.scaling("mup", optimizer)
        assert not report.stable and report.reasons[0].quantity.startswith("a[")

    def test_biases_are_like_input_weights(self, optimizer):
        found = rules(tp.parse(specs.BIASES), optimizer)
        assert found["b1"] == (0, None, INPUT[optimizer]) and found["b2"] == (0, 0, INPUT[optimizer])
        assert found["c"] == (0, None, 0)

    def test_gains_are_like_input_weights(self, optimizer):
        found = rules(tp.parse(specs.LAYERNORM), optimizer)
        assert found["g"][2] == found["b"][2] == INPUT[optimizer]

    def test_tied_read_out_needs_one_over_width(self, optimizer):
        report = tp.parse(specs.TIED.format(let="let beta", scale="n^(-beta)")).mup(optimizer)
        assert report.constants == {"beta": 1} and tuple(report.rules["E"]) == (0, 0, INPUT[optimizer])
        with pytest.raises(tp.LimitError, match=r"contradict(.|\n)*h1(.|\n)*`f`"):
            tp.parse(specs.TIED.format(let="", scale="1")).mup(optimizer)

    def test_read_out_from_zero(self, optimizer):
        found = rules(tp.parse(specs.ZERO), optimizer)
        assert found["v"] == (0, None, OUTPUT[optimizer]) and found["W"] == (0, HALF, HIDDEN[optimizer])

    def test_tied_autoencoder(self, optimizer):
        assert rules(tp.parse(specs.AUTOENCODER), optimizer)["W"] == (0, HALF, HIDDEN[optimizer])

    def test_bottleneck_is_the_spectral_condition(self, optimizer):
        found = rules(tp.parse(specs.BOTTLENECK.replace("tanh(z)", "sigmoid(z)")), optimizer, growth={"m": "1/2"})
        u = {"sgd": (-1, HALF, -HALF, 1), "adam": (0, 1, HALF, 1)}[optimizer]
        assert [r[1] for r in found.values()] == [0, F(3, 4), F(1, 4), 1]
        assert tuple(r[2] for r in found.values()) == u

    @pytest.mark.parametrize("phi", ["tanh", "relu"])
    def test_bottleneck_with_an_activation_that_vanishes_at_zero(self, optimizer, phi):
        """What goes through the bottleneck is n^(-1/4) initially, and by gradients of that size SGD cannot leave it behind.

        Measured under the rules of the spectral condition, tanh, SGD, widths 64 to 4096: h1, z, h2 move by n^-0.24, f by n^-0.42.
        """
        net, growth = tp.parse(specs.BOTTLENECK.replace("tanh(z)", f"{phi}(z)")), {"m": "1/2"}
        spectral = {"U": (0, 0, -1), "D": (0, "3/4", "1/2"), "P": (0, "1/4", "-1/2"), "v": (0, 1, 1)}
        if optimizer == "adam":
            assert [r[1] for r in rules(net, "adam", growth=growth).values()] == [0, F(3, 4), F(1, 4), 1]
            return
        with pytest.raises(tp.LimitError, match="maximal"):
            net.mup("sgd", growth=growth)
        report = net.scaling(spectral, "sgd", growth=growth)
        assert report.stable and not report.nontrivial
        if phi == "tanh":
            assert [report.exponents[k].changes[-1] for k in ("h1", "z", "h2", "f")] == [-F(1, 4), -F(1, 4), -F(1, 4), -HALF]

    def test_transformer(self, optimizer):
        found = rules(tp.zoo("transformer", L=1), optimizer)
        for name, role in {"E": INPUT, "P[t]": INPUT, "g": INPUT, "c1[l]": INPUT, "Q[l,a]": HIDDEN, "A[l]": HIDDEN}.items():
            assert found[name][2] == role[optimizer]


def test_a_linear_network_written_in_one_line():
    found = rules(tp.zoo("linear_mup"), "sgd")
    assert found == {"U": (0, 0, -1), "V": (0, 1, 1)}
    assert tp.zoo("linear_mup").scaling().feature_learning and tp.zoo("mup_mlp").scaling().feature_learning


def test_rules_by_name():
    report = tp.zoo("mlp").mup("adam")
    assert report.rules["W[2]"] == report.rules["W[l]"] and report.rules["W[1]"].c == 0
    assert report.rules["b"].c == 0
    with pytest.raises(tp.DataError, match="more than once"):
        report.rules["W"]


def test_a_function_without_a_rule_is_named():
    text = specs.ZERO.replace("tanh(h1)", "tan(h1)")
    assert "W" in tp.parse(specs.ZERO).mup().rules
    with pytest.raises((tp.LimitError, tp.SpecError), match="tan"):
        tp.parse(text).mup()


def test_a_small_bias_next_to_a_product_is_no_violation() -> None:
    net = tp.parse(
        """network small
  width n
  dim d = 3
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 2/n)
  weight b : [n] ~ N(0, 1/n)
  weight v : [n] = 1 * N(0, 1/n^2), lr 1/n
  h = W @ relu(U @ x) + b
  output f = v @ relu(h)
"""
    )
    assert net.scaling().stable_at_init
