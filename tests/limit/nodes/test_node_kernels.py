"""Kernels by nodes: against published values, formulas that exist, orthants and finite width; and their errors hold."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

import tp
from tp.errors import StatisticalWarning
from tp.limit.nodes import draw as draw_module
from tp.limit.nodes import kernel as kernel_module
from tp.limit.nodes.kernel import NodeKernel
from tp.limit.nodes.mix import Isometry, hadamard, mixed, signs
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
    monkeypatch.setattr(kernel_module, "BOUND", 0.2)


def of(net: tp.Net, *kinds: str) -> NodeKernel:
    """By nodes, whatever formulas there are."""
    return NodeKernel(net.program, kinds, {}, None, np.dtype("float64"))


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
    ("name", "changes", "kinds"), [("rnn", {"T": 2, "d": 3}, 2), ("mlp", {"L": 2, "d": 3}, 2), ("layernorm", {"L": 2, "d": 3}, 2)]
)
def test_nodes_agree_with_formulas(name: str, changes: dict[str, int], kinds: int) -> None:
    """Of networks that have both: pairs of times, biases, moments."""
    net = tp.zoo(name, **changes)
    X = data(3, *((2, 3) if name == "rnn" else (3,)))
    kernel = NodeKernel(net.program, ("K", "Theta")[:kinds], {}, None, np.dtype("float64"), nodes=2**12)
    for found, exact in zip(kernel.measured(X), net.kernel("nngp", "ntk")(X), strict=False):
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


def test_all_calls_are_blocks_of_one_gram_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever samples they are of, of kernels made anew too, and where samples are drawn in parts."""
    net, X = tp.zoo("gru", T=2, d=3), data(4, 2, 3)
    X[3] = X[0]
    whole = net.kernel("nngp", "ntk")(X)
    again = net.kernel("nngp", "ntk", nodes=2**10)
    for K, block, few, rows in zip(whole, again(X[:1], X[1:]), again(X[1:]), again(X[[2, 1]], X), strict=True):
        assert pytest.approx(K.T, abs=1e-13) == K and np.linalg.eigvalsh(K)[0] > -1e-12
        assert pytest.approx(block, abs=1e-13) == K[:1, 1:] and pytest.approx(few, abs=1e-13) == K[1:, 1:]
        assert pytest.approx(rows, abs=1e-13) == K[[2, 1]] and pytest.approx(K[0], abs=1e-13) == K[3]
    monkeypatch.setattr(kernel_module, "ROOM", 1)
    for K, parted, diag in zip(whole, again(X), again.diag(X), strict=True):
        assert pytest.approx(parted, abs=1e-13) == K and pytest.approx(diag, abs=1e-13) == np.diag(K)


