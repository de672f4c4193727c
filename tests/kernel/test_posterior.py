"""Posteriors against their definitions, by other routes: conditioned Gaussians, scikit-learn, the flow integrated in time."""

from __future__ import annotations

import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import multivariate_normal

import tp
from tests.kernel.plain import kernel
from tests.kernel.specs import mlp


@pytest.fixture(scope="module")
def both():
    return kernel(mlp())[0]


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X, test = rng.standard_normal((12, 3)), rng.standard_normal((5, 3))
    test[0] = X[3]
    return X, np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1), test


def together(k, X, test, kind):
    """The kernel of training and test samples as one matrix, each block [.., ..]."""
    K = k(np.concatenate([X, test]))[kind]
    n = len(X)
    return K[:n, :n], K[n:, :n], K[n:, n:]


# ---------------------------------------------------------------- Gaussian processes


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_gaussian_process_is_a_gaussian_conditioned(both, problem, tmp_path, where):
    X, y, test = problem
    K, cross, own = together(both, X, test, 0)
    out = {"out": tmp_path / "K.npy", "memory": "30MB"} if where == "disk" else {}
    found = both.solve(X, y, ridge=0.1, kind="nngp", **out)
    precision = np.linalg.inv(np.block([[K + 0.1 * np.eye(12), cross.T], [cross, own]]))  # conditioning is in its blocks
    covariance = np.linalg.inv(precision[12:, 12:])
    np.testing.assert_allclose(found.mean(test), -covariance @ precision[12:, :12] @ y, rtol=1e-9)
    np.testing.assert_allclose(found.covariance(test), covariance, atol=1e-11)
    np.testing.assert_allclose(found.variance(test), covariance.diagonal(), atol=1e-11)
    likelihood = sum(multivariate_normal.logpdf(column, cov=K + 0.1 * np.eye(12)) for column in y.T)
    assert found.log_marginal_likelihood == pytest.approx(likelihood, rel=1e-11)
    assert found.jitter == 0.0


def test_a_gaussian_process_is_that_of_scikit_learn(both, problem):
    process = pytest.importorskip("sklearn.gaussian_process")
    X, y, test = problem

    class Limit(process.kernels.Kernel):
        """Our kernel as theirs."""

        def __init__(self):
            pass

        def __call__(self, X, Y=None, eval_gradient=False):
            return both(X, X if Y is None else Y)[0]

        def diag(self, X):
            return both.diag(X)[0]

        def is_stationary(self):
            return False

    theirs = process.GaussianProcessRegressor(Limit(), alpha=0.05, optimizer=None).fit(X, y[:, 0])
    ours = both.solve(X, y[:, 0], ridge=0.05, kind="nngp")
    mean, spread = theirs.predict(test, return_std=True)
    np.testing.assert_allclose(ours.predict(test)[0], mean, rtol=1e-9)
    np.testing.assert_allclose(ours.predict(test)[1], spread**2, rtol=1e-8)
    assert ours.log_marginal_likelihood == pytest.approx(theirs.log_marginal_likelihood_value_, rel=1e-10)


# ---------------------------------------------------------------- trained networks


def flowed(theta, cross, ridge, time):
    """θ ∫₀ᵗ e^{−(Θ + λ) s/N} ds/N, what a target moves a prediction; the integral by Van Loan's block exponential."""
    n = len(theta)
    rate = (theta + ridge * np.eye(n)) / n
    block = expm(time * np.block([[-rate, np.eye(n)], [np.zeros((n, 2 * n))]]))
    return cross @ block[:n, n:] / n


