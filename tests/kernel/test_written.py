"""Equations written by hand, with what a derivation may bring: deltas, indicators, softmax, tables, swapped samples."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import tp
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import relu
from tp.kernel.build import build
from tp.kernel.reference import reference
from tp.limit.equations import Entry, Equation, I, J, Limit, Value, Z
from tp.program.ir import Data, Program, Range, Ref, Softmax

P = 3
p, q, r, k, m = sp.symbols("p q r k m", integer=True)
f = Ref("f")


def across(index: sp.Symbol) -> Range:
    return Range(index, sp.Integer(0), sp.Integer(P - 1))


def limit(*equations: Equation, boundary="zero", tables=None) -> Limit:
    x = Data(Ref("x", p, r), (across(p), Range(r, sp.Integer(1), sp.Integer(2))), 1)
    edge = ((boundary, sp.Integer(0), sp.Integer(P - 1)),)
    edges = dict.fromkeys(("x", "h", "g", "a"), edge) | {"x": (*edge, (None, sp.Integer(1), sp.Integer(2)))}
    program = Program("written", (), (x,), (), (), (f,), edges, (), tables or {})
    return Limit(program, ("K",), (f,), equations)


def gram(a: sp.Expr, b: sp.Expr, s=I, t=J) -> Entry:
    return Entry("Gram", Ref("x", a), Ref("x", b), s, t)


def K(a: Ref, b: Ref, s=I, t=J) -> Entry:
    return Entry("K", a, b, s, t)


def both(body: sp.Expr, one=p, two=q) -> sp.Expr:
    return sp.Sum(sp.Sum(body, (two, 0, P - 1)), (one, 0, P - 1))


H = Equation(K(Ref("h", p), Ref("h", q)), gram(p, q) / 2 + sp.Rational(1, 5), (across(p), across(q)))


def second(a: sp.Expr, b: sp.Expr, s=I, t=J) -> sp.Expr:
    """E[relu(h[a](s)) relu(h[b](t))]."""
    one, two = Ref("h", a), Ref("h", b)
    cov = [[K(one, one, s, s), K(one, two, s, t)], [K(one, two, s, t), K(two, two, t, t)]]
    return Expectation(relu(Z(one, s)) * relu(Z(two, t)), (Z(one, s), Z(two, t)), cov)


def output(rhs: sp.Expr) -> Equation:
    return Equation(K(f, f), rhs)


inside = sp.Piecewise((1, sp.And(p + k >= 0, p + k <= P - 1)), (0, True))
A = ((across(p), across(q)), tuple(tuple(sp.Rational(a + 2 * b, 7) for b in range(P)) for a in range(P)))
logit = Equation(Value("theta", Ref("a", p, q)), K(Ref("h", p), Ref("h", q), I, I), (across(p), across(q)))


def weight(s: sp.Symbol, at: sp.Symbol) -> sp.Expr:
    """softmax over the second index of a, one sample's."""
    return Softmax(Value("theta", Ref("a", p, at), s), Value("theta", Ref("a", p, m), s), m, 0, P - 1)


def wave(s: sp.Symbol) -> sp.Expr:
    return sp.cos(Value("theta", Ref("s", p), s) * Z(Ref("g", p - 1), s))


LATER = Range(p, sp.Integer(1), sp.Integer(P - 1))
G, E = (K(Ref(name, p), Ref(name, p)) for name in "ge")
before = Ref("g", p - 1)
law = ((Z(before, I), Z(before, J)), [[K(before, before, s, t) for t in (I, J)] for s in (I, J)])
"""A recursion in p whose law also has a parameter, θ[p] = K[g[p-1]](i, i)/4, that comes after it: see "law and parameter"."""


