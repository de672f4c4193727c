"""Programs built by hand: what lowering, backpropagation and training must be able to write down."""

from __future__ import annotations

import sympy as sp

from tp.program.ir import Data, Loop, MatMul, Moment, Nonlin, Program, Range, Ref, Space, Weight

n = sp.Symbol("n", integer=True, positive=True)
L = sp.Symbol("L", integer=True, positive=True)
eta = sp.Symbol("eta", positive=True)
S = Space("n", n)
b, a, s, t, l, j, k, p = (sp.Symbol(name, integer=True) for name in ("b", "a", "s", "t", "l", "j_d", "k", "p"))
tanh = sp.tanh


def over(*ranges: tuple) -> tuple[Range, ...]:
    return tuple(Range(index, sp.Integer(lo) if isinstance(lo, int) else lo, sp.S(hi)) for index, lo, hi in ranges)


def weight(ref: Ref, domain: tuple, rows: Space | None, cols: Space | None, variance: sp.Expr) -> Weight:
    return Weight(ref, domain, rows, cols, sp.S.One, sp.S.Zero, sp.S(variance), sp.S.One)


def ref(name: str):
    return lambda *index: Ref(name, *index)


x, h, W, U, v, f, m, g, z, B, A, dx, dh = map(ref, ("x", "h", "W", "U", "v", "f", "m", "g", "z", "B", "A", "dx", "dh"))


def mlp() -> Program:
    layers = over((l, 2, L))
    loop = (
        Nonlin(z(l), tanh(h(l - 1)), S),
        MatMul(m(l), W(l), z(l), False, S),
        Nonlin(h(l), m(l) + Ref("b", l), S),
    )
    return Program(
        "mlp",
        (S,),
        (Data(x(j), over((j, 1, 10)), 1),),
        (
            weight(U(j), over((j, 1, 10)), S, None, sp.Rational(1, 5)),
            weight(W(l), layers, S, S, 2 / n),
            weight(Ref("b", l), over((l, 1, L)), S, None, sp.Rational(1, 10)),
            weight(v(), (), S, None, 1 / n),
        ),
        (
            Nonlin(h(1), sp.Sum(U(j) * x(j), (j, 1, 10)) + Ref("b", 1), S),
            Loop(layers[0], loop),
            Moment(f(), v() * tanh(h(L)), S, n),
        ),
        (f(),),
        constants=(L,),
    )


def rnn() -> Program:
    times = over((t, 1, 5))
    return Program(
        "rnn",
        (S,),
        (Data(x(t, j), over((t, 1, 5), (j, 1, 8)), 1),),
        (
            weight(U(j), over((j, 1, 8)), S, None, sp.Rational(1, 8)),
            weight(W(), (), S, S, sp.Rational(6, 5) / n),
            weight(v(), (), S, None, 1 / n),
        ),
        (
            Nonlin(h(0), sp.S.Zero, S),
            Loop(
                times[0],
                (
                    Nonlin(z(t), tanh(h(t - 1)), S),
                    MatMul(m(t), W(), z(t), False, S),
                    Nonlin(h(t), m(t) + sp.Sum(U(j) * x(t, j), (j, 1, 8)), S),
                ),
            ),
            Moment(f(), v() * sp.Sum(tanh(h(t)), (t, 1, 5)) / 5, S, n),
        ),
        (f(),),
    )


def conv() -> Program:
    taps, places = over((k, -1, 1)), over((p, 0, 31))
    outside = (("zero", sp.S.Zero, sp.Integer(31)),)
    return Program(
        "conv",
        (S,),
        (Data(x(p, j), over((p, 0, 31), (j, 1, 3)), 1),),
        (
            weight(A(k, j), over((k, -1, 1), (j, 1, 3)), S, None, sp.Rational(2, 9)),
            weight(B(k), taps, S, S, 2 / (3 * n)),
            weight(v(), (), S, None, 1 / n),
        ),
        (
            Nonlin(h(p), sp.Sum(sp.Sum(A(k, j) * x(p + k, j), (j, 1, 3)), (k, -1, 1)), S, places),
            Nonlin(z(p), tanh(h(p)), S, places),
            MatMul(m(p, k), B(k), z(p + k), False, S, places + taps),
            Nonlin(g(p), sp.Sum(m(p, k), (k, -1, 1)), S, places),
            Moment(f(), v() * sp.Sum(tanh(g(p)), (p, 0, 31)) / 32, S, n),
        ),
        (f(),),
        {"x": (*outside, (None, sp.S.One, sp.Integer(3))), "z": outside, "h": outside, "g": outside},
    )


