"""Equations as a paper writes them: means that cancel, scalars that are one."""

from __future__ import annotations

import numpy as np
import pytest

import tp
from tp.limit.equations import Value
from tp.program.parts import within

SPEC = """network two
  width n
  dim   d = 3
  input  x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n]    ~ N(0, 1/n)
  weight w : [n]    ~ N(0, 1/n)
  h = U @ x
  output f = v @ FIRST
  output g = w @ SECOND
"""


def limit(first: str, second: str) -> tp.limit.equations.Limit:
    return tp.parse(SPEC.replace("FIRST", first).replace("SECOND", second)).ntk()


def sides(text: str, name: str) -> str:
    """The right side of an equation, and its where-clauses, on one line."""
    after = text[text.index(f"{name} = ") :].split("‹")[0]
    return " ".join(after.split()).removeprefix(f"{name} = ")


def test_a_mean_cancels_against_what_it_is():
    plain, closed = (
        limit("layernorm(relu(h))", "layernorm(h*h)").text(),
        limit("layernorm(relu(h))", "layernorm(h*h)").closed().text(),
    )
    assert sides(plain, "m2(x)") == "E[relu(u)²] − m1(x)² where u ~ N(0, K_h(x, x))"
    assert sides(plain, "K_f(x, x′)").startswith("(E[relu(u) relu(u′)] − m1(x) m1(x′))/√(m2(x) m2(x′))")
    assert sides(closed, "m4(x)") == "2 K_h(x, x)²" and sides(closed, "K_g(x, x′)") == "2 K_h(x, x′)²/√(m4(x) m4(x′))"


def test_norms_of_one_vector_on_two_lines_share_their_averages():
    found = limit("relu(layernorm(h))", "tanh(layernorm(h))")
    names = {v.a.name for e in found.equations for v in within(e.rhs, Value) if v.kind_name == "theta"}
    assert names == {"m2"} == {e.lhs.a.name for e in found.equations if isinstance(e.lhs, Value)}
    other = limit("relu(layernorm(h))", "tanh(layernorm(W @ tanh(h)))")
    assert len({e.lhs.a.name for e in other.equations if isinstance(e.lhs, Value)}) == 2


@pytest.mark.parametrize("output", ["f", "g"])
def test_tidied_kernels_are_those_of_finite_networks(output):
    """Correlations of normed features of two samples, at a width of 2^16: errors are some 1/256."""
    net = tp.parse(SPEC.replace("FIRST", "layernorm(relu(h))").replace("SECOND", "layernorm(h*h)"))
    X = np.random.default_rng(0).standard_normal((3, 3))
    h = np.random.default_rng(1).standard_normal((2**16, 3)) @ X.T / np.sqrt(3)
    z = np.maximum(h, 0) if output == "f" else h * h
    z = (z - z.mean(0)) / z.std(0)
    np.testing.assert_allclose(net.kernel("nngp", output=output)(X), z.T @ z / len(z), atol=0.03)


GATES = """network gates
  width n
  dim   d = 2
  input  x : [d]
  frozen weight F : [n, d] ~ N(0, 1)
  weight U : [n, d] ~ N(0, 1/d)
  weight W[l] : [n, n] ~ N(0, 1/n)  for l in 1..2
  weight v : [n]    ~ N(0, 1/n)
  p = tanh(U @ x)
  q = sin(F @ x)
  h[0] = q
  z[l] = tanh(W[l] @ h[l-1])       for l in 1..2
  h[l] = (1 - z[l])*p + z[l]*q  for l in 1..2
  output f = v @ h[2]
"""


def test_what_is_zero_everywhere_is_left_out_of_closed_forms():
    """E[tanh u], and the tangent of what is not trained."""
    plain, closed = tp.parse(GATES).ntk(), tp.parse(GATES).ntk().closed()
    assert "m_z[l](x)" in plain.text() and "m_z" not in closed.text()
    right = sides(closed.text(), "S_h[l](x, x′)")
    assert right.startswith("S_p(x, x′) + S_p(x, x′) S_z[l](x, x′) + S_q(x, x′) S_z[l](x, x′)")
    assert {e.lhs.a.name for e in closed.equations if e.rhs == 0} == {"h"}  # of h[0], whose others are not 0
    silent = tp.parse(GATES.replace("weight", "frozen weight").replace("frozen frozen", "frozen")).ntk().closed()
    assert sides(silent.text(), "Θ_f(x, x′)") == "0"  # what was asked for is said
