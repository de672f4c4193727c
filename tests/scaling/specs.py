"""Networks of the scaling tests, as a paper would write them."""

HEAD = """\
  width n
  dim   d = 3
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
"""

RESIDUAL = f"""network residual
{HEAD}  let L = 12
  weight W[l] : [n, n] ~ N(0, 1/n) for l in 1..L
  weight v : [n] ~ N(0, 1/n)
  h[0] = U @ x
  h[l] = h[l-1] + 1/sqrt(L) * (W[l] @ tanh(h[l-1])) for l in 1..L
  output f = v @ h[L]
"""

REGLU = f"""network reglu
{HEAD}  let L = 4
  weight G[l] : [n, n] ~ N(0, 1/n) for l in 1..L
  weight V[l] : [n, n] ~ N(0, 1/n) for l in 1..L
  weight W[l] : [n, n] ~ N(0, 1/n) for l in 1..L
  weight g[l] : [n] ~ 1 for l in 1..L
  weight b[l] : [n] = 1 * N(0, 0) for l in 1..L
  weight v : [n] ~ N(0, 1/n)
  h[0] = U @ x
  h[l] = g[l] * layernorm(h[l-1] + W[l] @ (relu(G[l] @ h[l-1]) * (V[l] @ h[l-1]))) + b[l] for l in 1..L
  output f = v @ h[L]
"""

RNN = """network rnn
  width n
  dim   d = 3
  index t in 1..3
  input x[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h[0] = 0
  h[t] = W @ tanh(h[t-1]) + U @ x[t]
  output f = v @ tanh(h[3])
"""

ATTENTION = """network attention
  width n
  dim   d = 3
  {let}
  index t, s in 1..4
  input x[t] : [d]
  weight E : [n, d] ~ N(0, 1/d)
  weight Q : [n, n] ~ N(0, 1/n)
  weight K : [n, n] ~ N(0, 1/n)
  weight V : [n, n] ~ N(0, 1/n)
  weight O : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  e[t] = E @ x[t]
  q[t] = Q @ e[t]
  k[t] = K @ e[t]
  a[t, s] = {scale} * dot(q[t], k[s])
  o[t] = e[t] + O @ sum(softmax(a[t, s] over s) * (V @ e[s]) for s)
  output f = v @ mean(relu(o[t]) for t)
"""

BIASES = f"""network biases
{HEAD}  weight W : [n, n] ~ N(0, 1/n)
  weight b1 : [n] = 1 * N(0, 0)
  weight b2 : [n] ~ N(0, 1)
  weight c : [] = 1 * N(0, 0)
  weight v : [n] ~ N(0, 1/n)
  h1 = U @ x + b1
  h2 = W @ relu(h1) + b2
  output f = v @ relu(h2) + c
"""

LAYERNORM = f"""network normalised
{HEAD}  weight W : [n, n] ~ N(0, 1/n)
  weight g : [n] ~ 1
  weight b : [n] = 1 * N(0, 0)
  weight v : [n] ~ N(0, 1/n)
  h1 = U @ x
  h2 = W @ relu(g * layernorm(h1) + b)
  output f = v @ relu(layernorm(h2))
"""

TIED = """network tied
  width n
  dim   d = 3
  {let}
  input x : [d]
  weight E : [n, d] ~ N(0, 1)
  weight W : [n, n] ~ N(0, 1/n)
  h1 = E @ x
  h2 = h1 + W @ tanh(h1)
  output f = {scale} * (E.T @ h2)
"""

ZERO = f"""network zero
{HEAD}  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] = 1 * N(0, 0)
  h1 = U @ x
  h2 = W @ tanh(h1)
  output f = v @ tanh(h2)
"""

BOTTLENECK = f"""network bottleneck
{HEAD}  width m
  weight D : [m, n] ~ N(0, 1/n)
  weight P : [n, m] ~ N(0, 1/m)
  weight v : [n] ~ N(0, 1/n)
  h1 = U @ x
  z = D @ tanh(h1)
  h2 = P @ tanh(z)
  output f = v @ tanh(h2)
"""

AUTOENCODER = f"""network autoencoder
{HEAD}  weight W : [n, n] ~ N(0, 1/n)
  h = W @ (U @ x)
  y = W.T @ tanh(h)
  output f = U.T @ y / n
"""