def test_regressions_are_those_of_the_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory and by tiles on disk, and as linear algebra has them."""
    monkeypatch.setattr(NodeKernel, "parts", 2)
    monkeypatch.setattr(kernel_module, "BOUND", 1.0)
    kernel, X, y = tp.zoo("gru", T=2, d=3).kernel("nngp", "ntk", nodes=2**9), data(6, 2, 3), data(6, 2, seed=1)
    K, Theta = kernel(X)
    train, test = slice(0, 4), slice(4, 6)
    fit = kernel.solve(X[train], y[train], ridge=0.1, kind="nngp")
    mean, variance = fit.predict(X[test])
    solved = np.linalg.solve(K[train, train] + 0.1 * np.eye(4), np.hstack([y[train], K[train, test]]))
    np.testing.assert_allclose(mean, K[test, train] @ solved[:, :2], atol=1e-12)
    np.testing.assert_allclose(variance, np.diag(K[test, test] - K[test, train] @ solved[:, 2:]), atol=1e-12)
    on_disk = kernel.solve(X[train], y[train], ridge=0.1, out=tmp_path / "K.npy", memory="300MB")
    np.testing.assert_allclose(np.load(tmp_path / "K.ntk.npy"), Theta[train, train], atol=1e-12)
    expected = Theta[test, train] @ np.linalg.solve(Theta[train, train] + 0.1 * np.eye(4), y[train])
    np.testing.assert_allclose(on_disk.mean(X[test]), expected, atol=1e-12)
    assert (kernel.gram(X[train], out=tmp_path / "K.npy")["nngp"] == np.load(tmp_path / "K.nngp.npy")).all()
    with pytest.raises(tp.DataError, match="another kernel"):
        tp.zoo("gru", T=2, d=3).kernel("nngp", "ntk", nodes=2 * kernel.nodes).gram(X[train], out=tmp_path / "K.npy")


def test_kernels_travel_to_other_processes() -> None:
    kernel, X = tp.zoo("gru", T=2, d=3).kernel("nngp"), data(2, 2, 3)
    assert (pickle.loads(pickle.dumps(kernel))(X) == kernel(X)).all()


def test_calls_keep_their_bound_or_refuse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernel_module, "LEAST", 5)
    monkeypatch.setattr(kernel_module, "BOUND", 2e-2)
    net, X = tp.zoo("lstm", T=2, d=3), data(3, 2, 3)
    few = net.kernel("nngp", nodes=32)
    (rough,) = few.measured(X)
    scale = np.sqrt(np.outer(np.diag(rough.values), np.diag(rough.values)))
    assert (2 * rough.errors / scale).max() > few.bound == 2e-2
    with pytest.raises(tp.LimitError, match=r"2e-02 would take about 2\^(\d+)\n.*nodes=2\*\*\1") as refusal:
        few(X)
    assert "8 × 32 Sobol points, two standard errors below 2e-02" in repr(few)
    enough = net.kernel("nngp", nodes=2 ** int(str(refusal.value).rpartition("2**")[2].partition(")")[0]))
    assert (abs(enough(X) - enough.measured(X, tol=1e-2 * scale.min())[0].values) / scale).max() < 1.5 * few.bound
    monkeypatch.setattr(kernel_module, "POINTS", 5)
    going = net.kernel("nngp")
    with pytest.warns(StatisticalWarning, match=f"has 2\\^{enough.nodes.bit_length() - 1} from now on"):
        K = going(X)
    assert going.nodes == enough.nodes and (enough(X) == K).all() and (going(X) == K).all()
    with pytest.raises(tp.LimitError, match="in the rows from 0"):
        few.gram(X, out=tmp_path / "K.npy")
    for wrong in (33, 2**4, 2**21, 0.5, True):
        with pytest.raises(tp.DataError, match="is no number of nodes"):
            net.kernel("nngp", nodes=wrong)


def test_inputs_of_many_coordinates_agree_with_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than are coordinates of points, and samples with one that is not 0."""
    monkeypatch.setattr(draw_module, "FEW", 4)
    net, X = tp.zoo("mlp", L=2, d=40), data(3, 40)
    X[0], X[1] = 0.0, 0.0
    X[0, 3], X[1, 20] = 6.0, 5.0
    for found, exact in zip(of(net, "K", "Theta").measured(X), net.kernel("nngp", "ntk")(X), strict=True):
        assert (abs(found.values - exact) < 5 * found.errors).all() and found.errors.max() < 5e-2 * exact.max()


def test_matrices_between_nodes_are_orthogonal() -> None:
    of = signs(1, 64, np.random.default_rng(0))
    Q = mixed(np.eye(64), of) / 8
    np.testing.assert_allclose(Q @ Q.T, np.eye(64), atol=1e-14)
    assert abs(Q).max() < 0.6 and abs(np.trace(Q)) < 3
    two, x = signs(2, 64, np.random.default_rng(1)), data(3, 100)  # more places than nodes
    parts = mixed(x[:, :64], two[:1]) + mixed(np.pad(x[:, 64:], ((0, 0), (0, 28))), two[1:])
    np.testing.assert_allclose(mixed(x, two), parts, atol=1e-12)
    np.testing.assert_allclose(hadamard(np.eye(64)) * 8, scipy.linalg.hadamard(64), atol=1e-12)


