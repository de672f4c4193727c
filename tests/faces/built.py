"""Limits built by hand: one of every kind of formula, for the printers to be tested on."""

from __future__ import annotations

import sympy as sp

from tp.errors import Source, Span
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import relu, step
from tp.limit.equations import Entry, Equation, I, J, Limit, Value, Z
from tp.program.ir import Data, Loop, MatMul, Moment, Nonlin, Program, Range, Ref, Softmax, Space, Weight

n = sp.Symbol("n", positive=True, integer=True)
N = Space("n", n)
l, L, p, q, k, t, s, T = (sp.Symbol(name, integer=True) for name in ("l", "L", "p", "q", "k", "t", "s", "T"))
j_d = sp.Symbol("j_d", integer=True)
sw2, sb2, d = sp.Symbol("sw2", positive=True), sp.Symbol("sb2", positive=True), sp.Integer(10)
TP3 = "Yang 2020, Tensor Programs III, rule ZHat"
TP2 = "Yang 2020, Tensor Programs II"
TP1 = "Yang 2019, Tensor Programs I, Master Theorem"


def K(a: Ref, b: Ref, x: sp.Expr = I, y: sp.Expr = J) -> Entry:
    return Entry("K", a, b, x, y)


def theta(a: Ref, b: Ref, x: sp.Expr = I, y: sp.Expr = J) -> Entry:
    return Entry("Theta", a, b, x, y)


def pair(f: object, a: Ref, b: Ref, g: object = None) -> Expectation:
    """E[f(Z^a(x)) f(Z^b(x'))]."""
    u, v = Z(a, I), Z(b, J)
    cov = [[K(a, a, I, I), K(a, b)], [K(a, b), K(b, b, J, J)]]
    return Expectation(f(u) * (g or f)(v), (u, v), cov)  # type: ignore[operator]


def gaussian(ref: Ref, variance: sp.Expr, cols: Space | None = None, domain: tuple[Range, ...] = (), **more: object) -> Weight:
    one, zero = sp.S.One, sp.S.Zero
    return Weight(ref, domain, N, cols, one, zero, variance, one, **more)  # type: ignore[arg-type]


SPEC = """network mlp
  width n
  dim   d = 10
  let   L
  let   sw2, sb2
  input  x : [d]
  weight W[1] : [n, d] ~ N(0, sw2/d)
  weight W[l] : [n, n] ~ N(0, sw2/n)       for l in 2..L
  weight b[l] : [n]    ~ N(0, sb2)         for l in 1..L
  weight v    : [n]    ~ N(0, 1/n)
  h[1] = W[1] @ x + b[1]
  h[l] = W[l] @ relu(h[l-1]) + b[l]        for l in 2..L
  output f = v @ relu(h[L])
"""
SOURCE = Source("mlp.tp", SPEC)


def span(line: int) -> Span:
    return Span(SOURCE, line, 3, 4)


def mlp_program() -> Program:
    h = lambda e: Ref("h", e)  # noqa: E731
    layers = (Range(l, sp.Integer(2), L),)
    m1, m2 = Ref("m1", l), Ref("m2", l)
    body = (
        Nonlin(Ref("h", 1), sp.Sum(Ref("W", 1, j_d) * Ref("x", j_d), (j_d, 1, d)) + Ref("b", 1), N, (), span(11)),
        Loop(
            layers[0],
            (
                Nonlin(m1, relu(h(l - 1)), N, (), span(12)),
                MatMul(m2, Ref("W", l), m1, False, N, (), span(12)),
                Nonlin(h(l), m2 + Ref("b", l), N, (), span(12)),
            ),
        ),
        Moment(Ref("f"), Ref("v") * relu(h(L)), N, n, (), span(13)),
    )
    weights = (
        gaussian(Ref("W", 1, j_d), sw2 / d, domain=(Range(j_d, sp.S.One, d),), span=span(7)),
        gaussian(Ref("W", l), sw2 / n, N, layers, span=span(8)),
        gaussian(Ref("b", l), sb2, domain=(Range(l, sp.S.One, L),), span=span(9)),
        gaussian(Ref("v"), 1 / n, span=span(10)),
    )
    data = (Data(Ref("x", j_d), (Range(j_d, sp.S.One, d),), 1, span(6)),)
    return Program("mlp", (N,), data, weights, body, (Ref("f"),), constants=(L, sw2, sb2), temps=frozenset({"m1", "m2"}))