@pytest.mark.parametrize(("time", "ridge"), [(3.0, 0.0), (40.0, 0.2)])
def test_a_finite_time_is_the_flow_integrated(both, problem, time, ridge):
    X, y, test = problem
    theta, cross, _ = together(both, X, test, 1)
    K, mixed, own = together(both, X, test, 0)
    moved = flowed(theta, cross, ridge, time)
    move = np.concatenate([np.eye(5), -moved], axis=1)  # f_t(x) = f_0(x) + moved (y − f_0(X))
    prior = np.block([[own, mixed], [mixed.T, K]])
    found = both.solve(X, y, ridge=ridge, time=time)
    np.testing.assert_allclose(found.mean(test), moved @ y, rtol=1e-8)
    np.testing.assert_allclose(found.covariance(test), move @ prior @ move.T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.variance(test), (move @ prior @ move.T).diagonal(), rtol=1e-8, atol=1e-10)
    assert found.log_marginal_likelihood is None


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_the_flow_ends_at_the_inverse(both, problem, tmp_path, where):
    X, y, test = problem
    late = both.solve(X, y, ridge=0.3, time=1e9)
    out = {"out": tmp_path / "K.npy", "memory": "30MB"} if where == "disk" else {}
    end = both.solve(X, y, ridge=0.3, **out)
    np.testing.assert_allclose(end.mean(test), late.mean(test), rtol=1e-8)
    np.testing.assert_allclose(end.covariance(test), late.covariance(test), atol=1e-10)


def test_without_ridge_the_data_are_interpolated_without_doubt(both, problem):
    X, y, _ = problem
    found = both.solve(X, y)
    np.testing.assert_allclose(found.mean(X), y, rtol=1e-8)
    assert found.variance(X).max() < 1e-10


def test_an_ensemble_of_random_feature_networks_is_what_the_flow_says():
    """Only the readout is trained, so a wide finite network is linear in what is trained: gradient descent, many seeds."""
    text = "network features\n  width n\n  dim d = 3\n  input x : [d]\n  weight U : [n, d] ~ N(0, 1/d), frozen\n"
    text += "  weight v : [n] ~ N(0, 1/n)\n  output f = v @ relu(U @ x)\n"
    rng = np.random.default_rng(0)
    X, test, time, n = rng.standard_normal((6, 3)), rng.standard_normal((3, 3)), 20.0, 1024
    y = X[:, 0]
    predictions = []
    for _ in range(600):
        U, v = rng.standard_normal((n, 3)) / np.sqrt(3), rng.standard_normal(n)
        features, later = np.maximum(X @ U.T, 0) / np.sqrt(n), np.maximum(test @ U.T, 0) / np.sqrt(n)
        moved = flowed(features @ features.T, later @ features.T, 0.0, time)
        predictions.append(later @ v + moved @ (y - features @ v))
    found = tp.parse(text).kernel("nngp", "ntk").solve(X, y, time=time)
    mean, variance = found.predict(test)
    np.testing.assert_allclose(np.mean(predictions, axis=0), mean, atol=4.5 * np.sqrt(variance.max() / 600) + 0.01)
    np.testing.assert_allclose(np.var(predictions, axis=0), variance, rtol=0.25)


# ---------------------------------------------------------------- shapes, jitter, disk


def test_one_axis_of_targets_gives_one_axis(both, problem):
    X, y, test = problem
    assert both.solve(X, y[:, 0], ridge=0.1).mean(test).shape == (5,)
    assert both.solve(X, y, ridge=0.1).mean(test).shape == (5, 2)


def test_numbers_of_classes_are_no_targets(both, problem):
    """They are warned of, at the line that gives them."""
    X, _, test = problem
    labels = np.arange(12) % 3
    with pytest.warns(UserWarning, match=r"one column each, np.eye\(3\)\[labels\]") as told:
        both.solve(X, labels, ridge=0.1)
    assert told[0].filename == __file__
    assert both.solve(X, np.eye(3)[labels], ridge=0.1).mean(test).argmax(1).shape == (5,)
    with pytest.raises(tp.DataError, match="return_inverse=True"):
        both.solve(X, np.array(list("abc"))[labels])


