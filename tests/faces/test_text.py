"""Limits for the terminal."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
import sympy as sp
from faces import built

import tp
from tp.faces.letters import shortened
from tp.faces.notation import Notation, notation
from tp.faces.order import factored, in_factors
from tp.faces.plain import TextPrinter, greek
from tp.faces.text import text
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, Value
from tp.program.ir import Ref

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", built.ALL)
def test_derivations(name, golden):
    golden(GOLDEN / f"{name}.txt", text(built.ALL[name]()))


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
@pytest.mark.parametrize("name", ["mlp", "mlp_closed", "conv", "rnn", "attention", "layernorm"])
def test_lines_fit_the_terminal(name, columns):
    page = text(built.ALL[name](), columns)
    assert max(map(len, page.splitlines())) <= max(columns, 72)


x, y = sp.symbols("x y")


@pytest.mark.parametrize(
    ("expr", "shown"),
    [
        (x / 2, "x/2"),
        (-x - y, "−x − y"),
        (1 - x, "1 − x"),
        (sp.sqrt(x), "√x"),
        (sp.sqrt(x + y), "√(x + y)"),
        (x**3 / (2 * sp.pi), "x³/(2π)"),
        (x ** sp.Rational(3, 2), "x^(3/2)"),
        (sp.acos(x / sp.sqrt(x * y)), "arccos(x/√(x y))"),
        (sp.exp(-x), "exp(−x)"),
        (sp.Max(x, 0), "max(x, 0)"),
        ((x + 1) * (y + 1) / (x + y), "(x + 1) (y + 1)/(x + y)"),
    ],
)
def test_formulas(expr, shown):
    assert TextPrinter(Notation()).doprint(expr) == shown


def test_greek_names_are_greek_letters():
    assert [greek(n) for n in ("alpha", "Theta", "lambda", "alphabet", "mu'")] == ["α", "Θ", "λ", "alphabet", "μ′"]


def test_letters_over_a_norm_mean_what_they_replace():
    """Behind a layernorm q is K/m, so a closed form reads as it does without one; put back, it is the same number."""
    text = (
        "network net\n  width n\n  dim d = 4\n  input x : [d]\n  weight U : [n, d] ~ N(0, 1/d)\n  weight W : [n, n] ~ N(0, 1/n)\n"
    )
    text += "  weight v : [n] ~ N(0, 1/n)\n  h = U @ x\n  g = h + W @ gelu(layernorm(h))\n  output f = v @ g\n"
    limit = tp.parse(text).ntk().closed()
    for equation in limit.equations[-4:]:
        short, letters = shortened(equation, notation(limit))
        back = short.rhs
        for _ in range(2):  # a D is made of q, q', c
            back = back.xreplace({a.symbol: a.meaning for a in letters})
        given = {e: sp.Float(1.5 + k % 3 / 7) for k, e in enumerate(sorted(equation.rhs.atoms(Entry, Value), key=str))}
        assert abs(back.xreplace(given).evalf() - equation.rhs.xreplace(given).evalf()) < 1e-12
        assert not letters or not any(f.has(Value) for f in short.rhs.atoms(sp.asin))


def test_products_and_their_laws_are_told() -> None:
    """An equation with many vectors spells out their Z: what they are, and their laws, stand beside it."""
    net = tp.parse(
        "network g\n  width n\n  dim d = 2\n  input x : [d]\n  weight U : [n, d] ~ N(0, 1/d)\n  weight v : [n] ~ N(0, 1/n)\n"
        + "".join(f"  weight {w} : [n, n] ~ N(0, 1/n)\n" for w in "ABCD")
        + "  h = U @ x\n  y = tanh(A @ h) * tanh(B @ h) * tanh(C @ h) * tanh(D @ relu(h))\n  output f = v @ y\n"
    )
    told = net.nngp().text()
    assert "m1 := A h" in told and "m3 := C h" in told and "(Z_m1(x), Z_m1(x′)) ~ N(0, Λ_h(x, x′))" in told
    m = next(line for line in told.splitlines() if line.endswith(":= D relu(h)")).split()[0]
    assert f"K_{m}(x, x′) = " in told and f"(Z_{m}(x), Z_{m}(x′)) ~" not in told  # it has an equation of its own


WRITTEN = """
network written
  width n
  dim   d = 4
  let   L = 3
  input  x : [d]
  weight U    : [n, d] ~ N(0, 1/d)
  weight W[l] : [n, n] ~ N(0, 1/n)  for l in 1..L
  weight G[l] : [n, n] ~ N(0, 1/n)  for l in 1..L
  weight v    : [n] ~ N(0, 1/n)
  h[0] = tanh(U @ x)
  h[l] = silu(G[l] @ h[l-1]) * (W[l] @ h[l-1])  for l in 1..L
  output f = v @ tanh(h[L]*(U @ x))