def mlp(phi: object = relu, dphi: object = step) -> Limit:
    h = lambda e: Ref("h", e)  # noqa: E731
    f, x = Ref("f"), Ref("x")
    layers = (Range(l, sp.Integer(2), L),)
    equations = (
        Equation(K(h(1), h(1)), sw2 / d * Entry("Gram", x, x) + sb2, (), "input layer", TP3, span(11)),
        Equation(K(h(l), h(l)), sw2 * pair(phi, h(l - 1), h(l - 1)) + sb2, layers, "hat covariance", TP3, span(12)),
        Equation(K(f, f), pair(phi, h(L), h(L)), (), "readout", TP1, span(13)),
        Equation(theta(h(1), h(1)), K(h(1), h(1)), (), "tangent kernel of an input layer", TP2, span(11)),
        Equation(
            theta(h(l), h(l)),
            K(h(l), h(l)) + sw2 * pair(dphi, h(l - 1), h(l - 1)) * theta(h(l - 1), h(l - 1)),
            layers, "backward pass with independent transposes", TP2, span(12),
        ),
        Equation(theta(f, f), K(f, f) + pair(dphi, h(L), h(L)) * theta(h(L), h(L)), (), "readout", TP2, span(13)),
    )  # fmt: skip
    return Limit(mlp_program(), ("K", "Theta"), (f,), equations)


def mlp_closed() -> Limit:
    """The relu recursions in closed form."""
    from dataclasses import replace

    def close(e: Expectation) -> sp.Expr:
        q1, c, q2 = e.cov[0, 0], e.cov[0, 1], e.cov[1, 1]
        angle = sp.pi - sp.acos(c / sp.sqrt(q1 * q2))
        return (sp.sqrt(q1 * q2 - c**2) + c * angle) / (2 * sp.pi) if e.has(relu) else angle / (2 * sp.pi)

    limit = mlp()
    closed = tuple(replace(e, rhs=e.rhs.replace(lambda x: isinstance(x, Expectation), close)) for e in limit.equations)
    return replace(limit, equations=closed)


def _program(name: str, refs: list[Ref], outputs: tuple[Ref, ...], inputs: list[Ref], **more: object) -> Program:
    data = tuple(Data(r, (), 1) for r in inputs)
    return Program(name, (N,), data, (), tuple(Nonlin(r, sp.S.Zero, N) for r in refs), outputs, **more)  # type: ignore[arg-type]


def conv() -> Limit:
    h, g, x = (lambda e, name=name: Ref(name, e) for name in "hgx")
    pq = (Range(p, sp.S.Zero, sp.Integer(31)), Range(q, sp.S.Zero, sp.Integer(31)))
    taps = (k, -1, 1)
    program = _program("conv", [h(p), g(p)], (Ref("f"),), [Ref("x", p, j_d)])
    third = sp.Rational(2, 9)
    mean = sp.Rational(1, 32**2) * sp.Sum(pair(relu, g(p), g(q)), (q, 0, 31), (p, 0, 31))
    pooled = sp.Rational(1, 32**2) * sp.Sum(pair(step, g(p), g(q)) * theta(g(p), g(q)), (q, 0, 31), (p, 0, 31))
    tangent = theta(h(p + k), h(q + k)) * pair(step, h(p + k), h(q + k))
    equations = (
        Equation(K(h(p), h(q)), third * sp.Sum(Entry("Gram", x(p + k), x(q + k)), taps), pq, "input layer", TP3),
        Equation(K(g(p), g(q)), sp.Rational(2, 3) * sp.Sum(pair(relu, h(p + k), h(q + k)), taps), pq, "hat covariance", TP3),
        Equation(K(Ref("f"), Ref("f")), mean, (), "readout", TP1),
        Equation(theta(h(p), h(q)), K(h(p), h(q)), pq, "input layer", TP2),
        Equation(theta(g(p), g(q)), K(g(p), g(q)) + sp.Rational(2, 3) * sp.Sum(tangent, taps), pq, "backward pass", TP2),
        Equation(theta(Ref("f"), Ref("f")), K(Ref("f"), Ref("f")) + pooled, (), "readout", TP2),
    )
    return Limit(program, ("K", "Theta"), (Ref("f"),), equations)