def mlp(L: int, phi: str = "tanh") -> str:
    """L hidden layers; the weights W1 … W(L+1) are declared one by one, so that each has exponents of its own."""
    lines = ["network mlp", "  width n", "  dim d = 3", "  input x : [d]", "  weight W1 : [n, d] ~ N(0, 1/d)"]
    lines += [f"  weight W{k} : [n, n] ~ N(0, 1/n)" for k in range(2, L + 1)]
    lines += [f"  weight W{L + 1} : [n] ~ N(0, 1/n)", "  h1 = W1 @ x"]
    lines += [f"  h{k} = W{k} @ {phi}(h{k - 1})" for k in range(2, L + 1)]
    return "\n".join([*lines, f"  output f = W{L + 1} @ {phi}(h{L})", ""])


GPT = """network gpt
  width n
  let   H = 4, L = 2, T = 8, alpha
  width m = n/H
  width k = 4*n
  dim   d = 32
  index t, s in 1..T
  input  x[t] : [d]
  weight E       : [n, d] ~ N(0, 1)
  weight P[t]    : [n]    ~ N(0, 9/100) for t
  weight Q[l, a] : [m, n] ~ N(0, 1/n)  for l in 1..L, a in 1..H
  weight K[l, a] : [m, n] ~ N(0, 1/n)  for l in 1..L, a in 1..H
  weight V[l, a] : [m, n] ~ N(0, 1/n)  for l in 1..L, a in 1..H
  weight O[l, a] : [n, m] ~ N(0, 1/n)  for l in 1..L, a in 1..H
  weight A[l]    : [k, n] ~ N(0, 1/n)  for l in 1..L
  weight B[l]    : [n, k] ~ N(0, 1/k)  for l in 1..L
  weight R       : [d, n] ~ N(0, 1/n)
  weight g1[l]   : [n] ~ 1             for l in 1..L
  weight c1[l]   : [n] = 1 * N(0, 0)   for l in 1..L
  weight g2[l]   : [n] ~ 1             for l in 1..L
  weight c2[l]   : [n] = 1 * N(0, 0)   for l in 1..L
  weight g       : [n] ~ 1
  weight c       : [n] = 1 * N(0, 0)
  z[0, t] = E @ x[t] + P[t]
  u[l, t] = g1[l] * layernorm(z[l-1, t]) + c1[l]                      for l in 1..L
  q[l, a, t] = Q[l, a] @ u[l, t]                                      for l in 1..L, a in 1..H
  r[l, a, t] = K[l, a] @ u[l, t]                                      for l in 1..L, a in 1..H
  v[l, a, t] = V[l, a] @ u[l, t]                                      for l in 1..L, a in 1..H
  w[l, a, t, s] = n^(-alpha) * dot(q[l, a, t], r[l, a, s])            for l in 1..L, a in 1..H
  o[l, a, t] = sum(softmax(w[l, a, t, s] over s in 1..t) * v[l, a, s] for s in 1..t)  for l in 1..L, a in 1..H
  y[l, t] = sum(O[l, a] @ o[l, a, t] for a in 1..H)                   for l in 1..L
  h[l, t] = A[l] @ (g2[l] * layernorm(z[l-1, t] + y[l, t]) + c2[l])   for l in 1..L
  p[l, t] = B[l] @ relu(h[l, t])                                      for l in 1..L
  z[l, t] = z[l-1, t] + y[l, t] + p[l, t]                             for l in 1..L
  e[t] = g * layernorm(z[L, t]) + c
  output f[t] = R @ e[t]
"""

HEADS = """network heads
  width H
  let   dh = 2
  {let}
  width n = 2*H
  dim   d = 3
  index t, s in 1..4
  index k in 1..dh
  input x[t] : [d]
  weight E : [n, d] ~ N(0, 1/d)
  weight Q[k] : [H, n] ~ N(0, 1/n) for k
  weight K[k] : [H, n] ~ N(0, 1/n) for k
  weight V[k] : [H, n] ~ N(0, 1/n) for k
  weight O[k] : [n, H] ~ N(0, 1/n) for k
  weight v : [n] ~ N(0, 1/n)
  e[t] = E @ x[t]
  q[t, k] = Q[k] @ e[t]
  r[t, k] = K[k] @ e[t]
  u[t, k] = V[k] @ e[t]
  a[t, s] = {scale} * sum(q[t, k] * r[s, k] for k)
  o[t, k] = sum(exp(a[t, s]) * u[s, k] for s) / sum(exp(a[t, s]) for s)
  y[t] = e[t] + sum(O[k] @ o[t, k] for k)
  output f = v @ mean(relu(y[t]) for t)
"""
