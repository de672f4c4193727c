"""Hand-written programs: one per instruction and per way in which families are used."""

from __future__ import annotations

from typing import Any

import sympy as sp

from tp.gaussian.functions import relu
from tp.program.ir import Data, Loop, MatMul, Moment, Nonlin, Program, Range, Ref, Softmax, Space, Weight

n = sp.Symbol("n", positive=True, integer=True)
N = Space("n", n)
M = Space("m", n / 2)
i, j, k, l, p, s, t, c = sp.symbols("i j k l p s t c", integer=True)
F = sp.Rational


def over(index: sp.Symbol, lo: Any, hi: Any) -> Range:
    return Range(index, sp.sympify(lo), sp.sympify(hi))


def weight(ref: Ref, *domain: Range, rows: Space | None = N, cols: Space | None = None, var: Any = 1, **more: Any) -> Weight:
    defaults: dict[str, Any] = {"multiplier": sp.S.One, "mean": sp.S.Zero, "rate": sp.S.One}
    return Weight(ref, domain, rows, cols, variance=sp.sympify(var), **(defaults | more))


def program(name: str, data: list[Data], weights: list[Weight], body: list[Any], *outputs: Ref, **more: Any) -> Program:
    return Program(name, (N, M), tuple(data), tuple(weights), tuple(body), outputs or (Ref("f"),), **more)


def readout(expr: sp.Expr) -> Moment:
    """f = v @ expr."""
    return Moment(Ref("f"), Ref("v") * expr, N, coeff=n)


def mlp(depth: Any = 3, d: int = 3, sw2: Any = 2, sb2: Any = 0.1, phi: Any = relu, var_v: Any = 1 / n) -> Program:
    """h[1] = U x + b[1], h[l] = W[l] phi(h[l-1]) + b[l], f = v @ phi(h[L])."""
    body = [
        Nonlin(Ref("h", 1), sp.Sum(Ref("U", j) * Ref("x", j), (j, 1, d)) + Ref("b", 1), N),
        Loop(
            over(l, 2, depth),
            (
                Nonlin(Ref("g", l), phi(Ref("h", l - 1)), N),
                MatMul(Ref("m", l), Ref("W", l), Ref("g", l), False, N),
                Nonlin(Ref("h", l), Ref("m", l) + Ref("b", l), N),
            ),
        ),
        readout(phi(Ref("h", depth))),
    ]
    weights = [
        weight(Ref("U", j), over(j, 1, d), var=sp.sympify(sw2) / d),
        weight(Ref("W", l), over(l, 2, depth), cols=N, var=sp.sympify(sw2) / n),
        weight(Ref("b", l), over(l, 1, depth), var=sb2),
        weight(Ref("v"), var=var_v),
    ]
    constants = tuple(sp.sympify(depth).free_symbols)
    return program("mlp", [Data(Ref("x", j), (over(j, 1, d),), 1)], weights, body, constants=constants)


