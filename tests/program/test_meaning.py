"""A program computes what the text says: both are executed at a small width and compared member by member."""

from __future__ import annotations

from pathlib import Path

import pytest
from program.meaning import agree

from tp.network.check import check
from tp.network.parse import parse
from tp.program.lower import lower
from tp.program.wellformed import check_program

HERE = Path(__file__).parent
SMALL = {"L": 3, "P": 6, "alpha": 0.5}
FILES = [*sorted((HERE.parents[1] / "tp" / "zoo").glob("*.tp")), *sorted((HERE / "specs").glob("*.tp"))]


def same(text: str, **overrides: object) -> int:
    checked = check(parse(text), overrides)
    program = lower(checked)
    check_program(program)
    return agree(checked, program)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_specs(path):
    text = path.read_text("utf-8")
    assert same(text, **{k: v for k, v in SMALL.items() if f"{k} =" in text or f" {k}\n" in text or f"{k}," in text}) > 0


HEAD = """network t
width n
width m = 2*n
dim d = 2
let T = 4
index t, s in 1..T
index p, q in 0..5 boundary {mode}
input x : [d]
input y[p, q] : [d]
weight U : [n, d] ~ N(0, 1/d)
weight W : [n, n] ~ N(0, 1/n)
weight A : [m, n] ~ N(0, 1/n)
weight v : [n] ~ N(0, 1/n)
weight b[t] : [n] ~ N(0, 1)
weight c[p] : [n] ~ N(0, 1)
h = U @ x
e[p, q] = U @ y[p, q]
"""

BODIES = {
    "functions": "let f1(z) = z*sigmoid(2*z)\noutput f = v @ (f1(W @ f1(h)) + layernorm(h) + rmsnorm(W.T @ h))",
    "widths": "g = A.T @ relu(A @ h)\noutput f = v @ g + avg(A @ h)^2",
    "softmax of sums": "output f[t] = v @ sum(softmax(dot(b[t], W @ b[s])/n over s in 1..t)*b[s] for s in 1..t)",
    "softmax over more": "output f[t] = v @ sum(softmax(dot(b[t], b[s]) over s)*b[s] for s in 1..t)",
    "nested softmax": "output f = sum(softmax(sum(softmax(avg(b[s]*b[t]) over s)*avg(b[s]^3) for s) over t)*avg(b[t]) for t)",
    "batchnorm": "g[t] = batchnorm(b[t]*2 over t)\noutput f = v @ relu(g[2])",
    "normalised sum": "output f = v @ sum(layernorm(W @ b[t]) for t)",
    "past": "g[0] = h\ng[t] = sum(tanh(W @ g[s]) for s in 0..t-1)\noutput f = v @ g[T]",
    "window": "g[t] = sum(W @ b[s] for s in t..t+1)  for t in 1..T-1\noutput f = v @ g[2]",
    "difference": "g[t] = sum(relu(W @ b[t-s]) for s in 0..t-1)\noutput f = v @ g[T]",
    "two taps": "g[p] = sum(W @ relu(c[p+k]) + W.T @ cos(c[p-k]) for k in -1..1)\noutput f = v @ mean(g[p]^2 for p)",
    "shared taps": "g[p] = sum(relu(c[p+k]*h) + avg(c[p+k])*c[p+k+1] for k in -1..1)\noutput f = v @ mean(g[p]^2 for p)",
    "far": "g[p] = W @ tanh(c[p+3]) + W @ tanh(c[p-4])\noutput f = v @ g[0]",
    "images": "g[p, q] = sum(W @ relu(e[p+i, q+j]) for i in -1..1, j in 0..1)\noutput f = v @ mean(g[p, q] for p, q)",
    "exponential images": "g[p, q] = sum(W @ exp(-e[p+i, q-i]^2) for i in 0..1)\noutput f = v @ mean(g[p, q] for p, q)",
    "layers of images": (
        "let L = 3\ng[1, p, q] = e[p, q]\n"
        "g[l, p, q] = sum(W @ relu(g[l-1, p+i, q]) for i in -1..1) + g[l-1, p, q]  for l in 2..L\noutput f = v @ g[L, 1, 1]"
    ),
    "strides": "index r in 0..2 boundary {mode}\ng[r] = sum(W @ tanh(c[2*r+i]) for i in -1..1)\noutput f = v @ (g[0] + g[2])",
    "moments of positions": (
        "g[p] = sum(c[p+k]*avg(c[p+k]^2)/(1 + dot(c[p+k], h)^2) for k in -1..1)\noutput f = v @ mean(g[p]^2 for p)"
    ),
    "finite vectors": "output f = U.T @ (W @ h) * x\noutput g = (x @ x)*(U.T @ h) + relu(x)",
    "flatten": "weight B[p] : [n] ~ N(0, 1)\noutput f = sum(B[p] @ c[p] for p)/sqrt(6)",
    "scaled matrices": "g = (2*W) @ h - (W.T/3) @ h\noutput f = v @ g",
    "backward": "g[T+1] = h\ng[t] = W.T @ g[t+1] * b[t]\noutput f = v @ g[1]",
    "gates": (
        "u[0] = 0\nw[0] = h\nu[t] = tanh(W @ w[t-1]) + sigmoid(u[t-1])*b[t]\nw[s] = u[s]*sigmoid(W @ u[s])\noutput f = v @ w[T]"
    ),
    "triangle": (
        "g[t, s] = avg(b[t]*b[s])  for s in 1..t\nu[t] = sum(g[t, s]*(W @ tanh(b[s])) for s in 1..t)\n"
        "output f = v @ sum(u[t] for t) + sum(g[t, s] for t, s in 1..t)"
    ),
    "means": "output f = v @ mean(b[t]*t/s for t, s in 1..t) + mean(mean(avg(b[s]) for s in 1..t) for t)",
    "extremes": "g = max(sum(b[t] for t), h) - min(W @ h, 1/2)\noutput f = v @ g + max(avg(h), 0)",
    "tables": (
        "let S[t, s] = [[1,2,3,4],[0,1,0,0],[1/2,0,sqrt(2),0],[1,1,1,1]]\noutput f = sum(S[t, s]*avg(b[s]*b[t]) for t, s)*S[3, 3]"
    ),
    "numbers": "let u = 3, w = u^2/7 + exp(1)*pi\noutput f = w*(v @ h) + u - 1 + avg(h)^3 + sqrt(avg(h^2))",
    "index values": "g[t] = b[t]/sqrt(t) + (-1)^t*h\noutput f = v @ sum(g[t]*2^(-t) for t)",
}


NEVER_VALID = {"far", "layers of images"}  # they read beyond every edge
MODES = ("zero", "circular", "reflect", "valid")
CASES = [(name, mode) for name, text in BODIES.items() for mode in (MODES if "c[p" in text or "e[p" in text else MODES[:1])]


@pytest.mark.parametrize(("name", "mode"), [c for c in CASES if c[1] != "valid" or c[0] not in NEVER_VALID])
def test_constructions(name, mode):
    assert same((HEAD + BODIES[name] + "\n").replace("{mode}", mode)) > 0
