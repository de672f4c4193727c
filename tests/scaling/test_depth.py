"""The depth as a second variable that grows: the results of Tensor Programs VI, and networks of several depths in training."""

from fractions import Fraction as F

import pytest

import tp
from tests.scaling import specs
from tp.readings.scale.report import DepthReport

HALF = F(1, 2)

BLOCK = """network block
  width n
  dim   d = 3
  let   L, alpha, gamma
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1/d), frozen
  weight W[l] : [n, n] = 1 * N(0, 1/n), lr L^(alpha - gamma) for l in 1..L
  weight v : [n] = 1 * N(0, 1/n^2), frozen
  h[0] = U @ x
  h[l] = h[l-1] + L^(-alpha) * (W[l] @ tanh(h[l-1])) for l in 1..L
  output f = v @ h[L]
"""

FREE = specs.RESIDUAL.replace("1/sqrt(L) * ", "")
SYMBOL = specs.RESIDUAL.replace("1/sqrt(L)", "L^(-alpha)").replace("let L = 12", "let L, alpha")
SHARED = SYMBOL.replace("W[l] : [n, n] ~ N(0, 1/n) for l in 1..L", "W : [n, n] ~ N(0, 1/n)").replace("W[l]", "W")
CENTRED = FREE.replace("tanh(h[l-1])", "(relu(h[l-1]) - avg(relu(h[l-1])))")
READ = specs.RESIDUAL.replace("v @ h[L]", "v @ tanh(h[L])")
NORMED = specs.RESIDUAL.replace("tanh(h[l-1])", "tanh(layernorm(h[l-1]))")
TWO = specs.RESIDUAL.replace("  weight v", "  weight V[l] : [n, n] ~ N(0, 1/n) for l in 1..L\n  weight v").replace(
    "W[l] @ tanh(h[l-1])", "V[l] @ tanh(W[l] @ h[l-1])"
)


@pytest.mark.parametrize(
    ("alpha", "gamma", "begins", "stable", "moves", "diverse"),
    [
        ("1/2", "1/2", True, True, F(0), True),  # Depth-μP
        ("1/2", "1", True, True, -HALF, True),  # trivial
        ("3/4", "1/4", True, True, F(0), False),  # blocks become alike
        ("1", "0", True, True, F(0), False),
        ("5/4", "-1/4", True, False, None, False),  # unfaithful: a block's own update grows
        ("1/2", "0", True, False, None, True),  # α + γ < 1
        ("1/4", "3/4", False, False, None, True),  # √L blocks of L^(-1/4)
    ],
)
def test_multiplier_and_update_of_one_matrix_blocks(alpha, gamma, begins, stable, moves, diverse):
    depth = tp.parse(BLOCK).scaling(alpha=alpha, gamma=gamma).depth
    assert (depth.stable_at_init, depth.stable, depth.diverse) == (begins, stable, diverse)
    assert depth.updates.get("W[l]") == moves
    assert depth.nontrivial == (moves == 0)
    assert depth.optimal == ((alpha, gamma) == ("1/2", "1/2"))
    assert depth.branches["W[l]"] == HALF - F(alpha)


def test_the_reason_of_an_instability_is_named():
    depth = tp.parse(BLOCK).scaling(alpha=HALF, gamma=0).depth
    assert "step 1" in depth.reasons[0] and "L^(1/2)" in depth.reasons[0]
    unfaithful = tp.parse(BLOCK).scaling(alpha=F(5, 4), gamma=F(-1, 4)).depth
    assert "`W[l] @ x1[l]` grows like L^(1/4)" in unfaithful.reasons[0]


@pytest.mark.parametrize(
    ("alpha", "gamma"),
    [("1/2", "1/2"), ("1/2", "1"), ("1", "0")],
)
def test_slopes_in_the_depth_as_measured(alpha, gamma):
    """TP6: 0.03, -0.47, 0.00 for the last block's features."""
    check = tp.parse(BLOCK).depth_check(alpha=F(alpha), gamma=F(gamma), depths=(8, 16, 32, 64), width=128, steps=1, seeds=4)
    assert check.passed, check
    row = next(r for r in check.rows if r.quantity == "h[L]" and r.step == 1)
    assert abs(row.slope - float(row.derived)) < 0.15 and row.derived == (1 - F(alpha) - F(gamma))


