"""Classification against the closed theorem of Tensor Programs IV (SGD) and IVb (entrywise updates)."""

import json
import random
from fractions import Fraction as F
from functools import cache
from pathlib import Path

import pytest

import tp
from tests.scaling.specs import mlp

TABLE = json.loads((Path(__file__).parent / "data" / "abc_table.json").read_text())


@cache
def net(L):
    return tp.parse(mlp(L))


@pytest.mark.parametrize("row", TABLE, ids=lambda r: f"{r['name']}-{r['hidden_layers']}")
def test_the_table_of_parametrizations(row):
    L = row["hidden_layers"]
    report = net(L).scaling({f"W{k + 1}": (row["a"][k], row["b"][k], row["c"]) for k in range(L + 1)})
    assert (report.stable, report.nontrivial, report.feature_learning) == (
        row["stable"],
        row["nontrivial"],
        row["feature_learning"],
    )
    assert report.kernel_regime == row["kernel_regime"]
    assert report.r == F(row["r"])
    assert (report.stable_at_init, report.r >= 0) == (row["init_ok"], row["features_ok"])
    worst = [min(F(report.layers[f"W{k}"]) for k in range(1, top + 1)) for top in range(1, L + 1)]
    assert [str(x) for x in worst] == row["r_per_layer"]
    if row["stable"]:
        changes = [str(report.exponents[f"h{k}"].changes[-1]) for k in range(1, L + 1)]
        assert changes == row["feature_change_exponents"]
        assert str(report.exponents["f"].changes[-1]) == row["logit_change_exponent"]
        assert str(report.exponents["f"].initial) == row["initial_logit_exponent"]


def theorem(L, w, u, sgd):
    """(r, stable at initialization, stable, nontrivial), TP4 Theorems 3.3 and 3.4; TP4b Theorem 2.8.12 without faithfulness."""
    r = (min(w[L], u[L]) if sgd else 0) + min(u[k] - 1 + (k == 0) for k in range(L))
    begins = w[0] == 0 and all(x == F(1, 2) for x in w[1:L]) and w[L] >= F(1, 2)
    stable = begins and r >= 0 and u[L] >= 1 and w[L] + r >= 1
    return r, begins, stable, stable and (u[L] == 1 or w[L] + r == 1)


def drawn(L, sgd, rng):
    """Invariants w and u, near the polyhedron's faces more often than not, in a random gauge."""

    def quarter(lo, hi):
        return F(rng.randint(4 * lo, 4 * hi), 4)

    w = [F(0), *[F(1, 2)] * (L - 1), rng.choice([F(1, 2), F(3, 4), F(1), F(3, 2), quarter(0, 2)])]
    if rng.random() < 0.1:
        w[rng.randrange(L)] += quarter(-1, 1)
    out = rng.choice([F(1), F(1), quarter(0, 2)])
    base = min(w[L], out) if sgd else F(0)
    r = rng.choice([F(0), F(1, 4), F(1, 2), F(1)])
    wild = rng.random() < 0.25
    u = [1 - (k == 0) - base + r + rng.choice([0, 0, F(1, 2), quarter(-1, 1) if wild else F(1)]) for k in range(L)] + [out]
    a = [quarter(-1, 1) for _ in w]
    return w, u, {f"W{k + 1}": (a[k], w[k] - a[k], u[k] - (2 if sgd else 1) * a[k]) for k in range(L + 1)}


@pytest.mark.parametrize(("optimizer", "count"), [("sgd", 1000), ("adam", 600)])
def test_random_parametrizations_agree_with_the_theorem(optimizer, count):
    rng = random.Random(0)
    seen = set()
    for _ in range(count):
        L = rng.randint(1, 4)
        w, u, abc = drawn(L, optimizer == "sgd", rng)
        report = net(L).scaling(abc, optimizer)
        r, begins, stable, nontrivial = theorem(L, w, u, optimizer == "sgd")
        case = (L, w, u)
        assert (report.stable_at_init, report.stable, report.nontrivial) == (begins, stable, nontrivial), case
        assert report.feature_learning == (nontrivial and r == 0), case
        if begins:
            assert report.r == r, case
        seen.add((begins, stable, nontrivial, report.feature_learning))
    assert len(seen) == 5  # every verdict there is


