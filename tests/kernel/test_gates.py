"""Gates that share matrices: kernels whose expectations are over three and four correlated Gaussians."""

import numpy as np
import pytest

import tp
from tp.errors import StatisticalWarning
from tp.kernel import sizes
from tp.kernel.build import build
from tp.kernel.cuda.text import device_text

GRU = """network gru                                   # two steps, written out
  width n
  dim   d = 3
  index t in 1..2
  input  x[t] : [d]
  let gate(z) = (1 + erf(z))/2
  weight U[k] : [n, d] ~ N(0, 1/d) for k in 1..3
  weight W[k] : [n, n] ~ N(0, 1/n) for k in 1..3
  weight b[k] : [n] ~ N(0, 1/2)    for k in 1..3
  weight v : [n] ~ N(0, 1/n)
  h1 = gate(U[1] @ x[1] + b[1]) * erf(U[3] @ x[1] + b[3])
  z = gate(U[1] @ x[2] + W[1] @ h1 + b[1])
  r = gate(U[2] @ x[2] + W[2] @ h1 + b[2])
  a = U[3] @ x[2] + W[3] @ (r * h1) + b[3]
  output f = v @ ((1 - z) * h1 + z * erf(a))
"""

SHARED = """network shared
  width n
  dim   d = 2
  input  x : [d]
  weight A : [n, d] ~ N(0, 1/d)
  weight B : [n, d] ~ N(0, 1/d)
  weight v : [n] ~ N(0, 1/n)
  h = A @ x
  g = {gate}(A @ x + B @ x)
  output f = v @ (g * tanh(h))
"""


@pytest.mark.usefixtures("quick")
def test_two_steps_of_a_gru_have_the_published_covariance():
    """Values of an independent implementation, by quadrature to 3e-7 and by networks of width up to 4096."""
    X = np.array([[[1.0, -0.5, 0.25], [0.3, 0.8, -1.2]], [[0.5, 0.5, -0.5], [1.1, -0.9, 0.2]]])
    expected = [[0.2593173133178, 0.1574238328166], [0.1574238328166, 0.2515921586049]]
    kernel = build(tp.parse(GRU).nngp(), threads=1, progress=False)
    np.testing.assert_allclose(kernel(X), expected, atol=1e-6)
    assert kernel.bound == 1e-11


@pytest.mark.usefixtures("quick")
def test_the_tangent_kernel_takes_all_products_of_slopes():
    """Θ_f = E[F F'] + Σ E[∂_a F ∂_b F'] Θ_ab, F = sigmoid(g) tanh(h): h = A x has Θ = ⟨x, x'⟩/d, g = A x + B x twice that."""
    X = 0.8 * np.array([[1.0, -0.5], [0.3, 0.8]])
    y, w = np.polynomial.hermite_e.hermegauss(24)
    a, b, c, d = np.meshgrid(y, y, y, y, indexing="ij")
    weight = np.prod(np.meshgrid(w, w, w, w, indexing="ij"), axis=0) / (2 * np.pi) ** 2
    gram = X @ X.T / 2
    root = np.linalg.cholesky(gram)
    one, two = ((root[0, 0] * a, root[1, 0] * a + root[1, 1] * b), (root[0, 0] * c, root[1, 0] * c + root[1, 1] * d))  # A x, B x
    F, by_g, by_h = [], [], []
    for h, other in zip(one, two, strict=True):
        s, t = 1 / (1 + np.exp(-h - other)), np.tanh(h)
        F.append(s * t)
        by_g.append(s * (1 - s) * t)
        by_h.append(s * (1 - t * t))
    mean = lambda u, v: float(np.sum(weight * u * v))  # noqa: E731
    slopes = 2 * mean(*by_g) + mean(by_g[0], by_h[1]) + mean(by_h[0], by_g[1]) + mean(*by_h)
    found = build(tp.parse(SHARED.format(gate="sigmoid")).ntk(), ["ntk"], threads=1, progress=False)(X)
    assert found[0, 1] == pytest.approx(mean(*F) + gram[0, 1] * slopes, rel=1e-7)


