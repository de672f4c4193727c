"""Specs that several tests read: the shipped ones, and the examples of the language's description."""

from __future__ import annotations

from pathlib import Path

ZOO = {path.stem: path.read_text("utf-8") for path in sorted((Path(__file__).parents[2] / "tp" / "zoo").glob("*.tp"))}
BAD = {path.stem: path.read_text("utf-8") for path in sorted((Path(__file__).parent / "bad").glob("*.tp"))}

EVERYTHING = r"""
# every form of the language once
network everything
  width n, m = 4*n
  dim   d = 10, k
  let   L = 3, sw2 = 2.5e-1, sb2
  let   swish(z) = z/(1 + exp(-z)), centred(z over i) = z - mean(z for i)
  let   a[l]
  index t, s in 1..L boundary circular, p in 0..4
  let   A[t, s] = [[1, 0, 1/2], [0, 1, 0], [-1, sqrt(2), 1]]

  input  x[p] : [d]                 # a finite vector at every position
  input  y : []
  weight U[j] : [n, d] ~ N(0, sw2/d)  for j in -1..1
  weight W : [n, n] = n^(-1/2) * N(0, 1), lr n
  weight M : [m, n] = n^(-a[1])*N(0.5, sw2*n^(-2*a[2])), lr 1/n^a[3], frozen
  weight g : [n] ~ 1
  frozen weight b : [n] ~ N(0, sb2)
  weight c : [] = 3 * N(0, 1)
  weight V : [d, n] ~ N(0, 1/n)
  weight v : [m] ~ N(0, 1/m)

  h[t, p] = swish(U[0] @ x[p]) + g*b * (t - 1)**2 - c
  u[t] = mean(h[t, p]/(1 + y^2) for p) + sum(A[t, s]*h[s, q] for s, q in 0..t) \
         + centred(h[t, 0] over t)
  w[t] = W.T @ (2*W @ tanh(u[t+1]) - -W @ max(u[t], 0)) / sqrt(avg(u[t]^2) + 1e-6)
  o[t] = sum(softmax(dot(w[t], w[s])/n over s in 1..t) * w[s]
             for s in 1..t)
  output f = v @ relu(M @ o[L])
  output e[t] = V @ layernorm(o[t])  for t in 1..2
  train adamw, loss = mse, steps = 10, lr = sw2, batch = 32
"""

CAUSAL = """network causal
  width n
  dim d = 4
  let T = 8
  index t in 1..T
  input x[t] : [d]
  weight E : [n, d] ~ N(0, 1/d)
  weight v : [n] ~ N(0, 1/n)
  e[t] = E @ x[t]
  a[t, s] = dot(e[t], e[s])/n  for s in 1..t
  o[t] = sum(softmax(a[t, s] over s in 1..t)*e[s] for s in 1..t)
  output f[t] = v @ o[t]
"""

TIED = """network tied
  width n
  dim d = 4
  let L = 4
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h[0] = U @ x
  h[l] = h[l-1] + W @ relu(h[l-1]) for l in 1..L
  output f = v @ h[L]
"""

GOOD = {**ZOO, "everything": EVERYTHING, "causal": CAUSAL, "tied": TIED}
