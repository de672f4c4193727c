"""Equations of a limit: their form, what they ask for, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import tp
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, I, J, Value
from tp.program.ir import Ref

HEAD = """network net
  width n
  dim d = 4
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 2/n)
  weight v : [n] ~ N(0, 1/n)
"""

SYMBOLIC = """network mlp
  width n
  dim d
  let L, sw2, sb2
  input x : [d]
  weight W[1] : [n, d] ~ N(0, sw2/d)
  weight W[l] : [n, n] ~ N(0, sw2/n)   for l in 2..L
  weight b[l] : [n] ~ N(0, sb2)        for l in 1..L
  weight v : [n] ~ N(0, 1/n)
  h[1] = W[1] @ x + b[1]
  h[l] = W[l] @ relu(h[l-1]) + b[l]    for l in 2..L
  output f = v @ relu(h[L])
"""


def equation(limit, text):
    return next(e for e in limit.equations if str(e.lhs) == text)


def test_depth_and_variances_stay_symbols():
    """K^l = σ_w² E[φφ'] + σ_b², Θ^l = K^l + σ_w² E[φ'φ'] Θ^{l-1}: one recursion for all depths."""
    limit = tp.parse(SYMBOLIC).ntk()
    sw2, sb2 = (next(s for s in limit.program.constants if s.name == n) for n in ("sw2", "sb2"))
    recursion = equation(limit, "K[h[l], h[l]](i,j)")
    (expectation,) = recursion.rhs.atoms(Expectation)
    assert sp.expand(recursion.rhs - sw2 * expectation - sb2) == 0
    assert [str(r) for r in recursion.domain] == ["l in 2..L"]
    tangent = equation(limit, "Theta[h[l], h[l]](i,j)")
    (slope,) = tangent.rhs.atoms(Expectation)
    l = recursion.domain[0].index
    h, before = Ref("h", l), Ref("h", l - 1)
    assert sp.expand(tangent.rhs - Entry("K", h, h, I, J) - sw2 * slope * Entry("Theta", before, before, I, J)) == 0


def test_equations_remember_rule_source_and_line():
    limit = tp.parse(SYMBOLIC).nngp()
    recursion = equation(limit, "K[h[l], h[l]](i,j)")
    assert recursion.rule and "Tensor Programs" in recursion.source
    assert recursion.span.line == 11
    assert len(limit.steps) == len(limit.equations)


def test_only_needed_pairs_are_derived():
    """A flatten readout needs equal positions only, pooling needs all pairs, untied layers never meet."""
    text = """network conv
  width n
  dim c = 2
  index p in 0..5 boundary zero
  input x[p] : [c]
  weight A[k] : [n, c] ~ N(0, 1/c) for k in -1..1
  weight v{slot} : [n] ~ N(0, 1/n)
  h[p] = sum(A[k] @ x[p+k] for k in -1..1)
  output f = {readout}
"""
    flat = tp.parse(text.format(slot="[p]", readout="sum(v[p] @ relu(h[p]) for p)")).nngp()
    pooled = tp.parse(text.format(slot="", readout="v @ mean(relu(h[p]) for p)")).nngp()
    assert "K[h[p], h[p]](i,j)" in {str(e.lhs) for e in flat.equations}
    assert "K[h[p], h[p']](i,j)" in {str(e.lhs) for e in pooled.equations}


def test_the_derivative_of_a_product_stays_one_function():
    """φ(z) = z/√(1 + z²) as read-out: one expectation of its derivatives, and no expectation for each pair of terms of φ'."""
    limit = tp.parse(HEAD + "  h = U @ x\n  output f = v @ (h/sqrt(1 + h^2))\n").ntk()
    assert len(equation(limit, "Theta[f, f](i,j)").rhs.atoms(Expectation)) == 1


def test_closed_forms_replace_expectations():
    limit = tp.parse(SYMBOLIC).ntk().closed()
    assert not any(e.rhs.has(Expectation) for e in limit.equations)
    assert any("Cho & Saul" in e.source for e in limit.equations)


def test_as_written_keeps_the_leading_power():
    """In the standard parametrization the kernel grows like n; biases and the input layer drop out."""
    limit = tp.parse(SYMBOLIC).ntk("as written")
    assert limit.power == {"K": 0, "Theta": 1}
    assert equation(limit, "Theta[h[1], h[1]](i,j)").rhs == 0
    recursion = equation(limit, "Theta[h[l], h[l]](i,j)")
    assert not recursion.rhs.free_symbols & limit.program.spaces[0].size.free_symbols


def test_a_mean_field_readout_vanishes_with_a_power():
    limit = tp.parse(HEAD.replace("N(0, 1/n)\n", "N(0, 1/n^2)\n") + "  output f = v @ relu(W @ (U @ x))\n").nngp()
    assert limit.power["K"] == -1


REFUSED = {
    "readout used twice": ("  h = U @ x\n  y = W @ v\n  output f = v @ relu(h) + v @ relu(y)\n", "independent|depends on it"),
    "no limit": ("  h = U @ x\n  a = dot(h, h)\n  output f = v @ (h*tanh(a))\n", "grows like n"),
    "random scalar": ("  h = U @ x\n  k = W @ h\n  a = dot(h, k)/sqrt(n)\n  output f = v @ (h*tanh(a))\n", "stays random"),
    "not a Gaussian process": ("  h = U @ x\n  f0 = v @ relu(h)\n  output f = tanh(f0)\n", "nonlinear function"),
    "no independent readout": ("  h = U @ x\n  output f = avg(relu(h))\n", "not linear in centred weights"),
    "no finite NTK": ("  h = U @ x\n  output f = v @ sign(h)\n", "tangent kernel is infinite"),
}


@pytest.mark.parametrize("title", REFUSED)
def test_refusals_name_the_line_and_the_remedy(title):
    body, reason = REFUSED[title]
    net = tp.parse(HEAD + body)
    with pytest.raises(tp.LimitError, match=reason) as caught:
        net.ntk()
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.span.line > 7 and "help: " in str(caught.value)


def test_weights_of_the_wrong_size_are_refused():
    net = tp.parse(HEAD.replace("W : [n, n] ~ N(0, 2/n)", "W : [n, n] ~ N(0, 2)") + "  output f = v @ relu(W @ (U @ x))\n")
    with pytest.raises(tp.LimitError, match="has no limit as n grows"):
        net.nngp()


def test_untied_queries_and_keys_attend_uniformly():
    """⟨q, k⟩/n → 0 for independent Q and K, so every position gets the same share."""
    limit = tp.zoo("attention").nngp()
    assert not any("softmax" in str(e.rhs) for e in limit.equations)


@pytest.mark.parametrize(
    ("extreme", "same"),
    {
        "max(U @ x, 0)": "relu(U @ x)",
        "max(-1, min(U @ x, 1/2))": "(relu(U @ x + 1) - 1 - relu(relu(U @ x + 1) - 3/2))",
    }.items(),
)
def test_extremes_of_an_input_layer(extreme, same):
    """SymPy takes a sum without free symbols for a number that it cannot compare."""
    one, other = (tp.parse(f"{HEAD}  output f = v @ {g}\n").ntk().text() for g in (extreme, same))
    assert one == other


@pytest.mark.usefixtures("quick")
def test_the_larger_of_two_input_layers():
    """E[max(a, b)²] = 1/2 for independent normal a, b of variance 1/2: max² + min² = a² + b², of equal means by symmetry."""
    net = tp.parse(
        HEAD.replace("  weight v", "  weight V : [n, d] ~ N(0, 1/d)\n  weight v") + "  output f = v @ max(U @ x, V @ x)\n"
    )
    np.testing.assert_allclose(net.kernel("nngp")([[1.0, 1, 0, 0]]), [[0.5]], rtol=1e-6)


def test_a_finite_layer_between_widths_stays_random():
    """D relu(U x) is a Gaussian vector of size 1 for D ~ N(0, 1/n): it neither grows nor vanishes."""
    spec = HEAD.replace("d = 4", "d = 4, r = 3") + "  weight D : [r, n] ~ N(0, {})\n  weight B : [n, r] ~ N(0, 1/r)\n"
    spec += "  z = D @ relu(U @ x)\n  output f = v @ relu(B @ z)\n"
    for variance, size in {"1/n": "stays random", "1": r"grows like n\^\(1/2\)", "1/n^2": r"vanishes like n\^\(-1/2\)"}.items():
        with pytest.raises(tp.LimitError, match=size):
            tp.parse(spec.format(variance)).nngp()
    wide = spec.format("1/n").replace("d = 4, r = 3", "d = 4\n  width r")
    assert "K_z" in tp.parse(wide).nngp().text()


def test_one_number_among_the_weights():
    """A constant enters with its value; what is random, or trained, makes the limit random where a vector depends on it."""
    spec = HEAD + "  {} : [{}] {}\n  output f = v @ relu({}(U @ x))\n"
    X = np.eye(4)[:2]
    plain = tp.parse(HEAD + "  output f = v @ relu(3*(U @ x))\n")
    for kind in ("nngp", "ntk"):
        found = tp.parse(spec.format("frozen weight a", "", "= 2 * N(3/2, 0)", "a*")).kernel(kind)(X)
        np.testing.assert_allclose(found, plain.kernel(kind)(X), rtol=1e-12)
    trained = tp.parse(spec.format("weight a", "", "~ 3", "a*"))
    np.testing.assert_allclose(trained.kernel("nngp")(X), plain.kernel("nngp")(X), rtol=1e-12)
    with pytest.raises(tp.LimitError, match="one trained number"):
        trained.ntk()
    with pytest.raises(tp.LimitError, match="one random number"):
        tp.parse(spec.format("weight a", "d", "~ N(0, 1)", "(a @ x)*")).nngp()


@pytest.mark.parametrize("activation", ["gelu", "elu"])
def test_over_a_norm_a_slope_stays_one_function(activation):
    """φ'(h/√m) is one function of a Gaussian of variance K/m, however many terms φ' has: Θ takes one more expectation than K."""
    limit = tp.parse(HEAD + f"  h = U @ x\n  output f = v @ {activation}(layernorm(h))\n").ntk()
    slopes = equation(limit, "Theta[f, f](i,j)").rhs.atoms(Expectation)
    assert len(slopes) == 1
    assert not any(e.integrand.has(Value) for e in slopes)


@pytest.mark.usefixtures("quick")
def test_a_recursion_may_have_its_nonlinearity_outside() -> None:
    head = "network r\n  width n\n  dim d = 2\n  index t in 1..3\n  input x[t] : [d]\n"
    weights = "  weight U : [n, d] ~ N(0, 1/d)\n  weight W : [n, n] ~ N(0, 3/(2*n))\n  weight v : [n] ~ N(0, 1/n)\n"
    outside = head + weights + "  h[0] = 0\n  h[t] = erf(W @ h[t-1] + U @ x[t])\n  output f = v @ mean(h[t] for t)\n"
    inside = head + weights + "  u[0] = 0\n  u[t] = W @ erf(u[t-1]) + U @ x[t]\n  output f = v @ mean(erf(u[t]) for t)\n"
    X = np.random.default_rng(0).normal(size=(2, 3, 2))
    for one, two in zip(*(tp.parse(s).kernel("nngp", "ntk")(X) for s in (outside, inside)), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)
    assert tp.parse(outside.replace("f = v @ mean(h[t] for t)", "f = v @ h[3]")).ntk().equations
    assert tp.parse(outside.replace("f = v @ mean(h[t] for t)", "f[t] = v @ h[t]")).ntk().equations


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("phi", ["z/(1 + z^2)", "z*abs(z)", "z*tanh(z) + z/2"])
def test_a_product_without_a_line_of_its_own_is_one_gaussian(phi: str) -> None:
    """In ``phi(U @ x)`` a factor U @ x was taken apart into coordinates, and the function beside it was of another vector."""
    head = "network a\n  width n\n  dim d = 2\n  input x : [d]\n  weight U : [n, d] ~ N(0, 1)\n  weight v : [n] ~ N(0, 1/n)\n"
    head += f"  let phi(z) = {phi}\n"
    X = np.array([[1.0, 0.5], [-0.6, 0.8]])
    kernels = [
        tp.parse(head + rest).kernel("nngp", "ntk")(X)
        for rest in ("  h = U @ x\n  output f = v @ phi(h)\n", "  output f = v @ phi(U @ x)\n")
    ]
    for named, unnamed in zip(*kernels, strict=True):
        np.testing.assert_allclose(unnamed, named, rtol=1e-12)