@pytest.mark.usefixtures("quick")
def test_single_precision_is_double_rounded():
    X = np.array([[1.0, -0.5], [0.3, 0.8]])
    net = tp.parse(SHARED.format(gate="sigmoid"))
    double, single = (build(net.nngp(), dtype=dtype, threads=1, progress=False)(X) for dtype in ("float64", "float32"))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_no_compiler_is_waited_for(monkeypatch):
    """Products of matrices sum these expectations, in calls of any size, also after ``load``; not one function is compiled."""
    monkeypatch.setattr("tp.kernel.sizes.FEW", 1)
    monkeypatch.setattr("tp.kernel.kernel.load", None)
    monkeypatch.setattr("tp.kernel.kernel.compile_behind", None)
    X = np.random.default_rng(0).normal(size=(12, 2))
    kernel = tp.parse(SHARED.format(gate="sigmoid")).kernel("nngp")
    kernel.load()
    found = kernel(X)
    np.testing.assert_allclose(found[:5, 5:], kernel(X[:5], X[5:]), rtol=1e-10)
    np.testing.assert_allclose(kernel.diag(X), np.diag(found), rtol=1e-10)
    assert np.linalg.eigvalsh(found).min() > 0.0


@pytest.mark.usefixtures("quick")
def test_one_sample_is_enough():
    X = np.array([[1.0, -0.5], [0.3, 0.8]])
    kernel = build(tp.parse(SHARED.format(gate="sigmoid")).nngp(), threads=1, progress=False)
    np.testing.assert_allclose(kernel(X[:1]), kernel(X)[:1, :1], rtol=1e-11)


@pytest.mark.usefixtures("quick")
def test_vectors_count_as_memory():
    X = np.random.default_rng(0).normal(size=(4, 2))
    kernel = tp.parse(SHARED.format(gate="sigmoid")).kernel("nngp")
    kernel.memory = scratch = 8 * kernel.threads * max(kernel.compiled.lanes.values()) + 10_000
    with pytest.raises(tp.DataError, match=r"expanding functions of two Gaussians for 4 × 4 samples takes .*B, over the limit"):
        kernel(X)
    kernel.memory = scratch + (4 << 20) * 3
    kernel(X)
    assert kernel.working(100, 100) > 100 * 8 * sizes.LONGEST_OF_TWO


def test_what_has_no_rule_is_refused_at_its_line():
    """By compiled kernels; ``net.kernel`` takes it by nodes."""
    with pytest.raises(tp.LimitError, match="`relu` is not") as refusal:
        build(tp.parse(SHARED.format(gate="relu")).nngp())
    (found,) = refusal.value.diagnostics
    assert found.span.line == 10 and "matrices of its own" in found.remedy


def test_devices_leave_them_to_the_processor():
    kernel = tp.parse(SHARED.format(gate="sigmoid")).kernel("nngp")
    with pytest.raises(tp.DeviceError, match="three or four correlated Gaussians"):
        device_text(kernel.source, [])


def test_samples_that_cannot_be_told_apart_are_refused():
    """U x beside a function of U x + b has no name: the weights in it are Gaussians of no sample."""
    text = """network t
  width n
  dim d = 2
  let phi(y, z) = y/(1 + z^2)
  input x : [d]
  weight U : [n, d] ~ N(0, 1)
  weight b : [n] ~ N(0, 1)
  weight v : [n] ~ N(0, 1/n)
"""
    with pytest.raises(tp.LimitError, match="line of its own"):
        tp.parse(text + "  output f = v @ phi(U @ x, U @ x + b)\n").kernel("nngp")