@pytest.mark.parametrize(
    ("text", "optimizer", "w", "rate"),
    [
        (specs.RESIDUAL, "sgd", 0, 0),
        (specs.RESIDUAL, "adam", 0, HALF),
        (FREE, "sgd", HALF, 1),
        (FREE, "adam", HALF, 1),
        (SYMBOL, "sgd", 0, 0),
        (SYMBOL, "adam", 0, HALF),
        (READ, "sgd", 0, 0),
        (NORMED, "sgd", 0, 0),
    ],
)
def test_depth_mup(text, optimizer, w, rate):
    report = tp.parse(text, L=None).mup(optimizer)
    depth = report.depth
    assert isinstance(depth, DepthReport) and depth.optimal, depth
    assert tuple(depth.rules["W[l]"]) == (0, w, rate)
    assert tuple(depth.rules["U"]) == tuple(depth.rules["v"]) == (0, 0, 0)
    assert depth.constants == ({"alpha": HALF} if text is SYMBOL else {})
    assert depth.unique == (text is not SYMBOL)  # a multiplier and the variance of a linear branch are one number
    assert tuple(report.rules["W[l]"]) == (0, HALF, 0 if optimizer == "sgd" else 1)


def test_epsilon_and_table_carry_the_depth():
    report = tp.parse(specs.RESIDUAL, L=None).mup("adam")
    assert report.depth.rules["W[l]"].epsilon == -HALF
    assert "n^(-1) L^(-1/2)" in report.table() and '"symbol": "L"' in report.to_json()


@pytest.mark.parametrize(
    ("text", "optimizer"), [(FREE, "sgd"), (FREE, "adam"), (SYMBOL, "sgd"), (SHARED, "sgd"), (CENTRED, "adam")]
)
def test_depth_mup_is_measured(text, optimizer):
    net = tp.parse(text, L=None)
    lr = 0.2 if optimizer == "sgd" else 0.02
    check = net.depth_check(optimizer, net.mup(optimizer), depths=(6, 12, 24, 48), width=128, steps=2, seeds=3, lr=lr)
    assert check.passed and {r.quantity for r in check.rows} == {"h[L]", "f"}, check


def test_blocks_that_share_their_matrix_add_up_coherently():
    report = tp.parse(SHARED).mup("sgd")
    assert report.depth.constants == {"alpha": 1} and report.depth.stable
    assert not tp.parse(SHARED).scaling("mup", alpha=HALF).depth.stable_at_init


def test_blocks_of_two_matrices_have_no_optimum():
    depth = tp.parse(TWO, L=None).mup("adam").depth
    assert depth.block_depth == 2 and depth.stable and not depth.optimal
    assert "no optimum" in depth.regime


def test_a_multiplier_of_one_over_depth_loses_diversity():
    depth = tp.parse(specs.RESIDUAL.replace("1/sqrt(L)", "1/L"), L=None).mup("sgd").depth
    assert depth.stable and not depth.diverse and "diversity" in depth.regime


def test_plain_networks_have_a_fixed_depth():
    report = tp.zoo("mlp", L=None).mup("adam")
    assert "fixed" in report.depth and "`h`" in report.depth
    with pytest.raises(tp.LimitError, match="fixed"):
        tp.zoo("mlp", L=None).depth_check()
    assert tp.zoo("mlp", L=4).mup("adam").depth is None


def test_a_stream_that_is_normalised_on_the_way_is_not_residual():
    text = specs.RESIDUAL.replace("h[l] = h[l-1] + 1/sqrt(L) * (W[l] @ tanh(h[l-1]))", "h[l] = tanh(h[l-1] + W[l] @ h[l-1])")
    assert "fixed" in tp.parse(text, L=None).mup().depth


def test_an_exponent_of_the_depth_without_a_value_is_named():
    assert "`alpha`" in tp.parse(SYMBOL).scaling("mup").depth


def test_blocks_of_three_matrices_are_refused():
    three = TWO.replace("V[l] @ tanh(W[l] @ h[l-1])", "V[l] @ tanh(V[l] @ tanh(W[l] @ h[l-1]))")
    assert "3 matrices" in tp.parse(three, L=None).mup().depth
