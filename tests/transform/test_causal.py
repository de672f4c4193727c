"""Sums and softmaxes that end at another index, s in 1..t: training goes through them as through a mask over the whole range."""

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
    let = f"  let   M[t, s] = {rows}\n  let   B[t, s] = {earlier}\n"
    text = SPEC.format(T=T, let="", body=LOGITS.format(where=where) + body)
    return text.replace("  input", f"{let}  input", 1) if "M[" in body or "B[" in body else text


PAIRS = {
    "softmax": (spec(ENDS), spec(MASKED)),
    "logits that end there too": (spec(ENDS, where=" for t, s in 1..t"), spec(MASKED)),
    "a sum": (spec(LINEAR.format(mask="", where=" in 1..t")), spec(LINEAR.format(mask="M[t, s]*", where=""))),
    "of what is before": (spec(NEXT.format(mask="", where=" in 1..t-1")), spec(NEXT.format(mask="B[t, s]*", where=""))),
    "of logits that end later": (
        spec(NEXT.format(mask="", where=" in 1..t-1"), where=" for t, s in 1..t"),
        spec(NEXT.format(mask="B[t, s]*", where="")),
    ),
}


@pytest.mark.parametrize(("case", "optimizer"), [*((case, "sgd") for case in PAIRS), ("softmax", "adam")])
def test_training_is_that_of_a_mask(case, optimizer):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(3, 3, 2)), np.array([1.0, -0.5, 0.25])
    one, other = (
        tp.parse(text).train(X, y, steps=2, lr=0.5, parametrization="mup", optimizer=optimizer).simulate(width=16, seeds=1)
        for text in PAIRS[case]
    )
    assert abs(one.outputs[0] - one.outputs[-1]).max() > 1e-3  # it moves
    assert one.outputs == pytest.approx(other.outputs, abs=1e-9)


@pytest.mark.parametrize("case", PAIRS)
def test_rules_are_those_of_a_mask(case):
    one, other = (tp.parse(text).mup("adam") for text in PAIRS[case])
    assert dict(one.rules) == dict(other.rules) and one.feature_learning
    assert one.exponents["f"].changes == other.exponents["f"].changes == (0, 0)
