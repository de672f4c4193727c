"""NNGP and NTK where a matrix meets its transpose: against finite networks, and by more than one way of evaluation."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sympy as sp

import tp
from tp.kernel.build import build
from tp.kernel.reference import Interpreter
from tp.limit.equations import Entry, I, J, Value
from tp.limit.independence import gradient_dependence
from tp.limit.take import take_limit
from tp.limit.zcalculus.kernels import z_kernels
from tp.limit.zcalculus.pairs import PairKernel
from tp.program.ir import Ref
from tp.readings.empirical import kernels_of

pytestmark = pytest.mark.usefixtures("quick")

HEAD = (
    "network t\n  width n\n  dim d = 3\n  input x : [d]\n  weight U : [n, d] ~ N(0, 1/d)\n  weight W : [n, n] ~ N(0, 2/n)\n"
    "  weight v : [n] ~ N(0, 1/n)\n"
)
NETS = {
    "linear": HEAD + "  h = U @ x\n  z = W.T @ (W @ h)\n  output f = v @ z\n",
    "relu": HEAD + "  h = U @ x\n  z = W.T @ relu(W @ relu(h))\n  output f = v @ z\n",
    "skips and biases": HEAD + "  weight b : [n] ~ N(0, 1)\n  weight c : [] ~ N(0, 1)\n  h = U @ x + b\n"
    "  z = W.T @ erf(W @ erf(h)) + h\n  output f = v @ z + c\n",
    "a narrower side": HEAD.replace("width n\n", "width n, m = n/2\n").replace("W : [n, n]", "W : [m, n]")
    + "  h = U @ x\n  z = W.T @ tanh(W @ tanh(h))\n  output f = v @ tanh(z)\n",
    "symmetric, three steps": "network s\n  width n\n  dim d = 3\n  index t in 1..3\n  input x[t] : [d]\n"
    "  weight U : [n, d] ~ N(0, 1/d)\n  weight A : [n, n] ~ N(0, 1/n)\n  weight v : [n] ~ N(0, 1/n)\n  h[0] = 0\n"
    "  h[t] = (A @ tanh(h[t-1]) + A.T @ tanh(h[t-1]))/sqrt(2) + U @ x[t]\n  output f = v @ tanh(h[3])\n",
}


def inputs(net: tp.Net, samples: int = 2) -> np.ndarray:
    (data,) = net.program.data
    return np.random.default_rng(0).standard_normal((samples, *(int(r.hi - r.lo + 1) for r in data.domain)))


@pytest.mark.parametrize("name", NETS)
def test_kernels_agree_with_finite_networks(name: str) -> None:
    net = tp.parse(NETS[name])
    X = inputs(net)
    derived = dict(zip(("K", "Theta"), net.kernel("nngp", "ntk")(X), strict=True))
    seeds = 8
    found = [kernels_of(net.simulate(X, 400, s)) for s in range(seeds)]
    for kind, exact in derived.items():
        seen = np.array([f[kind] for f in found])
        error = seen.std(axis=0, ddof=1) / np.sqrt(seeds) + 0.01 * np.abs(np.diag(exact)).max()
        assert (np.abs(seen.mean(axis=0) - exact) < 4 * error).all()


def test_pairs_and_compiled_kernels_are_the_same() -> None:
    net = tp.zoo("hopfield")
    X = inputs(net)
    slow, fast = PairKernel(net.ntk(), ("K", "Theta")), net.kernel("nngp", "ntk")
    for one, two in zip(slow(X), fast(X), strict=True):
        assert np.allclose(one, two, rtol=0, atol=1e-10)
    assert np.allclose(slow(X[:1], X[1:])[1], fast(X)[1][:1, 1:], atol=1e-10)


def test_an_input_inside_a_nonlinearity_is_as_one_with_a_name() -> None:
    inside = tp.parse(HEAD + "  z = W.T @ erf(W @ sin(U @ x))\n  output f = v @ z\n")
    named = tp.parse(HEAD + "  h = U @ x\n  z = W.T @ erf(W @ sin(h))\n  output f = v @ z\n")
    X = inputs(inside)
    for one, two in zip(*(PairKernel(net.ntk(), ("K", "Theta"))(X) for net in (inside, named)), strict=True):
        assert np.allclose(one, two, rtol=0, atol=1e-12)


def test_the_calculus_and_the_recursions_agree_where_gradients_are_independent() -> None:
    net = tp.parse(HEAD + "  weight b : [n] ~ N(0, 1/10)\n  h = U @ x + b\n  output f = v @ erf(W @ tanh(h) + h)\n")
    X = inputs(net)
    assert gradient_dependence(net.program) is None
    full = z_kernels(net.program, ("K", "Theta"))
    for one, two in zip(PairKernel(full, ("K", "Theta"))(X), net.kernel("nngp", "ntk")(X), strict=True):
        assert np.allclose(one, two, rtol=0, atol=1e-7)


def test_verify_goes_through_the_calculus() -> None:
    report = tp.zoo("hopfield").verify(widths=(64, 256, 1024), seeds=6)
    assert report.passed


def test_without_dots_the_kernel_is_wrong() -> None:
    """WᵀW h: E[Z²] = 8 E[h²] with ρ = 1, σ² = 2; an independent copy of Wᵀ would give 4."""
    net = tp.parse(NETS["linear"])
    x = inputs(net)
    assert np.allclose(net.kernel("nngp")(x), 8 * (x @ x.T) / 3)


@pytest.mark.usefixtures("quick")
def test_several_outputs_have_a_tangent_kernel_each() -> None:
    head = HEAD + "  h = W.T @ tanh(W @ (U @ x))\n"
    both = tp.parse(head + "  weight u : [n] ~ N(0, 1/n)\n  output f = v @ h\n  output g = u @ tanh(h)\n")
    alone = {"f": tp.parse(head + "  output f = v @ h\n"), "g": tp.parse(head + "  output f = v @ tanh(h)\n")}
    x = inputs(both)
    for output, net in alone.items():
        for one, two in zip(build(both.ntk(), output=output)(x), net.kernel("nngp", "ntk")(x), strict=True):
            assert np.allclose(one, two, atol=1e-9)


# ---------------------------------------------------------------- outputs that do not vary


def test_a_tied_autoencoder_has_a_limit_that_is_a_number() -> None:
    limit = tp.zoo("autoencoder").nngp()
    kernels = [e for e in limit.equations if isinstance(e.lhs, Entry) and e.lhs.a.name == "y"]
    values = [e for e in limit.equations if isinstance(e.lhs, Value) and e.lhs.a.name == "y"]
    assert len(kernels) == len(values) == 4 and all(e.rhs == 0 for e in kernels)


def test_an_embedding_tied_to_the_readout() -> None:
    net = tp.parse(
        "network e\n  width n\n  dim k = 3\n  input x : [k]\n  weight E : [n, k] ~ N(0, 1)\n  weight W : [n, n] ~ N(0, 1/n)\n"
        "  h = E @ x\n  output f = E.T @ erf(h + W @ erf(h)) / n\n"
    )
    found = gradient_dependence(net.program)
    assert found is not None and "`E[j_k]`" in found.reason and "`h`" in found.reason and found.heading == "readout used twice"
    x = np.array([0.5, -1.0, 0.25])
    q = x @ x
    variance = q + 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q))
    expected = x * 2 / np.sqrt(np.pi) / np.sqrt(1 + 2 * variance)
    limit = net.z()
    assert [limit.value("f", j, X=x) for j in (1, 2, 3)] == pytest.approx(expected, rel=1e-9)
    assert "f" in {e.lhs.a.name for e in net.nngp().equations}


def test_a_small_readout_gives_a_power_of_the_width() -> None:
    net = tp.parse(NETS["linear"].replace("v : [n] ~ N(0, 1/n)", "v : [n] ~ N(0, 1/n^2)"))
    limit = net.nngp()
    assert limit.power["K"] == -1
    x = inputs(net)
    assert np.allclose(PairKernel(limit, ("K",))(x), 8 * (x @ x.T) / 3)


def test_a_readout_may_be_a_product_of_weights_that_outputs_alone_read() -> None:
    """f = v·(b z): K is Var b times that of v·z, and Θ the same of Θ, with what training b adds: Var b K."""
    body = "  weight b : [n] ~ N(0, 1/2)\n  z = W.T @ relu(W @ relu(U @ x))\n  output f = v @ "
    plain, twice = (tp.parse(HEAD + body + end + "\n") for end in ("z", "(b*z)"))
    X = inputs(plain)
    (K, Theta), found = plain.kernel("nngp", "ntk")(X), twice.kernel("nngp", "ntk")(X)
    np.testing.assert_allclose(found[0], K / 2, rtol=1e-9)
    np.testing.assert_allclose(found[1], (Theta + K) / 2, rtol=1e-9)


# ---------------------------------------------------------------- why, and what is refused


def test_the_check_names_the_vector_and_both_uses() -> None:
    found = gradient_dependence(tp.zoo("hopfield").program)
    assert found is not None and "`z` uses the transpose of `W`" in found.reason and "`y` (line 13)" in found.reason
    assert all(gradient_dependence(tp.zoo(name).program) is None for name in ("mlp", "rnn", "layernorm", "attention"))


REFUSED = {
    "symbolic range": (
        "  let L\n  h[0] = U @ x\n  h[l] = W.T @ tanh(W @ h[l-1]) for l in 1..L\n  output f = v @ h[L]\n",
        "`L` needs a number",
    ),
    "random scalar": ("  y = W.T @ tanh(W @ (U @ x))\n  a = v @ y\n  output f = v @ (y*tanh(a))\n", "diverges|stays random"),
    "not a Gaussian process": ("  a = v @ (W.T @ tanh(W @ (U @ x)))\n  output f = tanh(a)\n", "nonlinear function of"),
    "no factor of mean 0": (
        "  weight b : [n] ~ N(0, 1)\n  output f = n^(1/2)*avg(b^2*(W.T @ (W @ (U @ x))) + v)\n",
        "not linear in weights of its own",
    ),
    "no independent readout": ("  h = W @ v\n  output f = v @ (W.T @ tanh(h + U @ x))\n", "not linear in weights of its own"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_is_missing(name: str) -> None:
    body, reason = REFUSED[name]
    with pytest.raises(tp.LimitError, match=reason) as caught:
        take_limit(tp.parse(HEAD + body).program, ("K", "Theta"))
    assert "help: " in str(caught.value)


def test_the_tangent_kernel_of_a_tied_autoencoder() -> None:
    net = tp.parse(
        "network a\n  width n\n  dim d = 2\n  input x : [d]\n  weight U : [n, d] ~ N(0, 1)\n  weight W : [n, n] ~ N(0, 1/n)\n"
        "  output y = U.T @ (W.T @ tanh(W @ (U @ x))) / n\n"
    )
    x = np.array([[0.5, -0.3], [0.2, 0.9]])
    limit, width, seeds = net.ntk(), 400, 8
    assert limit.power["Theta"] == -1
    exact = PairKernel(limit, ("Theta",))(x)[..., 0]
    seen = width * np.array([kernels_of(net.simulate(x, width, s), ["Theta"])["Theta"] for s in range(seeds)])
    error = seen.std(axis=0, ddof=1) / np.sqrt(seeds) + 0.02
    assert (np.abs(seen.mean(axis=0) - exact) < 4 * error).all()


def test_pairs_are_of_the_output_and_the_data_that_are_named():
    text = """network two
  width n
  dim d = 3
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  weight w : [n] ~ N(0, 1/n)
  h = U @ x
  z = W.T @ tanh(W @ tanh(h))
  output f = v @ tanh(z)
  output g = w @ h