shared = Softmax(Value("theta", Ref("a", p, q), I), Value("theta", Ref("a", p, m), I), m, 0, p)
LIMITS = {
    "delta in a sum": limit(H, output(both(sp.KroneckerDelta(p, q + 1) * second(p, q)))),
    "delta of other slope": limit(H, output(both(sp.KroneckerDelta(p, 2 - q) * second(p, q)))),
    "delta outside": limit(
        H,
        Equation(K(Ref("g", p), Ref("g", q)), sp.KroneckerDelta(p, q) * second(p, q) + 1, (across(p), across(q))),
        output(both(K(Ref("g", p), Ref("g", q)))),
    ),
    "indicator": limit(H, output(sp.Sum(sp.Sum(inside * second(p + k, p + k), (k, -1, 1)), (p, 0, P - 1))), boundary=None),
    "two reads of taps": limit(H, output(sp.Sum(both(second(p + k, q + k) * gram(p + k, q - k)), (k, -1, 1)))),
    "stride": limit(H, output(sp.Sum(second(2 * p + k, 2 * p - k), (k, -1, 1), (p, 0, 1)))),
    "triangle": limit(H, output(sp.Sum(sp.Sum(second(p, q), (q, 0, p)), (p, 0, P - 1)))),
    "table": limit(H, output(both(Ref("A", p, q) * Ref("A", q, p) * second(p, q))), tables={"A": A}),
    "swapped samples": limit(H, output(both((second(p, q) + second(p, q, J, I)) * (p + 1)))),
    "softmax": limit(H, logit, output(sp.Sum(both(weight(I, q) * weight(J, r) * second(q, r), q, r), (p, 0, P - 1)))),
    "causal softmax": limit(
        H,
        logit,
        Equation(Value("m", Ref("g", p)), sp.Sum(shared * Value("theta", Ref("a", p, q), I), (q, 0, p)), (across(p),)),
        output(both(Value("m", Ref("g", p), I) * Value("m", Ref("g", q), J)) + gram(1, 2)),
    ),
    "coordinates": limit(output(both(Value("data", Ref("x", p, 1), I) * Value("data", Ref("x", q + 1, 2), J) * gram(p, q)))),
    "a nested expectation": limit(
        H,
        output(
            Expectation(
                relu(Z(Ref("g", p), I)) * relu(Z(Ref("g", p), J)),
                (Z(Ref("g", p), I), Z(Ref("g", p), J)),
                [[1 + second(0, 0, I, I), second(0, 1)], [second(0, 1), 1 + second(1, 1, J, J)]],
            ).subs(p, 0)
        ),
    ),
    "law and parameter": limit(
        Equation(K(Ref("g", 0), Ref("g", 0)), gram(0, 0) + 1),
        Equation(G, Expectation(relu(Z(before, I)) * relu(Z(before, J)), *law), (LATER,)),
        Equation(Value("theta", Ref("s", p)), K(before, before, I, I) / 4, (LATER,)),
        Equation(K(Ref("e", 0), Ref("e", 0)), gram(0, 0)),
        Equation(E, G + K(Ref("e", p - 1), Ref("e", p - 1)) * Expectation(wave(I) * wave(J), *law), (LATER,)),
        output(K(Ref("e", P - 1), Ref("e", P - 1))),
        boundary=None,
    ),
    "a polynomial of four variables": limit(
        H,
        output(
            Expectation(
                Z(Ref("h", 0), I) ** 2 * Z(Ref("h", 1), I) * Z(Ref("h", 0), J) ** 2 * Z(Ref("h", 1), J),
                (zs := (Z(Ref("h", 0), I), Z(Ref("h", 1), I), Z(Ref("h", 0), J), Z(Ref("h", 1), J))),
                [[K(a.a, b.a, a.s, b.s) for b in zs] for a in zs],
            )
        ),
    ),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.usefixtures("uncompiled")
def test_written_equations(name):
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((2, 3, P, 2))
    kernel = build(LIMITS[name], threads=1, progress=False)
    rtol = 1e-6 if "four" in name else 1e-11  # the oracle integrates over a grid there
    np.testing.assert_allclose(kernel(X, Y), reference(LIMITS[name], X, Y)[0], rtol=rtol)
    np.testing.assert_allclose(kernel.diag(X), np.diag(reference(LIMITS[name], X)[0]), rtol=rtol)


def test_an_entry_that_nothing_defines():
    with pytest.raises(tp.LimitError, match=r"no equation gives K\[h, h\]"):
        build(limit(output(second(0, 0))))


def test_four_correlated_variables_are_refused():
    zs = [Z(Ref("h", n), s) for n in range(2) for s in (I, J)]
    product = sp.Mul(*(relu(z) for z in zs))
    with pytest.raises(tp.LimitError, match="4 correlated Gaussians"):
        build(limit(H, output(Expectation(product, zs, [[K(a.a, b.a, a.s, b.s) for b in zs] for a in zs]))))