PRODUCT = """network product
  width n
  dim   d = 2
  input  x : [d]
  weight A : [n, d] ~ N(0, 1/d)
  weight B : [n, d] ~ N(0, 1/d)
  weight v : [n] ~ N(0, 1/n)
  g = A @ x
  h = B @ x
  output f = v @ tanh(g*h)
"""


@pytest.mark.usefixtures("quick")
def test_samples_beyond_expansions_are_taken_by_nodes_and_it_is_said(monkeypatch):
    """E tanh(g h) tanh(g' h') and its slopes, of variances up to 7.6, against normals of another generator."""
    monkeypatch.setattr("tp.limit.nodes.kernel.POINTS", 12)
    monkeypatch.setattr("tp.limit.nodes.kernel.BOUND", 3e-2)
    X = np.array([[1.0, 0.5], [3.0, 2.5], [-0.2, 0.9]])
    kernel = tp.parse(PRODUCT).kernel("nngp", "ntk")
    fine = kernel(X[::2])
    assert not kernel.statistical
    with pytest.warns(StatisticalWarning, match=r"row 1 \(1 of 3\).*below 3e-02"):
        found = kernel(X)
    assert kernel.statistical
    g, h = np.random.default_rng(0).normal(size=(2, 200_000, 2)) @ X.T / 2**0.5
    t = np.tanh(g * h)
    slope = 1 - t * t
    mean, gram = lambda a: a.T @ a / len(a), X @ X.T / 2
    K = mean(t)
    Theta = K + gram * (mean(slope * h) + mean(slope * g))
    for one, exact, small in zip(found, (K, Theta), fine, strict=True):
        scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
        assert (abs(one - exact) < 3e-2 * scale).all() and (abs(one - exact) > 0).all()
        assert (abs(one[::2, ::2] - small) < 3e-2 * scale[::2, ::2]).all()
        assert np.linalg.eigvalsh(one)[0] > 0
    with pytest.warns(StatisticalWarning, match=r"column 0 \(1 of 1\)"):
        np.testing.assert_allclose(kernel(X[::2], X[1:2])[0][:, 0], found[0][::2, 1], atol=1e-2)
    with pytest.warns(StatisticalWarning, match=r"sample 1 \(1 of 3\)"):
        np.testing.assert_allclose(kernel.diag(X)[0], np.diag(found[0]), atol=1e-12)
    assert (kernel(X[::2])[0] == fine[0]).all() and not kernel.statistical
    np.testing.assert_array_equal(kernel.by_nodes.measured(X)[0].values, found[0])
    with pytest.warns(StatisticalWarning, match="samples 0 to 2 of X"):
        fit = kernel.solve(X, np.array([1.0, -1.0, 2.0]), ridge=0.1)
    expected = found[1][::2] @ np.linalg.solve(found[1] + 0.1 * np.eye(3), [1.0, -1.0, 2.0])
    np.testing.assert_allclose(fit.mean(X[::2]), expected, atol=1e-12)
    strict = kernel.solve(X[::2], np.array([1.0, 2.0]))
    with pytest.raises(tp.LimitError, match=r"did not converge(.|\n)*nodes=2\*\*15"):  # that would be no block of one matrix
        strict.mean(X)


@pytest.mark.usefixtures("quick")
def test_a_gate_of_a_bias_alone_is_one_number_for_all_pairs():
    """E tanh(b)², which no sample enters, before a loop over lanes."""
    text = PRODUCT.replace("weight v", "weight b : [n] ~ N(0, 1/2)\n  weight v").replace("tanh(g*h)", "(tanh(b)*g)")
    X = np.random.default_rng(0).normal(size=(3, 2))
    y, w = np.polynomial.hermite_e.hermegauss(60)
    expected = w @ np.tanh(y / 2**0.5) ** 2 / (2 * np.pi) ** 0.5 * X @ X.T / 2
    np.testing.assert_allclose(tp.parse(text).kernel("nngp")(X), expected, rtol=1e-8)
