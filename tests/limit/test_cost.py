"""What a formula costs is the size of the answer, not of a detour: sharing, independence and counts known beforehand."""

import numpy as np
import pytest
import sympy as sp

import tp
from tp.gaussian.expectation import Expectation
from tp.kernel.build import build
from tp.kernel.reference import reference
from tp.limit import forms, moments, take
from tp.limit.equations import Entry, I, J
from tp.limit.zcalculus import calculus

HEAD = """network a
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight V : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
"""


def net(*lines):
    return tp.parse(HEAD + "".join(f"  {line}\n" for line in lines))


def test_a_closed_sum_of_variables_is_no_number():
    nested = "U @ x"
    for _ in range(60):
        nested = f"tanh({nested})"
    assert len(net(f"output f = v @ {nested}").nngp().equations) == 2


def test_products_of_sums_factor_and_collect():
    product = " * ".join(f"(tanh(g) + {k} * tanh(h))" for k in range(1, 20))
    (f,) = (e for e in net("g = U @ x", "h = V @ x", f"output f = v @ ({product})").nngp().equations if e.lhs.a.name == "f")
    assert len(f.rhs.atoms(Expectation)) <= 2 * 20 * 20  # 2^38 multiplied out


def test_independent_factors_have_the_product_of_their_means():
    (f,) = (
        e for e in net("g = U @ x", "h = V @ x", "output f = v @ ((g + 1) * (h + 2))").nngp().equations if e.lhs.a.name == "f"
    )
    assert f.rhs.xreplace(dict.fromkeys(f.rhs.atoms(Entry), sp.Integer(3))) == (3 + 1) * (3 + 4)


def test_a_gated_recursion_with_a_matrix_has_a_limit():
    """``h[t-1]`` is ``h[0]`` at t = 1 only: the other times know it, and do not ask again."""
    text = """network lstm
  width n
  index t in 1..4
  dim d = 2
  input x[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight V : [n, d] ~ N(0, 1/d)
  weight A : [n, n] ~ N(0, 1/n)
  weight B : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h[0] = 0
  h[t] = sigmoid(U @ x[t] + A @ h[t-1]) * tanh(V @ x[t] + B @ h[t-1])
  output f = v @ h[4]
"""
    limit = tp.parse(text).nngp()
    assert [str(r) for e in limit.equations for r in e.domain] == ["t in 2..4", "t in 2..4"]


def test_long_covariances_are_equations_of_their_own(monkeypatch):
    body = ("h = U @ x", "y = W @ tanh(h) + h", "output f = v @ tanh(y)")
    whole = net(*body).ntk()
    monkeypatch.setattr(moments, "LONGEST", 0)
    cut = net(*body).ntk()
    assert len(cut.equations) > len(whole.equations)


