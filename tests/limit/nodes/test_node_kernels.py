"""Kernels by nodes: against published values, formulas that exist, orthants and finite width; and their errors hold."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import tp
from tp.gaussian.scrambled import SCRAMBLINGS
from tp.limit.nodes import draw
from tp.limit.nodes import kernel as kernel_module
from tp.limit.nodes.kernel import NodeKernel
from tp.readings.empirical import kernels_of

pytestmark = pytest.mark.usefixtures("quick")

YANG = json.loads((Path(__file__).parent / "data" / "gru.json").read_text("utf-8"))
GRU = """network gru
  width n
  dim   d = 3
  let   T = 3
  index t in 1..T
  let gate(z) = (1 + erf(z))/2
  input  x[t] : [d]
  weight Uz : [n, d] ~ N(0, 1/d)
  weight Ur : [n, d] ~ N(0, 1/d)
  weight Uh : [n, d] ~ N(0, 1/d)
  weight Wz : [n, n] ~ N(0, 1/n)
  weight Wr : [n, n] ~ N(0, 1/n)
  weight Wh : [n, n] ~ N(0, 1/n)
  weight bz : [n] ~ N(0, 1/2)
  weight br : [n] ~ N(0, 1/2)
  weight bh : [n] ~ N(0, 1/2)
  weight v  : [n] ~ N(0, 1/n)
  h[0] = 0
  z[t] = gate(Wz @ h[t-1] + Uz @ x[t] + bz)
  r[t] = gate(Wr @ h[t-1] + Ur @ x[t] + br)
  h[t] = (1 - z[t]) * h[t-1] + z[t] * erf(Wh @ (r[t] * h[t-1]) + Uh @ x[t] + bh)
  output f[t] = v @ h[t]
"""
HEAD = "network t\n  width n\n  dim d = 3\n  input x : [d]\n  weight v : [n] ~ N(0, 1/n)\n"


@pytest.fixture(autouse=True)
def few_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^10 of each scrambling: errors are told, whatever they are."""
    monkeypatch.setattr(kernel_module, "POINTS", 10)


def of(net: tp.Net, *kinds: str) -> NodeKernel:
    """By nodes, whatever formulas there are."""
    return NodeKernel(net.program, kinds, {}, None, "float64")


def data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_states_of_a_gru_are_those_published() -> None:
    X = np.zeros((2, 3, 3))
    for s, sequence in enumerate(YANG["sequences"]):
        X[s, : len(sequence)] = sequence
    kernel = tp.parse(GRU).kernel("nngp")
    assert isinstance(kernel, NodeKernel)
    (found,) = kernel.measured(X, tol=2e-3)
    places = {(s, t): p for p, (s, t) in enumerate(YANG["index"])}
    for (s, t), p in places.items():
        for (s2, t2), q in places.items():
            if t == t2:
                error = abs(found.values[s, s2, t] - YANG["state_cov"][p][q])
                assert error < 4 * found.errors.max() + YANG["tolerance_abs"]
    assert 2 * found.errors.max() <= 2e-3


def test_a_tolerance_is_met_or_refused() -> None:
    kernel = tp.parse(GRU.replace("f[t] = v @ h[t]", "f = v @ h[2]"), T=2).kernel("nngp")
    X = np.array(YANG["sequences"][0])[None, :2]
    (found,) = kernel.measured(X, tol=4e-4)
    assert 2 * found.errors.max() <= 4e-4
    assert abs(found.values[0, 0] - YANG["state_cov"][1][1]) < 4 * found.errors[0, 0] + YANG["tolerance_abs"]
    with pytest.raises(tp.LimitError, match=r"1.0e-09 would take about 2\^"):
        kernel.measured(X, tol=1e-9)


@pytest.mark.parametrize(
    ("name", "changes", "kinds"), [("rnn", {"T": 2, "d": 3}, 2), ("mlp", {"L": 2, "d": 3}, 2), ("layernorm", {"L": 2, "d": 3}, 1)]
)
def test_nodes_agree_with_formulas(name: str, changes: dict[str, int], kinds: int) -> None:
    """Of networks that have both: pairs of times, biases, moments."""
    net = tp.zoo(name, **changes)
    X = data(3, *((2, 3) if name == "rnn" else (3,)))
    for found, exact in zip(of(net, *("K", "Theta")[:kinds]).measured(X), net.kernel("nngp", "ntk")(X), strict=False):
        scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
        assert (abs(found.values - exact) < 5 * found.errors).all()
        assert (found.errors < 2e-2 * scale).all()


def test_a_weight_may_meet_an_input_in_several_sums() -> None:
    """One sum over its coordinates, one over times as well: both are the same Gaussian vectors."""
    lines = """  index t in 1..2
  input y[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  output f = v @ tanh(U @ y[1] + mean(U @ y[t] for t))
"""
    net = tp.parse(HEAD.replace("  input x : [d]\n", "") + lines)
    X = data(2, 2, 3)
    (found,), exact = of(net, "K").measured(X), net.kernel("nngp")(X)
    assert (abs(found.values - exact) < 5 * found.errors).all() and found.errors.max() < 5e-3


