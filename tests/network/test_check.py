"""A right spec, resolved: axes, ranges, boundaries, values given from outside."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from network.specs import ABC, CAUSAL, EVERYTHING, GOOD, ZOO

from tp.errors import SpecError
from tp.network.check import check
from tp.network.parse import parse
from tp.network.show import show
from tp.network.tree import Binary, Call, Define, Function, Name, Num, Reduce
from tp.network.walk import expressions, walk

HEAD = """network n
  width n
  dim d = 4
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
"""


def checked(text, **overrides):
    return check(parse(text), overrides)


def lines(c, name):
    return [show(clause) for clause in c.families[name]]


def message(text, **overrides):
    with pytest.raises(SpecError) as caught:
        checked(text, **overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_good_specs_check_and_stay_as_they_are_written_out(name):
    c = checked(GOOD[name])
    assert check(c.network).network == c.network
    for s in c.network.statements:
        for e in () if isinstance(s, Function) else expressions(s):
            for x in walk(e):
                assert not isinstance(x, Call) or x.fn not in c.functions
                if isinstance(x, Reduce):
                    assert all(r.lo is not None and r.hi is not None for r in x.ranges)


# ---------------------------------------------------------------- axes


def test_axes_of_clauses_and_expressions():
    c = checked(ZOO["mlp"])
    first, rest = c.families["W"]
    assert (c.family_axes("W", first), c.family_axes("W", rest)) == (("n", "d"), ("n", "n"))
    assert c.family_axes("h") == ("n",)
    assert c.family_axes("f") == ()
    body = c.families["h"][0].body
    assert isinstance(body, Binary)
    assert c.axes(body) == ("n",)
    assert c.axes(body.left.left) == ("n", "d")


def test_a_number_among_vectors_is_a_vector():
    c = checked(ZOO["rnn"])
    zero = c.families["h"][0]
    assert zero.body == Num(Fraction(0))
    assert c.family_axes("h", zero) == ("n",)


def test_finite_sides_and_several_widths():
    c = checked(EVERYTHING)
    assert c.family_axes("M") == ("m", "n")
    assert c.family_axes("e") == ("d",)
    assert c.family_axes("c") == ()
    assert c.outputs == ("f", "e")


def test_multiples_of_matrices():
    c = checked(HEAD + "h = U @ x\ng = (-2*W.T/3) @ tanh(h)\noutput f = v @ g\n")
    product = c.families["g"][0].body
    m = c.matrix(product.left)
    assert (m.name.name, m.transpose, show(m.factor)) == ("W", True, "-2/3")
    assert c.matrix(Name("W")).factor is None


def test_functions_fit_what_they_are_given():
    c = checked(HEAD + "let twice(z) = 2*z\nh = twice(U @ x)\ns = twice(v @ h)\noutput f = s + avg(twice(h))\n")
    assert (c.family_axes("h"), c.family_axes("s")) == (("n",), ())
    assert lines(c, "h") == ["h = 2*(U @ x)"]


# ---------------------------------------------------------------- functions


def test_functions_are_written_out():
    c = checked(ZOO["layernorm"])
    assert lines(c, "h")[1] == ("h[l] = W[l] @ relu((h[l-1] - avg(h[l-1]))/sqrt(avg((h[l-1] - avg(h[l-1]))^2))) for l in 2..L")


def test_functions_along_an_index():
    text = HEAD.replace("x :", "x[i] :").replace("dim", "index i in 1..3\n  dim")
    c = checked(text + "h[i] = U @ x[i]\ng[i] = batchnorm(h[i] over i)\noutput f[i] = v @ g[i]\n")
    assert lines(c, "g") == [
        "g[i] = (h[i] - mean(h[i_1] for i_1 in 1..3))/sqrt(mean((h[i_2] - mean(h[i_3] for i_3 in 1..3))^2 for i_2 in 1..3))"
        " for i in 1..3"
    ]


def test_inner_indices_of_functions_do_not_catch_those_of_arguments():
    text = HEAD + "let c[k]\nlet poly(z) = sum(c[k]*z^k for k in 0..2)\n"
    c = checked(text + "h[k] = U @ x for k in 1..2\noutput f = sum(v @ poly(h[k]) for k in 1..2)\n")
    assert lines(c, "f") == ["output f = sum(v @ sum(c[k_1]*h[k]^k_1 for k_1 in 0..2) for k in 1..2)"]


def test_a_spec_may_have_its_own_version_of_the_prelude():
    c = checked(HEAD + "let layernorm(z) = z - avg(z)\noutput f = v @ layernorm(U @ x)\n")
    assert lines(c, "f") == ["output f = v @ (U @ x - avg(U @ x))"]
    assert checked(HEAD + "clip = U @ x\noutput f = v @ layernorm(clip)\n").family_axes("clip") == ("n",)
    assert "`relu` is built in" in message(HEAD + "let relu(z) = max(z, 0)\n")


# ---------------------------------------------------------------- ranges


def test_ranges_are_complete():
    c = checked(CAUSAL)
    (a,) = c.families["a"]
    assert [show(r) for r in c.ranges(a)] == ["t in 1..T", "s in 1..t"]
    original = next(s for s in parse(CAUSAL).statements if isinstance(s, Define) and s.name == "a")
    assert c.ranges(original) == original.ranges  # a tree of its own is taken as it is


def test_outer_ranges_come_first():
    c = checked(CAUSAL.replace("a[t, s] = dot(e[t], e[s])", "a[s, t] = dot(e[t], e[s])").replace("a[t, s] over", "a[s, t] over"))
    assert lines(c, "a") == ["a[s, t] = dot(e[t], e[s])/n for t in 1..T, s in 1..t"]


def test_a_line_with_an_empty_range_is_gone():
    c = checked(ZOO["mlp"], L=1)
    assert lines(c, "h") == ["h[1] = W[1] @ x + b[1]"]
    assert len(c.families["W"]) == 1


def test_boundaries_and_hulls():
    c = checked(ZOO["cnn2d"])
    assert c.boundary("x") == ("zero", "zero")
    assert c.boundary("A") == (None, None)
    assert c.boundary("f") == ()
    assert [(show(lo), show(hi)) for lo, hi in c.hull("g")] == [("0", "3"), ("0", "3")]


@pytest.mark.parametrize("mode", ["zero", "circular", "reflect"])
def test_boundaries_let_indices_out(mode):
    c = checked(ZOO["cnn1d"].replace("zero", mode))
    assert lines(c, "g")[0].endswith("for p in 0..P-1")


VALID = ZOO["cnn1d"].replace("zero", "valid")


def test_valid_shrinks():
    c = checked(VALID)
    assert lines(c, "h")[0].endswith("for p in 1..30")
    assert lines(c, "g")[0].endswith("for p in 2..29")
    assert lines(c, "f") == ["output f = v @ mean(relu(g[p]) for p in 2..29)"]


def test_valid_shrinks_symbols():
    c = checked(VALID, P=None)
    assert lines(c, "g")[0].endswith("for p in 2..P-3")
    assert c.lowest["P"] >= 5


def test_valid_shrinks_strides():
    c = checked(VALID.replace("B[k] @ relu(h[p+k])", "B[k] @ relu(h[2*p+k])"))
    assert lines(c, "g")[0].endswith("for p in 1..14")
    assert checked(VALID.replace("x[p+k]", "x[P-1-p+k]")).families


def test_explicit_ranges_do_not_shrink():
    text = VALID.replace("h[p+k]) for k in -1..1)", "h[p+k]) for k in -1..1) for p in 0..9")
    assert "`h[p+k]` reaches `h[-1]`" in message(text)


SHRUNK = """network n
  width n
  dim d = 4
  let L = 3
  index p in 0..9 boundary valid
  input x[p] : [d]
  weight A[k] : [n, d] ~ N(0, 1/d) for k in -1..1
  weight W[l] : [n, n] ~ N(0, 1/n) for l in 1..L
  weight v : [n] ~ N(0, 1/n)
  h[0, p] = sum(A[k] @ x[p+k] for k in -1..1)
  h[l, p] = h[l-1, p] + g[l, p] for l in 1..L
  g[l, p] = W[l] @ relu(h[l-1, p]) for l in 1..L
  output f = v @ mean(h[L, p] for p)
