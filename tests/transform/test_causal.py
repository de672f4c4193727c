"""Sums and softmaxes that end at another index, s in 1..t: training goes through them as through a mask over the whole range."""

import re

import numpy as np
import pytest

import tp

SPEC = """network causal
  width n
  dim   d = 2
  let   T = {T}
{let}  index t, s, r in 1..T
  input  x[t] : [d]
  weight E : [n, d] ~ N(0, 1/d)
  weight Q : [n, n] ~ N(0, 1/n)
  weight K : [n, n] ~ N(0, 1/n)
  weight V : [n, n] ~ N(0, 1/n)
  weight v : [n]    ~ N(0, 1/n^2)
  e[t] = E @ x[t]
{body}
  output f = v @ mean(tanh(e[t] + o[t]) for t)
"""
LOGITS = "  a[t, s] = dot(Q @ e[t], K @ e[s]) / n{where}\n"
ENDS = "  o[t] = sum(softmax(a[t, s] over s in 1..t) * (V @ e[s]) for s in 1..t)"
MASKED = "  o[t] = sum(M[t, s]*exp(a[t, s])/sum(M[t, r]*exp(a[t, r]) for r) * (V @ e[s]) for s)"
LINEAR = "  o[t] = sum({mask}a[t, s] * (V @ e[s]) for s{where})"
NEXT = "  o[t] = sum({mask}a[t, s] * (V @ e[s]) for s{where}) + e[t]"


def spec(body: str, T: int = 3, where: str = "") -> str:
    rows = [[int(s < t) for s in range(T)] for t in range(1, T + 1)]
    earlier = [[int(s < t - 1) for s in range(T)] for t in range(1, T + 1)]
    before = [[int(s < t - 2) for s in range(T)] for t in range(1, T + 1)]
    let = f"  let   M[t, s] = {rows}\n  let   B[t, s] = {earlier}\n  let   C[t, s] = {before}\n"
    text = SPEC.format(T=T, let="", body=LOGITS.format(where=where) + body)
    return (
        text.replace("  input", f"{let}  input", 1) if {"M[", "B[", "C["} & {body[k : k + 2] for k in range(len(body))} else text
    )


EARLY = "  o[t] = e[t]  for t in 1..2\n  o[t] = sum({mask}a[t, s] * (V @ e[s]) for s{where}) + e[t]  for t in 3..T"
PAIRS = {
    "softmax": (spec(ENDS), spec(MASKED)),
    "logits that end there too": (spec(ENDS, where=" for t, s in 1..t"), spec(MASKED)),
    "a sum": (spec(LINEAR.format(mask="", where=" in 1..t")), spec(LINEAR.format(mask="M[t, s]*", where=""))),
    "of what is before": (spec(NEXT.format(mask="", where=" in 1..t-1")), spec(NEXT.format(mask="B[t, s]*", where=""))),
    "of logits that end later": (
        spec(NEXT.format(mask="", where=" in 1..t-1"), where=" for t, s in 1..t"),
        spec(NEXT.format(mask="B[t, s]*", where="")),
    ),
    "of logits that are only where they are read": (
        spec(EARLY.format(mask="", where=" in 1..t-2"), T=5, where=" for t in 3..T, s in 1..t-2"),
        spec(EARLY.format(mask="C[t, s]*", where=""), T=5),
    ),
    "of few logits of many": (
        spec(EARLY.format(mask="", where=" in 1..t-2"), T=5, where=" for t, s in 1..t"),
        spec(EARLY.format(mask="C[t, s]*", where=""), T=5),
    ),
}


@pytest.mark.parametrize(("case", "optimizer"), [*((case, "sgd") for case in PAIRS), ("softmax", "adam")])
def test_training_is_that_of_a_mask(case, optimizer):
    rng = np.random.default_rng(0)
    y = np.array([1.0, -0.5, 0.25])
    nets = [tp.parse(text) for text in PAIRS[case]]
    X = rng.normal(size=(3, int(re.search(r"T = (\d)", PAIRS[case][0])[1]), 2))
    one, other = (
        net.train(X, y, steps=2, lr=0.5, parametrization="mup", optimizer=optimizer).simulate(width=16, seeds=1) for net in nets
    )
    assert abs(one.outputs[0] - one.outputs[-1]).max() > 1e-3  # it moves
    assert one.outputs == pytest.approx(other.outputs, abs=1e-9)


@pytest.mark.parametrize("case", PAIRS)
def test_rules_are_those_of_a_mask(case):
    one, other = (tp.parse(text).mup("adam") for text in PAIRS[case])
    assert dict(one.rules) == dict(other.rules) and one.feature_learning
    assert one.exponents["f"].changes == other.exponents["f"].changes == (0, 0)


def test_limits_of_what_is_defined_in_part():
    """At infinite width, within the stated errors."""
    X, y = np.random.default_rng(1).normal(size=(2, 5, 2)), np.array([1.0, -0.5])
    runs = [tp.parse(text).train(X, y, steps=1, lr=0.5, parametrization="mup") for text in PAIRS[list(PAIRS)[-2]]]
    one, other = (run.limit() for run in runs)
    assert abs(one.outputs[0] - one.outputs[-1]).max() > 1e-3
    assert (abs(one.outputs - other.outputs) <= one.errors + other.errors + 1e-12).all() and one.errors.max() < 1e-3


def test_a_sum_that_ends_at_the_index_of_the_next_one_is_derived():
    """Sums in sums, written out for the Z-calculus, and adjoints that are written token by token."""
    inner = "  o[t, s] = V @ (e[t] + e[s])  for t in 3..T, s in 1..t-2\n"
    text, X = spec(inner, T=4).split("  a[t")[0] + inner, np.ones((1, 4, 2))
    totals = "sum(sum(o[t, s] for s in 1..t-2) for t in 3..T)", "o[3, 1] + o[4, 1] + o[4, 2]"
    nets = [tp.parse(f"{text}  output f = v @ ({total})\n") for total in totals]
    one, other = (net.train(X, [1.0], steps=1, lr=0.5, parametrization="mup").z(1)["f", 1, 0] for net in nets)
    assert one == other != 0