@pytest.mark.parametrize(
    "output",
    [
        "v @ tanh(h + b)",
        "v @ (relu(h) * tanh(h + 2*b) - sin(b))",
        "v @ tanh(h + b) + w @ h + 2*v @ h",
        "v @ (b*relu(h)) + w @ (b*h) - 3*b @ tanh(h)",
    ],
)
def test_what_outputs_alone_read_is_integrated_where_it_is_a_factor(output: str) -> None:
    """A bias inside a function is none."""
    lines = "  weight U : [n, d] ~ N(0, 1/d)\n  weight b : [n] ~ N(0, 1/2)\n  weight w : [n] ~ N(0, 2/n)\n  h = U @ x\n"
    net = tp.parse(HEAD + lines + f"  output f = {output}\n")
    for found, exact in zip(of(net, "K", "Theta").measured(data(2, 3)), net.kernel("nngp", "ntk")(data(2, 3)), strict=True):
        assert (abs(found.values - exact) < 5 * found.errors + 1e-12).all() and (found.errors < 2e-2 * exact.max()).all()


def test_gates_of_two_vectors_agree_with_their_expansion() -> None:
    """Two steps of a GRU's state, line by line: two correlated vectors of a sample, which Hermite polynomials take."""
    lines = """  weight U : [n, d] ~ N(0, 1/d)
  weight A : [n, d] ~ N(0, 1/d)
  weight W : [n, n] ~ N(0, 1/n)
  g = sigmoid(U @ x) * tanh(A @ x)
  z = sigmoid(W @ g + U @ x)
  output f = v @ (z*sigmoid(U @ x))
"""
    net, X = tp.parse(HEAD + lines), data(2, 3)
    (found,), exact = of(net, "K").measured(X), net.kernel("nngp")(X)
    assert (abs(found.values - exact) < 5 * found.errors).all()
    assert found.errors.max() < 2e-3


def test_three_kinks_have_the_probability_of_an_orthant() -> None:
    """P(u₁, u₂, u₃ > 0) = 1/8 + Σ arcsin ρ / 4π.  Sheppard 1899."""
    signs = "  weight U[k] : [n, d] ~ N(0, 1/d) for k in 0..3\n  h[k] = U[0] @ x + U[k] @ x for k in 1..3\n"
    kernel = tp.parse(HEAD + signs + "  output f = v @ (step(h[1])*step(h[2])*step(h[3]))\n").kernel("nngp")
    (found,) = kernel.measured(data(1, 3))
    assert abs(found.values[0, 0] - (1 / 8 + 3 * math.asin(0.5) / (4 * math.pi))) < 4 * found.errors[0, 0]
    assert 0 < found.errors[0, 0] < 5e-3


def test_finite_networks_have_these_kernels() -> None:
    net, X = tp.zoo("gru", T=2, d=3), data(2, 2, 3)
    seen = [kernels_of(net.simulate(X, width=256, seed=s)) for s in range(12)]
    for kind, found in zip(("K", "Theta"), net.kernel("nngp", "ntk").measured(X), strict=True):
        of_seeds = np.array([one[kind] for one in seen])
        error = np.hypot(of_seeds.std(axis=0, ddof=1) / math.sqrt(len(seen)), found.errors)
        assert (abs(of_seeds.mean(axis=0) - found.values) < 4 * error + 0.02 * abs(found.values).max()).all()
        assert (found.errors < 0.5 * error).all()


def test_networks_are_verified_against_nodes() -> None:
    report = tp.zoo("lstm", T=2, d=3).verify(widths=(64, 256), seeds=6, kinds=("nngp",))
    assert report.fits["nngp"].exponent < -0.25
    assert report.mean("nngp")[-1] < 0.2


def test_one_call_is_one_gram_matrix() -> None:
    kernel, X = tp.zoo("gru", T=2, d=3).kernel("nngp", "ntk"), data(6, 2, 3)
    X[5] = X[0]
    for K, again, block, diag in zip(kernel(X), kernel(X, X), kernel(X[:2], X[2:]), kernel.diag(X), strict=True):
        assert (again == K).all() and (K[5] == K[0]).all() and pytest.approx(K, abs=1e-12) == K.T
        assert pytest.approx(block, abs=1e-12) == K[:2, 2:] and (diag == np.diag(K)).all()
        assert np.linalg.eigvalsh(K)[0] > -1e-12


