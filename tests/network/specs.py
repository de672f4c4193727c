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

TRANSFORMER = """network transformer
  width n, m = 4*n
  dim d = 8
  let T = 4, L = 2, H = 2
  index t, s in 1..T
  input x[t] : [d]
  weight E : [n, d] ~ N(0, 1/d)
  weight P[t] : [n] ~ N(0, 1)
  weight Q[l, a] : [n, n] ~ N(0, 1/n) for l in 1..L, a in 1..H
  weight K[l, a] : [n, n] ~ N(0, 1/n) for l in 1..L, a in 1..H
  weight V[l, a] : [n, n] ~ N(0, 1/n) for l in 1..L, a in 1..H
  weight A[l] : [m, n] ~ N(0, 1/n) for l in 1..L
  weight B[l] : [n, m] ~ N(0, 1/m) for l in 1..L
  weight v : [n] ~ N(0, 1/n)
  z[0, t] = E @ x[t] + P[t]
  c[l, a, t, s] = dot(Q[l, a] @ z[l-1, t], K[l, a] @ z[l-1, s])/n for l in 1..L, a in 1..H
  y[l, t] = z[l-1, t] + sum(softmax(c[l, a, t, s] over s in 1..t)*(V[l, a] @ z[l-1, s]) for a in 1..H, s in 1..t) for l in 1..L
  z[l, t] = layernorm(y[l, t] + B[l] @ gelu(A[l] @ y[l, t])) for l in 1..L
  output f[t] = v @ z[L, t]
"""

ABC = """network abc
  width n
  dim d = 3
  let L = 3
  let a[l], b[l], c[l]
  let sw2
  input x : [d]
  weight W[1] : [n, d] = n^(-a[1]) * N(0, sw2*n^(-2*b[1])), lr n^(-c[1])
  weight W[l] : [n, n] = n^(-a[l]) * N(0, sw2*n^(-2*b[l])), lr n^(-c[l]) for l in 2..L
  weight v : [n] = n^(-a[L+1]) * N(0, sw2*n^(-2*b[L+1])), lr n^(-c[L+1])
  h[1] = W[1] @ x
  h[l] = W[l] @ tanh(h[l-1]) for l in 2..L
  output f = v @ tanh(h[L])
"""

FLATTEN = """network flatten
  width n
  dim c = 3
  let P = 9, s = 2
  index p in 0..P-1 boundary valid
  input x[p] : [c]
  weight A[k] : [n, c] ~ N(0, 1/c) for k in 0..2
  weight v[p] : [n] ~ N(0, 1/n)
  h[p] = sum(A[k] @ x[s*p+k] for k in 0..2)
  output f = sum(v[p] @ relu(h[p]) for p)
  output g[k] = v[k] @ h[1] for k in 1..2
"""

DENSENET = """network densenet
  width n
  dim d = 3
  let L
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W[l] : [n, n] ~ N(0, 1/n) for l in 1..L
  weight V : [d, n] ~ N(0, 1/n)
  h[0] = U @ x
  h[l] = W[l] @ relu(sum(h[m]/sqrt(l) for m in 0..l-1)) for l in 1..L
  output f = V @ h[L]
"""

BATCHNORM = """network bn
  width n
  dim d = 3
  let N = 4
  index i in 1..N
  input x[i] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight v : [n] ~ N(0, 1/n)
  h[i] = U @ x[i]
  g[i] = relu(batchnorm(h[i] over i))*cos(i/10)
  output f[i] = v @ g[i]
"""

POOL = """network pool
  width n
  dim c = 2
  index p, q in 0..7 boundary reflect
  index r in 0..3
  input x[p, q] : [c]
  weight A[i, j] : [n, c] ~ N(0, 1/c) for i in -1..1, j in -1..1
  weight v : [n] ~ N(0, 1/n)
  weight w : [] ~ N(0, 1)
  let c2[k]
  let poly(z) = sum(c2[k]*hermite(k, z) for k in 0..3)
  h[p, q] = sum(A[i, j] @ x[p+2*i, q+2*j] for i in -1..1, j in -1..1)
  u[r] = mean(poly(h[2*r+i, 2*r+j]) for i in 0..1, j in 0..1)
  output f = w*mean(v @ u[r] for r)
"""

GOOD = {
    **ZOO,
    "everything": EVERYTHING,
    "causal": CAUSAL,
    "tied": TIED,
    "transformer": TRANSFORMER,
    "abc": ABC,
    "flatten": FLATTEN,
    "densenet": DENSENET,
    "batchnorm": BATCHNORM,
    "pool": POOL,
}