"""
    net, X = tp.parse(text), np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    kernel = net.kernel("nngp", output="g", dtype="float32")
    assert isinstance(kernel, PairKernel) and kernel(X).dtype == np.float32
    np.testing.assert_allclose(kernel(X), X @ X.T / 3, rtol=1e-6)
    np.testing.assert_allclose(kernel.diag(X), np.diag(X @ X.T / 3), rtol=1e-6)
    for wrong in (X[:, :2], X[0], X * np.nan, X.astype(complex), {"y": X}, {"x": X, "y": X}, X[:0]):
        with pytest.raises(tp.DataError):
            kernel(wrong)
    for settings in ({"output": "q"}, {"dtype": "float16"}, {"s": 1}):
        with pytest.raises(tp.DataError):
            net.kernel("nngp", **settings)
    with pytest.raises(tp.DataError, match="no constant"):
        net.z(s=1)


def test_averages_without_transposes_are_recursions() -> None:
    """The mean of a tied read-out: by the recursions of all members at once, and member by member."""
    net = tp.zoo("transformer", L=1, T=2, d=3)
    X = np.random.default_rng(1).normal(size=(2, 2, 3))
    short, long = net.nngp(), z_kernels(net.program, ("K",))
    assert len(short.equations) < 20 < len(long.equations)
    runs = [Interpreter(limit, {I: {"x": X}, J: {"x": X}}, {}) for limit in (short, long)]
    members = [Value("theta", Ref("f", sp.Integer(t), sp.Integer(j))) for t in (1, 2) for j in (1, 2, 3)]
    one, other = (np.array([np.squeeze(run.value(m, {})) for m in members]) for run in runs)
    assert np.abs(one).min() > 1e-3
    assert np.allclose(one, other, rtol=1e-12)


def test_many_tangent_kernels_are_refused_beforehand() -> None:
    with pytest.raises(tp.LimitError, match="96 outputs"):
        tp.zoo("transformer").ntk()


def test_pairs_have_matrices_on_disk_and_regressions(tmp_path, monkeypatch):
    """Those of the matrix of all samples, within errors: tiles are integrated on nodes of their own."""
    net, X, y = tp.parse(NETS["a narrower side"]), np.random.default_rng(2).standard_normal((4, 3)), np.arange(3.0)
    kernel = pickle.loads(pickle.dumps(net.kernel("nngp")))
    assert isinstance(kernel, PairKernel)
    K, train, test = kernel(X), slice(0, 3), slice(3, 4)
    assert kernel.statistical is False
    monkeypatch.setattr(PairKernel, "parts", 2)
    found = kernel.gram(X[train], out=tmp_path / "K.npy")["nngp"]
    np.testing.assert_allclose(found, K[train, train], atol=1e-8)
    assert (np.asarray(found) == np.asarray(found).T).all()
    fit = kernel.solve(X[train], y, ridge=0.1)
    solved = np.linalg.solve(K[train, train] + 0.1 * np.eye(3), np.column_stack([y, K[train, test]]))
    mean, variance = fit.predict(X[test])
    np.testing.assert_allclose(mean, K[test, train] @ solved[:, 0], atol=1e-7)
    np.testing.assert_allclose(variance, np.diag(K[test, test] - K[test, train] @ solved[:, 1:]), atol=1e-7)
    on_disk = kernel.solve(X[train], y, ridge=0.1, out=tmp_path / "K.npy")
    np.testing.assert_allclose(on_disk.mean(X[test]), mean, atol=1e-7)
    other = tp.parse(NETS["a narrower side"].replace("2/n", "1/n")).kernel("nngp")
    with pytest.raises(tp.DataError, match="another kernel"):
        other.gram(X[train], out=tmp_path / "K.npy")
