"""A sum over an index inside a nonlinearity: what has no rule is refused, never left with an index that nothing binds."""

import pytest

import tp

HEADS = """
network heads
  width H
  let   m = 2, T = 4
  width n = m*H
  dim   d = 8
  index t, s in 1..T
  index k in 1..m

  input  x[t] : [d]
  weight E    : [n, d] ~ N(0, 1/d)
  weight Q[k] : [H, n] ~ N(0, 1/n)  for k
  weight K[k] : [H, n] ~ N(0, 1/n)  for k
  weight V[k] : [H, n] ~ N(0, 1/n)  for k
  weight O[k] : [n, H] ~ N(0, 1/n)  for k
  weight v    : [n]    ~ N(0, 1/n)

  e[t] = E @ x[t]
  q[t, k] = Q[k] @ e[t]
  r[t, k] = K[k] @ e[t]
  a[t, s] = m^(-1/2) * sum(q[t, k] * r[s, k] for k)
  o[t, k] = sum(exp(a[t, s]) * (V[k] @ e[s]) for s) / sum(exp(a[t, s]) for s)
  output f = v @ mean(relu(e[t] + sum(O[k] @ o[t, k] for k)) for t)
"""


def test_an_index_that_nothing_binds_is_refused():
    net = tp.parse(HEADS)
    assert "K_q" in net.nngp().text()
    with pytest.raises(tp.LimitError, match="sum over an index"):
        net.ntk()