def test_calls_keep_their_bound_or_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, X = tp.zoo("lstm", T=2, d=3).kernel("nngp"), data(3, 2, 3)
    monkeypatch.setattr(kernel_module, "POINTS", 5)
    monkeypatch.setattr(kernel_module, "LEAST", 5)
    (rough,), K = kernel.measured(X), kernel(X)
    scale = np.sqrt(np.outer(np.diag(K), np.diag(K)))
    assert (2 * rough.errors / scale).max() > kernel.bound == 1e-2
    assert (abs(K - kernel.measured(X, tol=2e-3 * scale.min())[0].values) / scale).max() < 1.5 * kernel.bound
    assert "two standard errors below 1e-02" in repr(kernel)
    monkeypatch.setattr(kernel_module, "FINEST", 5)
    with pytest.raises(tp.LimitError, match=r"1.0e-02 would take about 2\^"):
        kernel(X)


def test_what_is_not_there_is_said() -> None:
    net = tp.zoo("gru", T=2)
    kernel = net.kernel("nngp", dtype="float32")
    assert kernel(data(2, 2, 8)).dtype == np.float32
    with pytest.raises(tp.DeviceError, match='use device="cpu"'):
        net.kernel("nngp", device="cuda")
    with pytest.raises(tp.LimitError, match="in memory"):
        kernel.gram(data(2, 2, 8), out="K.npy")
    with pytest.raises(tp.LimitError, match=r"np\.concatenate"):
        kernel.solve(data(2, 2, 8), np.zeros(2))
    with pytest.raises(tp.LimitError, match="`Uz` times its input is not finite"):
        kernel(1e160 * data(2, 2, 8))
    with pytest.raises(tp.DataError, match="wanted"):
        kernel(data(2, 3, 8))
    with pytest.raises(tp.DataError, match="`tol` is 0"):
        kernel.measured(data(2, 2, 8), tol=0)
    with pytest.raises(tp.DataError, match="`diag` takes no `Y`"):
        kernel.diag(data(2, 2, 8), Y=1)
    with pytest.raises(tp.DataError, match="no output `g`"):
        net.kernel("nngp", output="g")
    kernel.limit = 1 << 16
    with pytest.raises(tp.DataError, match="over the limit"):
        kernel(data(2, 2, 8))


def test_gradients_that_stay_random_leave_the_nngp() -> None:
    """Behind a norm the gradient by the norm is a scalar that no width makes a number."""
    net = tp.parse(GRU.replace("v @ h[t]", "v @ layernorm(h[t])").replace("f[t]", "f").replace("h[t])\n", "h[T])\n"), T=2)
    with pytest.raises(tp.LimitError, match="ask for the NNGP kernel"):
        net.kernel("ntk")
    assert isinstance(net.kernel("nngp"), NodeKernel)


def test_symbols_have_numbers_when_the_kernel_is_made() -> None:
    text = GRU.replace("let   T = 3", "let   T\n  let   s").replace("N(0, 1/d)", "N(0, s/d)")
    X = data(2, 2, 3)
    with pytest.raises(tp.DataError, match="no value in the spec"):
        tp.parse(text).kernel("nngp", T=2)
    assert (tp.parse(text).kernel("nngp", T=2, s=1)(X) == tp.parse(GRU, T=2).kernel("nngp")(X)).all()


def test_no_figure_depends_on_the_cores_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, X = tp.zoo("gru", T=2, d=3).kernel("nngp", "ntk"), data(4, 2, 3)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(draw, "default_threads", lambda threads=threads: threads)
        found.append(kernel.measured(X))
    for one, three in zip(*found, strict=True):
        assert (one.values == three.values).all() and (one.errors == three.errors).all()


def test_gates_that_read_one_vector_share_its_second_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four matrices of an LSTM meet its state."""
    seen: list[tuple[int, ...]] = []
    joined = draw.Span.joined
    monkeypatch.setattr(draw.Span, "joined", lambda span, a: seen.append(a.shape) or joined(span, a))
    tp.zoo("lstm", T=3, d=3).kernel("nngp").measured(data(2, 3, 3))
    assert seen.count((2, 2**10)) == SCRAMBLINGS * 3


def test_who_watches_sees_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tp.progress.DELAY", 0.0)
    net, X = tp.parse(GRU, T=2), data(2, 2, 3)
    net.kernel("nngp", progress=False).measured(X)
    assert capsys.readouterr().err == ""
    net.kernel("nngp", progress=True).measured(X)
    told = capsys.readouterr().err
    assert "drawing on 2^10 nodes" in told and "vectors" in told


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_formulas_are_gone_through_by_blocks_of_pairs(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Of samples that differ, beside a constant for which all have the same; 40 are two blocks."""
    net = tp.parse(GRU.replace("v @ h[t]", "v @ (h[t] + 2*bh)").replace("f[t]", "f").replace("h[t] + 2", "h[T] + 2"), T=2)
    kernel, X = net.kernel(kind), data(40, 2, 3)
    (whole,) = kernel.measured(X)
    monkeypatch.setattr(draw, "TOGETHER", 1)
    (parts,) = kernel.measured(X)
    assert pytest.approx(parts.values, abs=1e-13) == whole.values and (parts.values == parts.values.T).all()