def test_kernels_and_posteriors_show_what_they_are(both, problem):
    X, y, _ = problem
    assert repr(both).startswith("<Kernel nngp, ntk of ") and "nngp, ntk" in both._repr_html_()
    shown = repr(both.solve(X, y, ridge=0.1, kind="nngp"))
    assert shown.startswith("<Posterior of ") and "12 samples, 2 outputs, ridge 0.1, log marginal likelihood -" in shown


def test_test_samples_are_taken_in_parts_that_fit(both, problem, monkeypatch):
    X, y, test = problem
    found = both.solve(X, y, ridge=0.1, kind="nngp")
    whole = found.predict(test)
    object.__setattr__(found, "memory", 1)
    for part, want in zip(found.predict(test), whole, strict=True):
        np.testing.assert_allclose(part, want, rtol=1e-11)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_jitter_is_reported(both, problem, tmp_path, where):
    X, y, _ = problem
    X, y = np.concatenate([X, X]), np.concatenate([y, y])
    out = {"out": tmp_path / "K.npy", "memory": "30MB"} if where == "disk" else {}
    with pytest.warns(UserWarning, match="was added to its diagonal"):
        found = both.solve(X, y, kind="nngp", **out)
    assert 0 < found.jitter < 1e-9
    np.testing.assert_allclose(found.mean(X), y, rtol=1e-4)


def test_samples_that_contradict_each_other_are_averaged(both, problem):
    X, y, test = problem
    twice, clashing = np.concatenate([X, X]), np.concatenate([y - 1, y + 1])
    with pytest.warns(UserWarning, match="was added to its diagonal"):
        found = both.solve(twice, clashing, kind="nngp")
    rounding = len(twice) * 2.2e-16 / 1e-10  # of kernel entries, over the jitter
    np.testing.assert_allclose(found.mean(test), both.solve(X, y, kind="nngp").mean(test), atol=4 * rounding)


def test_the_variance_of_trained_networks_takes_both_kernels(problem):
    X, y, test = problem
    found = kernel(mlp(), ("Theta",))[0].solve(X, y)
    assert found.mean(test).shape == (5, 2)
    with pytest.raises(tp.DataError, match="both"):
        found.variance(test)