def rnn() -> Limit:
    h, x = (lambda e, name=name: Ref(name, e) for name in "hx")
    ts = (Range(t, sp.S.One, T), Range(s, sp.S.One, T))
    program = _program("rnn", [h(t)], (Ref("f"),), [Ref("x", t, j_d)], constants=(T,))
    v = sp.Rational(6, 5)
    gram = Entry("Gram", x(t), x(s)) / 8
    edge = sp.Piecewise((1, sp.And(t >= 2, s >= 2)), (0, True))
    prime = lambda z: 1 - sp.tanh(z) ** 2  # noqa: E731
    equations = (
        Equation(K(h(t), h(s)), v * edge * pair(sp.tanh, h(t - 1), h(s - 1)) + gram, ts, "hat covariance", TP3),
        Equation(K(Ref("f"), Ref("f")), sp.Sum(pair(sp.tanh, h(t), h(s)), (s, 1, T), (t, 1, T)) / T**2, (), "readout", TP1),
        Equation(
            theta(h(t), h(s)),
            K(h(t), h(s)) + v * edge * pair(prime, h(t - 1), h(s - 1)) * theta(h(t - 1), h(s - 1)),
            ts, "backward pass", TP2,
        ),
    )  # fmt: skip
    return Limit(program, ("K", "Theta"), (Ref("f"),), equations)


def attention() -> Limit:
    e, o, u1, x = (lambda i, name=name: Ref(name, i) for name in ("e", "o", "u1", "x"))
    r, r2 = sp.Symbol("r", integer=True), sp.Symbol("r'", integer=True)
    ts = (Range(t, sp.S.One, T), Range(s, sp.S.One, T))
    a = Ref("a", t, s)
    program = _program("attention", [e(t), o(t), a, Ref("z", t, s)], (Ref("f"),), [Ref("x", t, j_d)], constants=(T,))
    zeta = lambda i, j, who: Value("theta", Ref("z", i, j), who)  # noqa: E731
    soft = Softmax(Value("theta", a), Value("theta", Ref("a", t, r)), r, 1, T)
    mixed = sp.Sum(zeta(t, r, I) * zeta(s, r2, J) * K(e(r), e(r2)), (r2, 1, T), (r, 1, T))
    m = Value("m", e(t))
    equations = (
        Equation(K(e(t), e(s)), Entry("Gram", x(t), x(s)) / 8, ts, "input layer", TP3),
        Equation(Value("theta", a), K(e(t), e(s), I, I), ts, "moment", TP1),
        Equation(Value("theta", Ref("z", t, s)), soft, ts, "softmax of scalars", "definition"),
        Equation(Value("theta", Ref("z", t, sp.Integer(1))), Softmax(a, Ref("a", t, r), r, 1, t), ts, "softmax of scalars"),
        Equation(Value("theta", Ref("z", t, s + 1)), Softmax(Ref("a", t, s + 1), Ref("a", t, s), s, 1, t), ts, "softmax"),
        Equation(m, Expectation(relu(Z(e(t))), (Z(e(t)),), [[K(e(t), e(t), I, I)]]), (ts[0],), "mean", TP1),
        Equation(K(o(t), o(s)), mixed, ts, "hat covariance", TP3),
        Equation(K(u1(t), u1(s)), K(e(t), e(s)) + K(o(t), o(s)), ts, "independent Gaussians", TP3),
        Equation(K(e(t), o(s)), sp.S.Zero, ts, "independent letters", TP3),
        Equation(K(Ref("f"), Ref("f")), sp.Sum(pair(relu, u1(t), u1(s)), (s, 1, T), (t, 1, T)) / T**2, (), "readout", TP1),
    )
    named = ((u1(t), e(t) + o(t), (ts[0],)),)
    return Limit(program, ("K",), (Ref("f"),), equations, named)