"""


def test_what_terms_share_is_written_once():
    """The printed sum is the equation's, and shorter; minus signs of all terms stand in front."""
    limit = tp.parse(WRITTEN.replace("tanh(h[L]*(U @ x))", "tanh(W[1] @ tanh(h[L]))")).ntk()
    for equation in limit.equations:
        short = factored(equation.rhs)
        assert sp.expand(short - equation.rhs) == 0
        assert short.count_ops() <= equation.rhs.count_ops()
    a, b, c = (Entry("K", Ref(name), Ref(name)) for name in "abc")
    assert TextPrinter(Notation()).doprint(factored(-a * b - a * c - a * x)) == "−K_a(x, x′) (K_b(x, x′) + K_c(x, x′) + x)"
    assert factored(x * a + x * b + x * c) == x * a + x * b + x * c  # a constant in front of each says what each is


def test_a_recursion_of_products_stays_one():
    """``h = φ(W h)`` is a recursion of ``W h``, as deep as it may be, with no layer of it written out."""
    page = tp.parse(WRITTEN.replace("tanh(h[L]*(U @ x))", "h[L]")).ntk().text()
    assert "for l = 2…3" in page
    assert "m1[l] := G[l] h[l-1]" in page
    assert tp.parse(WRITTEN.replace("tanh(h[L]*(U @ x))", "h[L]"), L=None).ntk().text().count("for l = 2…L") == 4


def test_initial_vectors_are_not_taken_apart():
    """Two pre-activations that share ``U @ x`` have ⟨x, x′⟩ in common, not products with columns of U."""
    page = tp.parse("""
network shared
  width n
  dim   d = 4
  input x : [d]
  input y : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight A : [n, d] ~ N(0, 1/d)
  weight v : [n]    ~ N(0, 1/n)
  output f = v @ (tanh(U @ x) * sin(U @ x + A @ y))
""").nngp()
    assert "K_u1,u2(ξ, ξ′) = 1/4 ⟨x, x′⟩" in page.text()
    assert "u1 := A y + U x" in page.text()
    assert "j_d" not in page.text()
    assert {e.span.line for e in page.equations} == {10}  # where they are made, not where U is declared


NET = """network g
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight v : [n] ~ N(0, 1/n)
  let phi(z) = sin(z) + cos(2*z)
  h = U @ x
"""


def test_a_letter_has_one_law() -> None:
    """Behind a norm the variables of sin and cos(2·) differ in variance alone: each has a letter and a law of its own."""
    limit = tp.parse(NET + "  output f = v @ phi(rmsnorm(h))\n").nngp()
    assert all(
        clause in limit.text() for clause in ("Var u1 = K_h(x, x)/", "Var u2 = 4 K_h(x, x)/", "Cov(u1, u2′) = 2 K_h(x, x′)/")
    )
    equation, _ = shortened(limit.equations[-1], notation(limit))
    laws: dict[frozenset[sp.Basic], set[sp.Basic]] = {}
    for e in equation.rhs.atoms(Expectation):
        for i, j in product(range(2), range(2)):
            laws.setdefault(frozenset((e.variables[i], e.variables[j])), set()).add(e.cov[i, j])
    assert len(laws) == 8 and all(len(found) == 1 for found in laws.values())