"""


def test_valid_follows_a_recursion_that_does_not_shift():
    c = checked(SHRUNK)
    assert lines(c, "g")[0].endswith("for l in 1..L, p in 1..8")
    assert lines(c, "h")[1].endswith("for l in 1..L, p in 1..8")
    assert "shrinks with every step" in message(SHRUNK.replace("relu(h[l-1, p])", "relu(h[l-1, p+1])"))


def test_families_of_symbols_know_where_they_are_used():
    c = checked(ABC)
    assert show(c.indices["l"]) == "index l in 1..4"
    assert "keep symbols, `let a[l]`" in message(ABC.replace("let a[l], b[l], c[l]", "let b[l], c[l]"))


# ---------------------------------------------------------------- recursions


@pytest.mark.parametrize(
    "body",
    [
        "h[t] = W @ tanh(h[t-1]) for t in 1..5\nh[0] = U @ x",  # forwards
        "h[t] = W @ tanh(h[t+1]) for t in 0..4\nh[5] = U @ x",  # backwards
        "h[0] = U @ x\nh[t] = g[t-1] for t in 1..5\ng[t] = W @ tanh(h[t]) for t in 0..5",  # through another
        "h[0] = U @ x\nh[t] = sum(h[s] for s in 0..t-1) for t in 1..5",  # over all of the past
        "k[0, t] = U @ x for t in 0..5\nk[l, 0] = U @ x for l in 1..2\n"
        "k[l, t] = W @ k[l, t-1] + k[l-1, t] for l in 1..2, t in 1..5\nh[t] = k[2, t] for t in 0..5",  # a lattice
        "h[0] = U @ x\nh[1] = U @ x\nh[t] = h[t-1] + h[t-2] for t in 2..5",  # two steps back
    ],
)
def test_recursions(body):
    c = checked(f"{HEAD}{body}\noutput f = v @ h[2]\n")
    assert c.family_axes("h") == ("n",)


@pytest.mark.parametrize(
    "body",
    [
        "h[t] = W @ tanh(h[t]) for t in 1..5",
        "h[t] = g[t] for t in 1..5\ng[t] = W @ h[t] for t in 1..5",
        "h[0] = U @ x\nh[t] = h[t-1] + g[t] for t in 1..5\ng[t] = h[t+1] for t in 0..4",
        "h[t] = h[6-t] for t in 1..5",
    ],
)
def test_cycles(body):
    assert "defined through itself" in message(f"{HEAD}{body}\noutput f = v @ h[2]\n")


def test_a_recursion_round_a_circle_is_a_cycle():
    text = HEAD.replace("dim", "index t in 1..5 boundary circular\n  dim")
    assert "defined through itself" in message(text + "h[t] = W @ tanh(h[t-1]) + U @ x\noutput f = v @ h[5]\n")


def test_a_boundary_of_zeros_begins_a_recursion():
    text = HEAD.replace("dim", "index t in 1..5 boundary zero\n  dim")
    assert checked(text + "h[t] = W @ tanh(h[t-1]) + U @ x\noutput f = v @ h[5]\n")


# ---------------------------------------------------------------- constants


def test_values_from_outside():
    c = checked(ZOO["mlp"], L=5, sw2=0.3, sb2=Fraction(1, 3), d=np.int64(7))
    assert c.numbers["L"] == 5
    assert c.numbers["sw2"] == Fraction(3, 10)
    assert c.lets["sb2"].value == Num(Fraction(1, 3))
    assert c.dims["d"].value == Num(Fraction(7))


def test_symbols():
    c = checked(ZOO["mlp"], L=None, sw2=None)
    assert c.lets["L"].value is None
    assert c.lowest == {"L": 2}
    assert "sw2" not in c.numbers


def test_lets_of_lets():
    c = checked(HEAD + "let a = 2, b = a^3/4, s = sqrt(b), q = exp(-a)*pi\noutput f = s*(v @ (U @ x))\n", a=6)
    assert c.numbers["b"] == 54
    assert c.numbers["s"] == pytest.approx(54**0.5)
    assert c.numbers["q"] == pytest.approx(np.exp(-6) * np.pi)


def test_tables_from_outside():
    c = checked(ZOO["gcn"], U=2, A=np.eye(2))
    assert show(c.lets["A"]) == "let A[u, w] = [[1, 0], [0, 1]]"
    assert "`A` has 3 entries here, but `u` takes 4 values" in message(ZOO["gcn"], A=[[0] * 4] * 3)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"l": 3}, "did you mean `L`?"),
        ({"depth": 3}, "it has `L`, `sw2`, `sb2`, `d`"),
        ({"n": 3}, "`n` is a width"),
        ({"L": "3"}, "`L` cannot be '3'"),
        ({"L": float("nan")}, "`L` cannot be nan"),
        ({"L": True}, "`L` cannot be True"),
        ({"L": [1, 2]}, "`L` cannot be a list"),
        ({"L": 2.5}, "must be a whole number"),
        ({"d": 0}, "`d` is 0"),
        ({"L": 10**9}, "at most 1,000,000"),
        ({"sw2": -1}, "the variance `sw2/d` is -0.1"),
        ({"sw2": 10**5000}, "`sw2` cannot be"),
    ],
)
def test_wrong_values_from_outside(overrides, said):
    assert said in message(ZOO["mlp"], **overrides)


# ---------------------------------------------------------------- several errors


def test_all_errors_are_reported_in_order():
    with pytest.raises(SpecError) as caught:
        checked(HEAD + "h = U @ y\ng[l] = W @ h for l in 1..3\noutput f = v @ (g[4] + x)\n  input z : [k]\n")
    found = [(d.span.line, type(d).__name__) for d in caught.value.diagnostics]
    assert found == [(8, "UndefinedName"), (10, "IndexOutOfRange"), (10, "AxesDiffer"), (11, "UnknownAxis")]


def test_what_is_wrong_once_is_said_once():
    text = HEAD + "let s = 1/0\nlet f(z) = q*z\nh = f(U @ x)*s\ng = f(h)*s + missing\noutput o = v @ (g + missing)\n"
    with pytest.raises(SpecError) as caught:
        checked(text)
    assert [type(d).__name__ for d in caught.value.diagnostics] == ["DivisionByZero", "UndefinedName", "UndefinedName"]
    assert "(also on line 12)" in str(caught.value)


def test_a_constant_that_empties_a_range_is_named():
    text = "network m\n  width n\n  let L = 0\n  weight b[l] : [n] ~ N(0, 1) for l in 2..L\n"
    assert "`L` is 0: make it 1 or more" in message(text)