def conv(boundary: str = "zero", positions: int = 8, stride: int = 1, phi: Any = relu) -> Program:
    """Two convolutions with three taps, global average pooling; the data have one channel."""
    P = positions - 1
    out = over(p, 1, P - 1) if boundary == "valid" else over(p, 0, P)
    last = over(p, 2, P - 2) if boundary == "valid" else over(p, 0, P // stride)
    taps = over(k, -1, 1)
    body = [
        Nonlin(Ref("h", p), sp.Sum(Ref("A", k) * Ref("x", p + k), (k, -1, 1)), N, (out,)),
        Nonlin(Ref("r", p), phi(Ref("h", p)), N, (out,)),
        MatMul(Ref("m", p, k), Ref("B", k), Ref("r", stride * p + k), False, N, (last, taps)),
        Nonlin(Ref("g", p), sp.Sum(Ref("m", p, k), (k, -1, 1)), N, (last,)),
        readout(sp.Sum(phi(Ref("g", p)), (p, last.lo, last.hi)) / (last.hi - last.lo + 1)),
    ]
    edge = ((boundary, sp.S.Zero, sp.Integer(P)),)
    return program(
        "conv",
        [Data(Ref("x", p), (over(p, 0, P),))],
        [
            weight(Ref("A", k), taps, var=F(2, 3)),
            weight(Ref("B", k), taps, cols=N, var=2 / (3 * n)),
            weight(Ref("v"), var=1 / n),
        ],
        body,
        boundary={"x": edge, "h": edge, "r": edge},
    )


def rnn(steps: int = 4, d: int = 2) -> Program:
    """One W for all times."""
    body = [
        Nonlin(Ref("h", 0), sp.S.Zero, N),
        Loop(
            over(t, 1, steps),
            (
                Nonlin(Ref("y", t), sp.tanh(Ref("h", t - 1)), N),
                MatMul(Ref("m", t), Ref("W"), Ref("y", t), False, N),
                Nonlin(Ref("h", t), Ref("m", t) + sp.Sum(Ref("U", j) * Ref("x", t, j), (j, 1, d)), N),
            ),
        ),
        readout(sp.Sum(sp.tanh(Ref("h", t)), (t, 1, steps)) / steps),
    ]
    weights = [
        weight(Ref("U", j), over(j, 1, d), var=F(1, d)),
        weight(Ref("W"), cols=N, var=F(6, 5) / n),
        weight(Ref("v"), var=1 / n),
    ]
    return program("rnn", [Data(Ref("x", t, j), (over(t, 1, steps), over(j, 1, d)), 1)], weights, body)


def attention(steps: int = 3, d: int = 2, causal: bool = False) -> Program:
    """Softmax over logits that are Moments; values weighted by scalars inside a vector expression."""
    hi = t if causal else sp.Integer(steps)
    domain = (over(t, 1, steps), over(s, 1, hi))
    logit = Ref("a", t, s)
    weighted = sp.Sum(Softmax(logit, logit, s, 1, hi) * Ref("u", s), (s, 1, hi))
    body = [
        Nonlin(Ref("e", t), sp.Sum(Ref("E", j) * Ref("x", t, j), (j, 1, d)), N, (over(t, 1, steps),)),
        MatMul(Ref("q", t), Ref("Q"), Ref("e", t), False, N, (over(t, 1, steps),)),
        MatMul(Ref("k", t), Ref("K"), Ref("e", t), False, N, (over(t, 1, steps),)),
        MatMul(Ref("u", t), Ref("V"), Ref("e", t), False, N, (over(t, 1, steps),)),
        Moment(logit, Ref("q", t) * Ref("k", s), N, domain=domain),
        Nonlin(Ref("o", t), weighted, N, (over(t, 1, steps),)),
        readout(sp.Sum(relu(Ref("e", t) + Ref("o", t)), (t, 1, steps)) / steps),
    ]
    matrices = [weight(Ref(name), cols=N, var=1 / n) for name in "QKV"]
    weights = [weight(Ref("E", j), over(j, 1, d), var=F(1, d)), *matrices, weight(Ref("v"), var=1 / n)]
    return program("attention", [Data(Ref("x", t, j), (over(t, 1, steps), over(j, 1, d)), 1)], weights, body)


def hopfield(d: int = 2) -> Program:
    """W : [m, n] and its transpose, m = n/2."""
    body = [
        Nonlin(Ref("h"), sp.tanh(sp.Sum(Ref("U", j) * Ref("x", j), (j, 1, d))), N),
        MatMul(Ref("y"), Ref("W"), Ref("h"), False, M),
        Nonlin(Ref("a"), sp.tanh(Ref("y")), M),
        MatMul(Ref("z"), Ref("W"), Ref("a"), True, N),
        readout(Ref("z")),
    ]
    weights = [
        weight(Ref("U", j), over(j, 1, d), var=F(1, d)),
        weight(Ref("W"), rows=M, cols=N, var=1 / n),
        weight(Ref("v"), var=1 / n),
    ]
    return program("hopfield", [Data(Ref("x", j), (over(j, 1, d),), 1)], weights, body)


def layernorm(d: int = 3) -> Program:
    """Scalars that depend on vectors and vectors that depend on scalars; a trained gain, a scalar weight, a long form."""
    mean, square = Ref("mu"), Ref("var")
    body = [
        Nonlin(Ref("h"), sp.Sum(Ref("U", j) * Ref("x", j), (j, 1, d)), N),
        Moment(mean, Ref("h"), N),
        Moment(square, (Ref("h") - mean) ** 2, N),
        Nonlin(Ref("z"), Ref("gain") * (Ref("h") - mean) / sp.sqrt(square) + Ref("shift"), N),
        Nonlin(Ref("temperature"), sp.exp(Ref("c")) / (1 + square), None),
        readout(sp.erf(Ref("temperature") * Ref("z"))),
    ]
    weights = [
        weight(Ref("U", j), over(j, 1, d), var=F(1, d)),
        weight(Ref("gain"), var=0, mean=sp.S.One, short=False),
        weight(Ref("shift"), var=0, short=False),
        weight(Ref("c"), rows=None, var=F(1, 4)),
        weight(Ref("v"), var=1, multiplier=1 / sp.sqrt(n), rate=F(3, 2), short=False),
    ]
    return program("layernorm", [Data(Ref("x", j), (over(j, 1, d),), 1)], weights, body)


def backward_loop(steps: int = 4) -> Program:
    """A loop that runs downwards, over a tied vector and a tied matrix, with outputs at every time."""
    body = [
        Nonlin(Ref("h", steps + 1), Ref("b"), N),
        Loop(
            over(t, 1, steps),
            (
                MatMul(Ref("m", t), Ref("W"), Ref("h", t + 1), False, N),
                Nonlin(Ref("h", t), sp.sin(Ref("m", t)) + Ref("b") * Ref("x", t), N),
            ),
            reverse=True,
        ),
        Moment(Ref("f", t), Ref("v") * Ref("h", t), N, coeff=n, domain=(over(t, 1, steps),)),
    ]
    weights = [weight(Ref("W"), cols=N, var=1 / n), weight(Ref("b")), weight(Ref("v"), var=1 / n)]
    return program("backward", [Data(Ref("x", t), (over(t, 1, steps),))], weights, body, Ref("f", t))