def test_indicators_are_written_as_such() -> None:
    told = tp.parse(NET + "  output f = v @ hardtanh(h)\n").ntk().text()
    assert "1[1 − u > 0]" in told and "Heaviside" not in told


def test_expectations_in_factors_and_letters_for_arguments_are_the_same():
    limit = tp.zoo("symmetric_rnn", T=3).ntk()
    seen = 0
    for equation in limit.equations:
        for e in equation.rhs.atoms(Expectation):
            short = in_factors(e)
            assert sp.expand(short.integrand - e.integrand) == 0 and short.variables == e.variables
            seen += short != e
        brief, letters = shortened(equation, notation(limit))
        assert brief.rhs.xreplace({a.symbol: a.meaning for a in letters}) == equation.rhs
    assert seen > 4
    page = limit.text()
    assert "D2 = " in page and len(page.splitlines()) < 150 and max(map(len, page.splitlines())) <= 100
    assert "c_x1_m1 the mean derivative of x1 by the Gaussian part of m1" in " ".join(page.split())


def test_letters_of_closed_forms_are_no_names_of_the_spec() -> None:
    """An index q and a vector r2, which reads as r with a subscript, leave s."""
    net = NET.replace("input x : [d]", "index q in 0..1\n  input x[q] : [d]").replace("h = U @ x", "r2[q] = U @ x[q]")
    told = tp.parse(net + "  output f[q] = v @ relu(r2[q])\n").nngp().closed().text()
    assert "where s = K_r2[q](x, x), s′ = K_r2[q](x′, x′), c = " in told


def test_a_letter_has_the_index_of_a_sum_inside_a_function() -> None:
    net = NET.replace("input x : [d]", "index p in 0..1\n  input x[p] : [d]").replace("h = U @ x", "h[p] = U @ x[p]")
    told = tp.parse(net + "  output f = v @ relu(mean(relu(h[p]) for p) - 1)\n").nngp().text()
    assert "relu(u[p])" in told and "relu(u)" not in told


GATED = """network gated
  width n
  dim   d = 3
  input  x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight A : [n, n] ~ N(0, 1/n)
  weight B : [n, n] ~ N(0, 1/n)
  weight v : [n]    ~ N(0, 1/n)
  h = U @ x
  output f = v @ (gelu(A @ h) * (gelu(B @ h) + 1))
"""


def test_letters_stand_in_the_meaning_of_others() -> None:
    """What a long closed form repeats is written once, the determinant D1 in it too, and means the same."""
    limit = tp.parse(GATED).ntk().closed()
    equation = limit.equations[-1]
    brief, letters = shortened(equation, notation(limit))
    nested = [a for a in letters if any(a.meaning.has(b.symbol) for b in letters if b.letter == "D")]
    assert nested and brief.rhs.count_ops() < 0.5 * equation.rhs.count_ops()
    whole = brief.rhs
    for a in reversed(letters):
        assert a.meaning.count_ops() < 40
        whole = whole.xreplace({a.symbol: a.meaning})
    entries = sorted(whole.atoms(Entry), key=str)
    numbers = {e: sp.Rational(k + 7, 5) if e.s == e.t else sp.Rational(k + 1, 9) for k, e in enumerate(entries)}
    assert abs(sp.N((whole - equation.rhs).xreplace(numbers), 30)) < 1e-25


def test_long_fractions_print_as_decimals() -> None:
    limit = tp.parse(NET + "  output f = v @ selu(h)\n").nngp()
    for face in (limit.text(), limit.closed().text(), limit.latex(), limit.closed().latex()):
        assert not re.search(r"\d{9}", re.sub("arXiv.*", "", face)) and "rounded to 6 digits" in face
    assert "1.10397 E[elu(u, 1.67326) elu(u′, 1.67326)]" in limit.text()
    assert "rounded" not in tp.parse(NET + "  output f = v @ elu(h, 0.25)\n").nngp().text()