def test_the_symmetry_changes_nothing():
    shifted = {"W1": ("-1/4", "1/4", "-1/2"), "W2": ("1/4", "1/4", "-1/2"), "W3": ("3/4", "1/4", "-1/2")}
    one, other = net(2).scaling("mup"), net(2).scaling(shifted)
    assert [q.changes for q in one.exponents.values()] == [q.changes for q in other.exponents.values()]


@pytest.mark.parametrize("L", [1, 2, 3, 4])
def test_named_parametrizations(L):
    assert not net(L).scaling("sp").stable
    assert net(L).scaling("ntp").kernel_regime
    assert net(L).scaling("mfp").feature_learning and net(L).scaling("mup").feature_learning
    assert net(L).scaling("mup", "adam").feature_learning
    assert not net(L).scaling("sp", "adam").stable


def test_the_reason_names_layer_step_monomial_and_line():
    reason = net(3).scaling("sp").reasons[0]
    assert (reason.quantity, reason.step, reason.exponent, reason.blame) == ("h2", 1, F(1, 2), ("W2",))
    assert reason.monomial == "3/2 - u_W2 - w_W3 - w_W4"
    assert "lower the learning rate of `W2` by n^(1/2)" in str(reason)
    assert "h2 = W2 @ tanh(h1)" in str(reason)


def test_small_read_out_learns_from_the_second_step():
    """w_out = 3/2, μP otherwise: measured slopes -0.51, 0.02 of h1 and -0.51, 0.01 of h2."""
    report = net(2).scaling({"W1": (0, 0, -1), "W2": (0, "1/2", 0), "W3": (0, "3/2", 1)})
    assert report.exponents["h1"].changes == report.exponents["h2"].changes == (F(-1, 2), F(0))


def test_standard_parametrization_with_adam_at_rate_one_over_n():
    """Read-outs amplify the change of features: the logits grow like n^(1/2) (measured 0.48)."""
    rates = {"W1": (0, 0, 1), "W2": (0, "1/2", 1), "W3": (0, "1/2", 1)}
    report = net(2).scaling(rates, "adam")
    assert not report.stable
    assert report.exponents["h1"].changes[0] == -1 and report.exponents["h2"].changes[0] == 0
    assert (report.reasons[0].quantity, report.reasons[0].exponent) == ("f", F(1, 2))


def test_values_as_floats_fractions_and_text():
    net(1).scaling({"W1": (0.5, F(1, 2), "1/2")})
    for bad in ({"W9": (0, 0, 0)}, {"W1": (0, 0)}, {"W1": (0, 0, 0.1)}, {"W1": "abc"}):
        with pytest.raises(tp.DataError):
            net(1).scaling(bad)
    with pytest.raises(tp.DataError, match="sp"):
        net(1).scaling("xyz")


def test_an_optimizer_without_a_rule_is_named():
    with pytest.raises(tp.LimitError, match="sophia"):
        net(1).scaling("sp", "sophia")


def test_exponents_left_free_in_the_spec():
    text = (
        mlp(1).replace("W2 : [n] ~ N(0, 1/n)", "W2 : [n] = n^(-s) * N(0, 1), lr n").replace("  dim d = 3", "  dim d = 3\n  let s")
    )
    net_ = tp.parse(text)
    with pytest.raises(tp.LimitError, match="`s`"):
        net_.scaling()
    assert net_.scaling(s=1).rules["W2"].a == 1 and net_.scaling(s="1/2").rules["W2"].a == F(1, 2)