@pytest.mark.usefixtures("quick")
def test_covariances_are_the_same_in_one_formula_and_in_several(monkeypatch):
    body = ("y = sigmoid(W @ tanh(U @ x)) * (U @ x)", "output f = v @ (y + tanh(V @ x) * y)")
    X = np.linspace(-1.0, 1.0, 6).reshape(3, 2)
    monkeypatch.setattr(moments, "INSIDE", 60)
    whole = net(*body).ntk()
    monkeypatch.setattr(moments, "LONGEST", 0)
    monkeypatch.setattr(moments, "INSIDE", 0)
    cut = net(*body).ntk()
    assert len(cut.equations) > len(whole.equations)
    for one, other in zip(*(build(limit, progress=False)(X) for limit in (cut, whole)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_formulas_that_double_with_every_product_are_refused(monkeypatch):
    monkeypatch.setattr(calculus, "HUGE", 20)
    deep = net("h[0] = U @ x", "h[l] = W @ tanh(W.T @ tanh(h[l-1])) for l in 1..30", "output f = v @ tanh(h[30])")
    with pytest.raises(tp.LimitError, match="would be a formula of"):
        deep.nngp()


def test_a_carried_state_is_refused_where_it_is_carried():
    text = """network gru
  width n
  index t in 1..3
  dim d = 2
  input x[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight A : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h[0] = 0
  z[t] = sigmoid(U @ x[t] + A @ h[t-1])
  h[t] = (1 - z[t]) * h[t-1] + z[t]
  output f = v @ h[3]
"""
    with pytest.raises(tp.LimitError, match="carried on without a weight matrix") as refusal:
        tp.parse(text).nngp()
    assert refusal.value.diagnostics[0].span.line == 11
    assert "u1" not in str(refusal.value)


def laws(limit):
    """Expectations within the covariances of others."""
    return [e for q in limit.equations for x in q.rhs.atoms(Expectation) for e in x.cov.atoms(Expectation)]


def test_no_expectation_has_another_in_its_law():
    gate = "sigmoid({g} @ h{i}) * tanh({a} @ h{i}) + (1 - sigmoid({g} @ h{i})) * h{i}"
    body = [f"h{i + 1} = " + gate.format(g="ABCD"[i], a="EFGH"[i], i=i) for i in range(4)]
    weights = [f"weight {w} : [n, n] ~ N(0, 1/n)" for w in "ABCDEFGH"]
    limit = net(*weights, "h0 = U @ x", *body, "output f = v @ h4").ntk()
    assert not laws(limit)
    assert len(limit.equations) < 20


def test_functions_of_functions_of_norms_are_derived_one_by_one():
    body = [f"h{i + 1} = layernorm(tanh(h{i}))" for i in range(8)]
    limit = net("h0 = U @ x", *body, "output f = v @ h8").nngp()
    assert sum(e.lhs.args[0].name == "theta" for e in limit.equations) == 16  # a mean and a norm in each


def test_the_tangent_of_independent_factors_is_a_sum_over_them():
    weights = [f"weight G{i} : [n, d] ~ N(0, 1/d)" for i in range(8)]
    y = " * ".join(f"(1 + G{i} @ x)" for i in range(8))
    limit = net(*weights, f"output f = v @ ({y})").ntk()
    q = sp.Symbol("q")
    by_output = {e.lhs.args[0].name: e.rhs for e in limit.equations}
    values = {k: e.replace(lambda a: isinstance(a, Entry) and a.kind_name == "Gram", lambda a: q) for k, e in by_output.items()}
    K = (1 + q / 2) ** 8
    theta = values["Theta"].replace(lambda a: isinstance(a, Entry), lambda a: K)
    assert sp.expand(values["K"] - K) == 0
    assert sp.expand(theta - K - 8 * q / 2 * (1 + q / 2) ** 7) == 0


def test_high_powers_of_sums_are_powers_of_one_gaussian():
    (u, f) = net("output f = v @ (U @ x)^3").nngp().closed().equations
    q, r, c = sp.symbols("q r c")
    at = {Entry("K", u.lhs.a, u.lhs.a, s, t): z for s, t, z in ((I, I, q), (J, J, r), (I, J, c))}
    assert sp.expand(f.rhs.xreplace(at) - (9 * q * r * c + 6 * c**3)) == 0


@pytest.mark.usefixtures("quick")
def test_a_chain_of_gates_is_carried_on_as_a_loop_is():
    step = "sigmoid({g} @ {h}) * relu({a} @ {h}) + (1 - sigmoid({g} @ {h})) * {h}"
    weights = [f"weight {w}[l] : [n, n] ~ N(0, 1/n) for l in 1..6" for w in "AG"]
    lines = [f"h{i} = " + step.format(g=f"G[{i}]", a=f"A[{i}]", h=f"h{i - 1}") for i in range(1, 7)]
    written = net(*weights, "h0 = U @ x", *lines, "output f = v @ h6").ntk()
    loop = "h[l] = " + step.format(g="G[l]", a="A[l]", h="h[l-1]") + " for l in 1..6"
    looped = net(*weights, "h[0] = U @ x", loop, "output f = v @ h[6]").ntk()
    assert max(sp.count_ops(e.rhs) for e in written.equations) <= max(sp.count_ops(e.rhs) for e in looped.equations)
    X = np.linspace(-1.0, 1.5, 4).reshape(2, 2)
    for one, other in zip(reference(written, X), reference(looped, X), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.usefixtures("quick")
def test_a_chain_whose_moments_do_not_close_is_written_out():
    body = ("y = h * tanh(W @ h)", "z = y * tanh(V @ x) + y", "w = z * tanh(V @ x) + z", "output f = v @ w")
    limit = net("h = U @ x", *body).nngp()
    X = np.array([[0.5, -1.0]])
    q = 0.625
    u = expected(lambda a: a * a, lambda a: np.tanh(a) ** 2, q)
    gate = expected(lambda a: (1 + np.tanh(a)) ** 4, None, q)
    np.testing.assert_allclose(reference(limit, X)[0], [[u * gate]], rtol=1e-9)


def expected(one, other, q):
    """The product of two means over N(0, q), by Gauss–Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    means = [weights @ f(np.sqrt(q) * nodes) / weights.sum() for f in (one, other) if f is not None]
    return np.prod(means)


def _stack(depth):
    layers = [f"h{k + 1} = layernorm(tanh({'U @ x' if k == 0 else f'h{k}'}))" for k in range(depth)]
    return net(*layers, f"output f = v @ h{depth}")


def test_slopes_of_nested_functions_of_one_gaussian_are_one_function(monkeypatch):
    """The slope is a product of 1 - tanh² at every depth: 2^depth terms a side multiplied out."""
    (deep,) = (e for e in _stack(5).ntk().equations if str(e.lhs).startswith("Theta[f"))
    assert len(deep.rhs.atoms(Expectation)) <= 4
    X = np.random.default_rng(0).normal(size=(2, 2))
    whole = reference(_stack(2).ntk(), X)[1]
    monkeypatch.setattr(forms, "FEW", 1)
    assert np.allclose(whole, reference(_stack(2).ntk(), X)[1], rtol=1e-9)


@pytest.mark.parametrize(
    "lines",
    [
        ["h1 = U @ x", "h2 = h1 + tanh(W @ h1)", "h3 = h2 + tanh(W @ h2)", "output f = v @ h3"],
        ["h1 = U @ x", "h2 = h1 + tanh(W @ h1)", "h3 = h2 + sin(V @ x)", "output f = v @ tanh(h3)"],
        ["h1 = U @ x", "h2 = h1 * tanh(V @ x)", "h3 = h2 + sin(V @ x)", "output f = v @ h3"],
    ],
)
def test_what_is_no_chain_is_derived_once(lines, monkeypatch):
    made = []
    whole = take.Derivation.limit
    monkeypatch.setattr(take.Derivation, "limit", lambda self: (made.append(self), whole(self))[1])
    net(*lines).nngp()
    assert len(made) == 1


def test_the_larger_of_two_preactivations_is_a_root_and_an_angle():
    """E[max(u, v) max(u', v')]: what stands over the root factors, so that a sample with itself has no 0/0."""
    text = HEAD + "  weight A[l] : [n, n] ~ N(0, 1/n) for l in 1..2\n  weight B[l] : [n, n] ~ N(0, 1/n) for l in 1..2\n"
    text += "  h[0] = U @ x\n  h[l] = max(A[l] @ h[l-1], B[l] @ h[l-1]) for l in 1..2\n  output f = v @ h[2]\n"
    X = np.vstack([[[1.0, 0.5], [-0.6, 0.8]], np.random.default_rng(0).standard_normal((60, 2))])  # of some, rounding is negative
    (K,) = reference(tp.parse(text).nngp().closed(), X)
    np.testing.assert_allclose(np.diag(K), (X**2).sum(1) / 2, rtol=1e-12)  # E[max(u, v)²] is the variance


def test_an_expected_derivative_is_a_number(monkeypatch):
    """Slopes stand in later formulas, whose derivatives are no derivatives of them: Stein's identity is for jumps alone."""
    monkeypatch.setattr(calculus.Calculus, "_stein", lambda *a: pytest.fail("nothing jumps"))
    lines = ["h[0] = U @ x", "h[l] = h[l-1] + tanh(W @ h[l-1] - W.T @ h[l-1])/10 for l in 1..3", "output f = v @ h[3]"]
    assert len(net(*lines).z().lines) > 10