def layernorm() -> Limit:
    h, x = Ref("h"), Ref("x")
    z, z2 = Z(h, I), Z(h, J)
    m1, m2 = Ref("mean_act"), Ref("var_act")
    mean = Expectation(relu(z), (z,), [[K(h, h, I, I)]])
    second = Expectation((relu(z) - Value("theta", m1)) ** 2, (z,), [[K(h, h, I, I)]])
    program = _program("layernorm", [h, m1, m2], (Ref("f"),), [Ref("x", j_d)])
    cov = [[K(h, h, I, I), K(h, h)], [K(h, h), K(h, h, J, J)]]
    wave = Expectation(sp.sin(z) * sp.exp(-(z2**2) / 2), (z, z2), cov)
    centred = lambda v, who: (relu(v) - Value("theta", m1, who)) / sp.sqrt(Value("theta", m2, who))  # noqa: E731
    equations = (
        Equation(K(h, h), Entry("Gram", x, x), (), "input layer", TP3),
        Equation(Value("theta", m1), mean, (), "moment", TP1),
        Equation(Value("theta", m2), second, (), "moment", TP1),
        Equation(K(Ref("f"), Ref("f")), Expectation(centred(z, I) * centred(z2, J), (z, z2), cov), (), "readout", TP1),
        Equation(Entry("S", Ref("y", l), Ref("y", l)), wave, (Range(l, sp.S.One, sp.Integer(2)),)),
    )
    return Limit(program, ("K",), (Ref("f"),), equations, power={"K": sp.Integer(1)})


def many() -> Limit:
    """Long sums, several triples of entries, three and five correlated Gaussians, awkward names, every operator."""
    a, b, c = Ref("alpha_in"), Ref("h_1", l, p), Ref("Kdot", l, p)
    b2, c2 = Ref("h_1", l, q), Ref("Kdot", l, q)
    zs = [Z(a), Z(b), Z(c)]
    cov3 = [[K(a, a, I, I), K(a, b, I, I), K(a, c, I, I)], [K(a, b, I, I), K(b, b, I, I), K(b, c, I, I)],
            [K(a, c, I, I), K(b, c, I, I), K(c, c, I, I)]]  # fmt: skip
    refs = [Ref("g", sp.Integer(i)) for i in range(5)]
    z5 = [Z(r) for r in refs]
    cov5 = [[K(r1, r2, I, I) for r1 in refs] for r2 in refs]
    site = (Range(l, sp.S.One, L), Range(p, sp.S.Zero, sp.Integer(7)), Range(q, sp.S.Zero, sp.Integer(7)))
    terms = sum(sp.Rational(i + 1, 7) * K(Ref("h_1", l - i, p + i), Ref("h_1", l - i, q + i)) for i in range(9))
    adjacency = Ref("A", p, k) * Ref("A", q, k)
    where = sp.Piecewise((terms, sp.Eq(p, q)), (K(b, b2) / 2, sp.And(p >= 1, p <= 3)), (0, True))
    program = _program("many", [b, c, a], (Ref("f"),), [Ref("50%_x", p)])
    datum = Value("data", Ref("50%_x", p))
    head = sp.Rational(3, 2) * sw2 ** sp.Rational(3, 2) * sp.sqrt(sw2 + 1) / (2 * sp.pi)
    equations = (
        Equation(K(b, b2), terms * sw2, site, "linear", TP3),
        Equation(K(c, c2), sp.Sum(terms * sw2 + sb2, (k, -1, 1)) / 3 + sp.KroneckerDelta(p, q) * sp.exp(-sw2), site),
        Equation(K(c, c2), where, site),
        Equation(Value("theta", Ref("f")), Expectation(zs[0] * zs[1] ** 2 * sp.erf(zs[2] / sp.sqrt(2)), zs, cov3)),
        Equation(Value("m", a), Expectation(sum(sp.tanh(z) for z in z5) ** 2 * z5[0] * z5[1], z5, cov5)),
        Equation(Value("theta", Ref("g_out", l)), sp.Max(datum, 0) ** 2 / (1 + sp.exp(-sb2)) + adjacency, site[:2]),
        Equation(K(Ref("f"), Ref("f")), head * (sw2 - sb2) * K(b, b2) ** 2),
    )
    return Limit(program, ("K",), (Ref("f"),), equations)


ALL = {f.__name__: f for f in (mlp, mlp_closed, conv, rnn, attention, layernorm, many)}
