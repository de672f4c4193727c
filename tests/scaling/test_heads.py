"""Many heads of a fixed size: heads are the width, the head's dimension an index, logits vectors over heads."""

from fractions import Fraction as F

import pytest

import tp
from tests.scaling.specs import HEADS

HALF = F(1, 2)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0), ("adam", 1)])
def test_all_four_matrices_are_hidden_and_logits_need_no_power(optimizer, rate):
    report = tp.parse(HEADS.format(let="let alpha", scale="H^(-alpha)")).mup(optimizer)
    assert report.constants == {"alpha": 0} and report.unique and report.feature_learning
    assert {tuple(report.rules[f"{name}[k]"]) for name in "QKVO"} == {(0, HALF, rate)}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_rules_are_measured(optimizer):
    net = tp.parse(HEADS.format(let="", scale="1"))
    check = net.coord_check(optimizer, net.mup(optimizer), widths=(32, 64, 128), steps=2, seeds=3, budget=0)
    assert check.agrees and not check.growing, check
    (logit,) = (r for r in check.rows if r.quantity.startswith("a[") and r.step == 2)
    assert abs(logit.slope) < 0.25 and logit.derived == 0


def test_heads_as_an_index_are_refused_with_the_way_out():
    text = HEADS.format(let="", scale="1").replace("index k in 1..dh", "index k in 1..H")
    with pytest.raises(tp.SpecError, match=r"`H` is a width(.|\n)*axis(.|\n)*index"):
        tp.parse(text)


def test_softmax_along_heads_names_the_way_out():
    long = "sum(exp(a[t, s]) * u[s, k] for s) / sum(exp(a[t, s]) for s)"
    text = HEADS.format(let="", scale="1").replace(long, "sum(softmax(a[t, s] over s) * u[s, k] for s)")
    with pytest.raises(tp.SpecError, match=r"exp\(a\[t, s\]\) / sum"):
        tp.parse(text)