def test_directions_are_added_while_there_is_room() -> None:
    """Each vector has one image, with the products of vectors; of those that come when there is no room a part is mixed."""
    rng = np.random.default_rng(0)
    points = iter(rng.permutation(hadamard(np.eye(256)))[1:] * 16)  # orthogonal
    none = np.empty((0, 256))
    to = Isometry(none, none, signs(1, 256, rng), 3, lambda count: np.array([next(points) for _ in range(count)]))
    x = rng.standard_normal((6, 256)) * np.linspace(3, 1, 6)[:, None]
    x[1] = -2 * x[0]
    first = to(x[:2])
    assert to.room == 2 and len(to.directions) == 1
    both = to(x[:4])
    assert to.room == 0 and pytest.approx(both[:2], abs=1e-9) == first
    assert pytest.approx(both @ both.T / 256, abs=1e-9) == x[:4] @ x[:4].T
    all_ = to(x)
    assert len(to.directions) == 3 and pytest.approx(all_[:4], abs=1e-9) == both
    assert (abs(all_ @ all_.T / 256 - x @ x.T) < 0.3 * np.diag(x @ x.T).max()).all()


@pytest.mark.parametrize("few", [64, 3])
def test_nodes_for_some_samples_alone_are_better(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """Of a recurrent network with formulas, between two sets of samples, where all directions are coordinates or some are."""
    monkeypatch.setattr(draw_module, "FEW", few)
    net, X, Y = tp.zoo("rnn", T=2, d=5), data(2, 2, 5), data(1, 2, 5, seed=1)
    kernel = NodeKernel(net.program, ("K", "Theta"), {}, None, np.dtype("float64"), nodes=2**11)
    (rough, tangent), exact = kernel.measured(X, Y), net.kernel("nngp", "ntk")(X, Y)
    assert (rough.values == kernel(X, Y)[0]).all()
    better = kernel.measured(X, Y, tol=0.1)
    for found, one in zip(better, exact, strict=True):
        assert (abs(found.values - one) < 5 * found.errors).all()
    assert (better[1].values == tangent.values).all()
    assert (better[0].errors ** 2).mean() < (0.35 if few == 64 else 1.0) * (rough.errors**2).mean()


def test_what_is_not_there_is_said() -> None:
    net = tp.zoo("gru", T=2)
    kernel = net.kernel("nngp", dtype="float32")
    assert kernel(data(2, 2, 8)).dtype == np.float32
    with pytest.raises(tp.DeviceError, match='use device="cpu"'):
        net.kernel("nngp", device="cuda")
    with pytest.raises(tp.LimitError, match="leave out nodes="):
        tp.zoo("hopfield").kernel("nngp", nodes=2**12)
    with pytest.raises(tp.LimitError, match="`Uz` times its input is not finite"):
        kernel(np.full((2, 2, 8), 1e308))
    with pytest.raises(tp.DataError, match="wanted"):
        kernel(data(2, 3, 8))
    with pytest.raises(tp.DataError, match="`tol` is 0"):
        kernel.measured(data(2, 2, 8), tol=0)
    with pytest.raises(tp.DataError, match="`diag` takes no `Y`"):
        kernel.diag(data(2, 2, 8), Y=1)
    with pytest.raises(tp.DataError, match="no output `g`"):
        net.kernel("nngp", output="g")
    kernel.memory = 1 << 16
    with pytest.raises(tp.DataError, match="over the limit"):
        kernel(data(2, 2, 8))


def test_averages_pass_no_gradients_on() -> None:
    """Of a layer's norm what it subtracts and divides by; a GRU that has one against finite networks."""
    text = GRU.replace("v @ h[t]", "v @ tanh(layernorm(h[t]))").replace("f[t]", "f").replace("h[t]))\n", "h[T]))\n")
    net, X = tp.parse(text.replace("@ (r[t] * h[t-1])", "@ layernorm(r[t] * h[t-1] + Uz @ x[t])"), T=2), data(2, 2, 3)
    seen = np.array([kernels_of(net.simulate(X, width=256, seed=s))["Theta"] for s in range(12)])
    (found,) = net.kernel("ntk").measured(X)
    error = np.hypot(seen.std(axis=0, ddof=1) / math.sqrt(len(seen)), found.errors)
    assert (abs(seen.mean(axis=0) - found.values) < 4 * error + 0.02 * abs(found.values).max()).all()


def test_trained_numbers_have_random_tangents() -> None:
    """What training one number adds stays random; that of the gradients by vectors it vanishes from is another matter."""
    text = (
        GRU.replace("  h[0]", "  weight c : [] = 1 * N(1, 0)\n  h[0]").replace("erf(Wh", "erf(c * (Wh").replace("+ bh)", "+ bh))")
    )
    with pytest.raises(tp.LimitError, match="the gradient by `c` stays random"):
        tp.parse(text, T=2).kernel("ntk")
    assert isinstance(tp.parse(text, T=2).kernel("nngp"), NodeKernel)


def test_symbols_have_numbers_when_the_kernel_is_made() -> None:
    text = GRU.replace("let   T = 3", "let   T\n  let   s").replace("N(0, 1/d)", "N(0, s/d)")
    X = data(2, 2, 3)
    with pytest.raises(tp.DataError, match="no value in the spec"):
        tp.parse(text).kernel("nngp", T=2)
    assert (tp.parse(text).kernel("nngp", T=2, s=1)(X) == tp.parse(GRU, T=2).kernel("nngp")(X)).all()


def test_no_figure_depends_on_the_cores_there_are() -> None:
    kernel, X = tp.zoo("gru", T=2, d=3).kernel("nngp", "ntk"), data(4, 2, 3)
    found = []
    for threads in (1, 3):
        kernel.threads = threads
        found.append(kernel.measured(X))
    for one, three in zip(*found, strict=True):
        assert (one.values == three.values).all() and (one.errors == three.errors).all()


def test_who_watches_sees_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tp.progress.DELAY", 0.0)
    net, X = tp.parse(GRU, T=2), data(2, 2, 3)
    net.kernel("nngp", progress=False).measured(X)
    assert capsys.readouterr().err == ""
    net.kernel("nngp", progress=True).measured(X)
    told = capsys.readouterr().err
    assert "drawing on 2^10 nodes" in told and "vectors" in told


@pytest.mark.parametrize("room", [1 << 30, 1])
def test_bars_end_at_their_total(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Of one set of samples, of two, and of each sample with itself; drawn at once or one by one."""
    totals, done = list[int](), list[int]()

    @contextmanager
    def bar(what: str, total: int, unit: str, progress: bool | None) -> Iterator[Callable[[int], None]]:
        totals.append(total)
        yield done.append

    monkeypatch.setattr(kernel_module, "bar", bar)
    monkeypatch.setattr(kernel_module, "ROOM", room)
    kernel, X = tp.parse(GRU, T=1).kernel("nngp", nodes=2**9), data(3, 1, 3)
    for call in (lambda: kernel(X), lambda: kernel(X, X[:2]), lambda: kernel.diag(X)):
        call()
        assert totals.pop() == sum(done) > 0
        done.clear()


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_formulas_are_gone_through_by_blocks_of_pairs(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Of samples that differ, beside a constant for which all have the same."""
    net = tp.parse(GRU.replace("v @ h[t]", "v @ (h[t] + 2*bh)").replace("f[t]", "f").replace("h[t] + 2", "h[T] + 2"), T=2)
    kernel, X = net.kernel(kind), data(5, 2, 3)
    (whole,) = kernel.measured(X)
    monkeypatch.setattr(draw_module, "TOGETHER", 1)
    (parts,) = kernel.measured(X)
    assert pytest.approx(parts.values, abs=1e-13) == whole.values and (parts.values == parts.values.T).all()


def test_maximum_pooling_behind_a_padded_input_with_an_axis():
    """Against the Gaussian field itself, drawn: 2e5 times, which errs by some 0.3 %."""
    spec = """network maxpool
  width n
  dim   c = 2
  index p in 0..2 boundary zero
  input  x[p] : [c]
  weight A[k] : [n, c] ~ N(0, 1/c)  for k in -1..1
  weight v    : [n]    ~ N(0, 1/n)
  h[p] = sum(A[k] @ x[p+k] for k in -1..1)
  output f = v @ max(h[0], max(h[1], h[2]))
"""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2, 3, 2))
    padded = np.pad(X, ((0, 0), (1, 1), (0, 0)))
    A = rng.standard_normal((200_000, 3, 2)) / np.sqrt(2)
    h = np.stack([np.einsum("akc,skc->sa", A, padded[:, p : p + 3]) for p in range(3)])
    drawn = h.max(axis=0)
    scale = np.sqrt(np.diag(K := drawn @ drawn.T / len(A)))
    np.testing.assert_allclose(tp.parse(spec).kernel("nngp")(X) / np.outer(scale, scale), K / np.outer(scale, scale), atol=0.02)