def hopfield() -> Program:
    """W and its transpose: the answer needs the dot part of Z^{Wᵀ…}."""
    return Program(
        "hopfield",
        (S,),
        (Data(x(j), over((j, 1, 4)), 1),),
        (
            weight(U(j), over((j, 1, 4)), S, None, sp.Rational(1, 4)),
            weight(W(), (), S, S, 1 / n),
            weight(v(), (), S, None, 1 / n),
        ),
        (
            Nonlin(h(), sp.Sum(U(j) * x(j), (j, 1, 4)), S),
            Nonlin(Ref("x1"), tanh(h()), S),
            MatMul(Ref("y"), W(), Ref("x1"), False, S),
            Nonlin(Ref("x2"), tanh(Ref("y")), S),
            MatMul(z(), W(), Ref("x2"), True, S),
            Moment(f(), v() * z(), S, n),
        ),
        (f(),),
    )


def mlp_backward() -> Program:
    """The MLP and its backward pass, ``dh[l] = n ∂f/∂h[l]``: a loop downwards with Wᵀ.

    Source: theory of backpropagation as a program transformation, Yang 2020, Tensor Programs II, section 5.
    """
    forward = mlp()
    back = (
        Nonlin(dh(l), dx(l) * (1 - tanh(h(l)) ** 2), S),
        MatMul(dx(l - 1), W(l), dh(l), True, S),
    )
    body = (
        *forward.body,
        Nonlin(dx(L), v(), S),
        Loop(Range(l, sp.Integer(2), L), back, reverse=True),
        Nonlin(dh(1), dx(1) * (1 - tanh(h(1)) ** 2), S),
        Moment(Ref("r", l), dh(l) ** 2, S, domain=over((l, 1, L))),
    )
    return Program(
        "mlp_backward", forward.spaces, forward.data, forward.weights, body, (f(), Ref("r", l)), constants=forward.constants
    )


def sgd() -> Program:
    """Steps t = 0..3 of SGD on two hidden layers, two samples b: no weight is ever formed.

    ``W_t x = W x - Σ_{s<t} Σ_a η χ[s,a] dg[s,a] ⟨z[s,a], x⟩/n`` is one MatMul with the initial W, a Moment and a Nonlin.
    Source: Yang & Hu 2021, Tensor Programs IV, section 5.
    """
    samples, past, steps = over((b, 1, 2)), over((s, 0, t - 1), (a, 1, 2)), Range(t, sp.S.Zero, sp.Integer(3))
    chi, c, d, q, o, y = map(ref, ("chi", "c", "d", "q", "o", "y"))
    Ut, vt, dg = ref("Ut"), ref("vt"), ref("dg")

    def updates(term: sp.Expr) -> sp.Expr:
        """η Σ over all earlier steps and samples."""
        return eta * sp.Sum(sp.Sum(chi(s, a) * term, (a, 1, 2)), (s, 0, t - 1))

    body = (
        Nonlin(Ut(t, j), U(j) - updates(dh(s, a) * x(a, j)), S, over((j, 1, 4))),
        Nonlin(h(t, b), sp.Sum(Ut(t, j) * x(b, j), (j, 1, 4)), S, samples),
        Nonlin(z(t, b), tanh(h(t, b)), S, samples),
        Moment(c(t, b, s, a), z(s, a) * z(t, b), S, domain=samples + past),
        MatMul(m(t, b), W(), z(t, b), False, S, samples),
        Nonlin(g(t, b), m(t, b) - updates(c(t, b, s, a) * dg(s, a)), S, samples),
        Nonlin(vt(t), v() - updates(tanh(g(s, a))), S),
        Moment(f(t, b), vt(t) * tanh(g(t, b)), S, domain=samples),
        Nonlin(chi(t, b), (f(t, b) - y(b)) / 2, None, samples),
        Nonlin(dg(t, b), vt(t) * (1 - tanh(g(t, b)) ** 2), S, samples),
        Moment(d(t, b, s, a), dg(s, a) * dg(t, b), S, domain=samples + past),
        MatMul(q(t, b), W(), dg(t, b), True, S, samples),
        Nonlin(o(t, b), q(t, b) - updates(d(t, b, s, a) * z(s, a)), S, samples),
        Nonlin(dh(t, b), o(t, b) * (1 - tanh(h(t, b)) ** 2), S, samples),
    )
    return Program(
        "sgd",
        (S,),
        (Data(x(b, j), over((b, 1, 2), (j, 1, 4)), 1), Data(y(b), samples)),
        (weight(U(j), over((j, 1, 4)), S, None, 1), weight(W(), (), S, S, 1 / n), weight(v(), (), S, None, 1)),
        (Loop(steps, body),),
        (f(t, b),),
        constants=(eta,),
    )


ALL = {build.__name__: build for build in (mlp, rnn, conv, hopfield, mlp_backward, sgd)}