def factor(matrix, path, panels, fingerprint="matrix"):
    """The factor on disk, with so little memory that it has some panels."""
    from tp.kernel.disk.cholesky import disk_cholesky

    n = len(matrix)
    return disk_cholesky(matrix, 0.5, 1.0, path, 16 * n * -(-n // panels), fingerprint)


@pytest.fixture(scope="module")
def matrix():
    A = np.random.default_rng(0).standard_normal((50, 50))
    return A @ A.T


def test_a_factor_on_disk_in_panels(matrix, tmp_path):
    found = factor(matrix, tmp_path / "L.npy", 7)
    shifted = matrix + 0.5 * np.eye(50)
    np.testing.assert_allclose(np.load(tmp_path / "L.npy"), np.linalg.cholesky(shifted), atol=1e-11)
    assert found.log_determinant == pytest.approx(np.linalg.slogdet(shifted)[1], rel=1e-12)
    right = np.random.default_rng(1).standard_normal((50, 3))
    np.testing.assert_allclose(found.solve(right), np.linalg.solve(shifted, right), rtol=1e-8)
    np.testing.assert_allclose(found.half(right), np.linalg.solve(np.linalg.cholesky(shifted), right), rtol=1e-8)


def test_a_factor_is_never_that_of_another_run(matrix, tmp_path, monkeypatch):
    """A second one is cut short before its first panel is done; the first is asked for again."""
    from tp.kernel.disk import cholesky

    path, want = tmp_path / "L.npy", np.linalg.cholesky(matrix + 0.5 * np.eye(50))
    factor(matrix, path, 7)
    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stopped.setattr(cholesky, "_panel", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        cholesky.disk_cholesky(matrix, 2.0, 1.0, path, 6400, "matrix")
    found = factor(matrix, path, 7)
    np.testing.assert_allclose(np.load(path), want, atol=1e-11)
    assert found.log_determinant == pytest.approx(2 * np.log(np.diag(want)).sum(), rel=1e-12)


@pytest.mark.parametrize(
    "record", ["", "[]", '{"logs": 3}', '{"logs": ["nan"]}', '{"logs": [], "width": 0}', '{"fingerprint": 1, "x": 2, "logs": []}']
)
def test_a_factor_with_a_broken_record_is_made_anew(matrix, tmp_path, record):
    path, want = tmp_path / "L.npy", np.linalg.cholesky(matrix + 0.5 * np.eye(50))
    np.save(tmp_path / "L.npy.partial", want)
    (tmp_path / "L.npy.json").write_text(record)
    factor(matrix, path, 7)
    np.testing.assert_allclose(np.load(path), want, atol=1e-11)


def test_a_factor_whose_file_was_cut_is_made_anew(matrix, tmp_path):
    factor(matrix, tmp_path / "L.npy", 7)
    os.truncate(tmp_path / "L.npy", 5000)
    factor(matrix, tmp_path / "L.npy", 7)
    np.testing.assert_allclose(np.load(tmp_path / "L.npy"), np.linalg.cholesky(matrix + 0.5 * np.eye(50)), atol=1e-11)


def test_what_failed_is_not_tried_again(tmp_path, monkeypatch):
    """The jitter of a factor on disk is that in memory, and is remembered."""
    from tp.kernel.disk import cholesky
    from tp.regression import cholesky as in_memory

    A = np.random.default_rng(0).standard_normal((30, 12))
    matrix = A @ A.T
    with pytest.warns(UserWarning, match="singular"):
        want = in_memory(matrix, 0.0)
    for again in (False, True):
        if again:
            monkeypatch.setattr(cholesky, "_panel", lambda *_: pytest.fail("computed again"))
        with pytest.warns(UserWarning, match="singular"):
            found = cholesky.disk_cholesky(matrix, 0.0, float(np.diag(matrix).mean()), tmp_path / "L.npy", 3360, "matrix")
        assert found.jitter == want.jitter > 0
        assert found.log_determinant == pytest.approx(want.log_determinant, rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_samples_on_disk(both, problem, tmp_path, count):
    X, y, test = problem
    want = both.solve(X[:count], y[:count], kind="nngp")
    found = both.solve(X[:count], y[:count], kind="nngp", out=tmp_path / "K.npy")
    np.testing.assert_allclose(found.mean(test), want.mean(test), atol=1e-12)
    np.testing.assert_allclose(found.variance(test), want.variance(test), atol=1e-12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_factor_that_was_cut_short_goes_on(matrix, tmp_path, monkeypatch):
    from tp.kernel.disk import cholesky

    plain, panels = cholesky._panel, []

    def counted(*arguments):
        panels.append(arguments[3])
        return plain(*arguments)

    monkeypatch.setattr(cholesky, "_panel", counted)
    child = os.fork()
    if not child:
        monkeypatch.setattr(cholesky.os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL) if len(panels) == 4 else None)
        factor(matrix, tmp_path / "L.npy", 7)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not (tmp_path / "L.npy").exists()
    factor(matrix, tmp_path / "L.npy", 7)
    assert len(panels) == 4  # of seven, three were done
    np.testing.assert_allclose(np.load(tmp_path / "L.npy"), np.linalg.cholesky(matrix + 0.5 * np.eye(50)), atol=1e-11)
    panels.clear()
    factor(matrix, tmp_path / "L.npy", 7)
    assert not panels


def test_a_factor_never_takes_the_place_of_something_else(matrix, tmp_path):
    (tmp_path / "L.npy").write_text("mine")
    with pytest.raises(tp.DataError, match="there already"):
        factor(matrix, tmp_path / "L.npy", 7)


def test_a_factor_without_room_changes_nothing(matrix, tmp_path, monkeypatch):
    """Nothing is begun, and one of another matrix that is there stays, unless it makes room enough."""
    path, free = tmp_path / "L.npy", [8 * 49 * 50]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    with pytest.raises(tp.DataError, match="disk full"):
        factor(matrix, path, 7)
    assert not list(tmp_path.iterdir())
    free[0] *= 2
    factor(matrix, path, 7)
    free[0] = -(1 << 20)
    with pytest.raises(tp.DataError, match="disk full"):
        factor(2 * matrix, path, 7, "another")
    assert {p.name for p in tmp_path.iterdir()} == {"L.npy", "L.npy.json"}
    np.testing.assert_allclose(np.load(path), np.linalg.cholesky(matrix + 0.5 * np.eye(50)), atol=1e-11)
    free[0] = 8 * 50 * 50 - 512
    factor(2 * matrix, path, 7, "another")
    np.testing.assert_allclose(np.load(path), np.linalg.cholesky(2 * matrix + 0.5 * np.eye(50)), atol=1e-11)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_a_ridge_by_leaving_one_sample_out(both, problem, kind):
    """No ridge of the list predicts the samples that are left out better, each by a system of equations of its own."""
    X, y, test = problem
    y = y[:, 0] + np.random.default_rng(1).standard_normal(12)
    K = together(both, X, test, ["nngp", "ntk"].index(kind))[0]

    def error(ridge):
        rows = [np.flatnonzero(np.arange(12) != i) for i in range(12)]
        means = [K[i, r] @ np.linalg.solve(K[np.ix_(r, r)] + ridge * np.eye(11), y[r]) for i, r in enumerate(rows)]
        return np.mean((means - y) ** 2)

    found = both.solve(X, y, "loo", kind=kind)
    ridges = np.mean(np.diag(K)) * 10.0 ** (np.arange(-32, 5) / 4)
    assert found.ridge == pytest.approx(min(ridges, key=error)) and ridges[0] < found.ridge < ridges[-1]
    np.testing.assert_allclose(found.mean(test), both.solve(X, y, found.ridge, kind=kind).mean(test), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ridge": "auto"}, '"loo" to find it'),
        ({"ridge": "loo", "out": "K.npy"}, "some of the samples"),
        ({"ridge": "loo", "method": "cg"}, "some of the samples"),
        ({"ridge": "loo", "time": 1.0, "kind": "ntk"}, "some of the samples"),
        ({"y": np.zeros(11)}, r"\[12\]"),
        ({"y": np.zeros((12, 2, 1))}, "shape"),
        ({"y": np.array([0.0] * 11 + [np.nan])}, r"nan at index \[11\]"),
        ({"y": np.array(["a"] * 12)}, "one-hot"),
        ({"y": np.ma.masked_less(np.arange(12.0), 3)}, "masked"),
        ({"y": np.full(12, 1e200)}, "squares"),
        ({"ridge": -1.0}, "not negative"),
        ({"ridge": True}, "one finite number"),
        ({"ridge": 10**400}, "one finite number"),
        ({"ridge": np.ones(12)}, "one finite number"),
        ({"ridge": np.nan}, "finite"),
        ({"time": 0.0}, "positive"),
        ({"time": 1.0, "kind": "nngp"}, "no time"),
        ({"time": 1.0, "out": "K.npy"}, "in memory"),
        ({"kind": "gram"}, "not 'gram'"),
        ({"memory": "10kB"}, "on disk"),
    ],
)
def test_wrong_arguments(both, problem, change, said):
    X, y, _ = problem
    with pytest.raises(tp.DataError, match=said):
        both.solve(**{"X": X, "y": y, **change})


def test_outputs_over_an_index_are_refused():
    text = "network seq\n  width n\n  index t in 1..3\n  dim d = 2\n  input x[t] : [d]\n  weight U : [n, d] ~ N(0, 1/d)\n"
    k = tp.parse(text + "  weight v : [n] ~ N(0, 1/n)\n  output f[t] = v @ relu(U @ x[t])\n").kernel("nngp")
    with pytest.raises(tp.DataError, match="per index"):
        k.solve(np.ones((2, 3, 2)), np.ones(2))
