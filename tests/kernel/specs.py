"""Small networks of every kind of structure that equations can have."""

MLP = """network mlp
  width n
  dim d = 3
  let L = {L}
  input x : [d]
  weight W[1] : [n, d] ~ N(0, {sw2}/d)
  weight W[l] : [n, n] ~ N(0, {sw2}/n)   for l in 2..L
  weight b[l] : [n] ~ N(0, {sb2})        for l in 1..L
  weight v : [n] ~ N(0, 1/n)
  h[1] = W[1] @ x + b[1]
  h[l] = W[l] @ {phi}(h[l-1]) + b[l]   for l in 2..L
  output f = v @ {phi}(h[L])
"""


def mlp(L=3, sw2="2", sb2="0.1", phi="relu"):
    return MLP.format(L=L, sw2=sw2, sb2=sb2, phi=phi)


def conv(mode="zero", readout="v @ mean(relu(g[p]) for p)", weight="v : [n]", phi="relu", stride=1, size=4):
    last = size - 1
    out = last if stride == 1 else (size - 1) // stride
    if mode == "valid":
        out = size - 3 if stride == 1 else (size - 3) // stride
    return f"""network conv
  width n
  dim c = 2
  index p in 0..{last} boundary {mode}
  index q in 0..{out} boundary {mode}
  input x[p] : [c]
  weight A[k] : [n, c] ~ N(0, 2/(3*c))  for k in -1..1
  weight B[k] : [n, n] ~ N(0, 2/(3*n))  for k in -1..1
  weight b : [n] ~ N(0, 0.2)
  weight {weight} ~ N(0, 1/n)
  h[p] = sum(A[k] @ x[p+k] for k in -1..1)
  g[q] = sum(B[k] @ {phi}(h[{stride}*q+k]) for k in -1..1) + b
  output f = {readout.replace("[p]", "[q]").replace("for p", "for q")}
"""


FLATTEN = conv(readout="sum(v[p] @ relu(g[p]) for p)", weight="v[q] : [n]")

RNN = """network rnn
  width n
  dim d = 2
  let T = 3
  index t in 1..T
  input x[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1.2/n)
  weight v : [n] ~ N(0, 1/n)
  h[0] = 0
  h[t] = W @ {phi}(h[t-1]) + U @ x[t]
  output f = v @ {readout}
"""

ATTENTION = """network attention
  width n
  dim d = 2
  index t, s in 1..3
  input x[t] : [d]
  weight E : [n, d] ~ N(0, 1/d)
  weight Q : [n, n] ~ N(0, 1/n)
  weight V : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  e[t] = E @ x[t]
  a[t, s] = dot(Q @ e[t], Q @ e[s]) / n
  o[t] = sum(softmax(a[t, s] over {over}) * (V @ e[s]) for {over})
  output f = v @ mean(relu(e[t] + o[t]) for t)
"""

LAYERNORM = """network layernorm
  width n
  dim d = 3
  let L = 3
  input x : [d]
  weight W[1] : [n, d] ~ N(0, 1/d)
  weight W[l] : [n, n] ~ N(0, 1/n)  for l in 2..L
  weight v : [n] ~ N(0, 1/n)
  h[1] = W[1] @ x
  h[l] = W[l] @ layernorm(relu(h[l-1]))  for l in 2..L
  output f = v @ relu(layernorm(h[L]))
"""

GCN = """network gcn
  width n
  dim d = 2
  index u, w in 1..3
  let A[u, w] = [[1/2, 1/2, 0], [1/3, 1/3, 1/3], [0, 1/4, 3/4]]
  input x[u] : [d]
  weight W1 : [n, d] ~ N(0, 2/d)
  weight W2 : [n, n] ~ N(0, 2/n)
  weight v : [n] ~ N(0, 1/n)
  h[u] = sum(A[u, w] * (W1 @ x[w]) for w)
  g[u] = sum(A[u, w] * (W2 @ relu(h[w])) for w)
  output f = v @ mean(relu(g[u]) for u)
"""

RESIDUAL = """network resmlp
  width n
  dim d = 3
  input x : [d]
  weight A : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h[1] = A @ x
  h[l] = h[l-1] + 1/2 * (W @ relu(h[l-1]))  for l in 2..3
  output f = v @ relu(h[3])
"""

TWO_INPUTS = """network two
  width n
  dim d = 2
  dim e = 3
  input x : [d]
  input y : [e]
  weight A : [n, d] ~ N(0, 1/d)
  weight B : [n, e] ~ N(0, 1/e)
  weight W : [n, n] ~ N(0, 2/n)
  weight v : [n] ~ N(0, 1/n)
  h = A @ x + B @ y
  g = W @ relu(h)
  output f = v @ relu(g)
"""

EVERY_TIME = """network all
  width n
  dim d = 2
  index t in 1..3
  input x[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1.2/n)
  weight v : [n] ~ N(0, 1/n)
  h[0] = 0
  h[t] = W @ relu(h[t-1]) + U @ x[t]
  output f[t] = v @ relu(h[t])
"""

STRUCTURES = {
    "mlp": mlp(),
    "erf": mlp(phi="erf"),
    "cosine": mlp(phi="cos", L=2),
    "conv zero": conv(),
    "conv cos zero": conv(phi="cos"),
    "conv circular": conv("circular"),
    "conv reflect": conv("reflect"),
    "conv valid": conv("valid", size=5),
    "conv stride": conv(stride=2, size=5),
    "conv flatten": FLATTEN,
    "rnn mean": RNN.format(phi="relu", readout="mean(relu(h[t]) for t)"),
    "rnn last": RNN.format(phi="erf", readout="erf(h[T])"),
    "attention": ATTENTION.format(over="s"),
    "attention causal": ATTENTION.format(over="s in 1..t"),
    "layernorm": LAYERNORM,
    "graph": GCN,
    "residual tied": RESIDUAL,
    "two inputs": TWO_INPUTS,
}
