"""Linear networks with one hidden layer at the scale of Word2Vec and meta-learning: sparse, and with any algorithm."""

from __future__ import annotations

import numpy as np
import pytest

import tp
from benchmarks.exact_training import corpus, hessian_product, maml
from tp.readings.linear_limit import Finite, recognised


def network(d: int, k: int) -> Finite:
    found = recognised(tp.zoo("linear_mup", d=d, k=k).train(np.eye(d), np.zeros((d, k)), steps=1, lr=1.0))
    assert found is not None
    return Finite.limit(found)


def wide(d: int, k: int, n: int, rng: np.random.Generator) -> Finite:
    """The network itself, of width n."""
    return Finite(rng.normal(size=(n, d)), rng.normal(size=(n, k)), 1 / n)


def test_negative_sampling_leaves_out_nothing() -> None:
    """The same training written as an expression, for which no output is known to be idle."""
    rng = np.random.default_rng(0)
    X, sampled, _ = corpus(30, 20, 3, rng)
    batches = [rng.integers(0, 20, 4).tolist() for _ in range(15)]
    net = tp.zoo("linear_mup", d=30, k=30)
    sparse, dense = (
        net.train(X, sampled, steps=15, lr=2.0, loss=loss, batches=batches).limit() for loss in ("logistic", "log(1 + exp(-y*f))")
    )
    assert sparse.details["width"] < dense.details["width"] <= 60
    assert sparse.outputs == pytest.approx(dense.outputs, abs=1e-12)
    assert sparse.losses == pytest.approx(dense.losses, abs=1e-11)
    assert sparse.kernels == pytest.approx(dense.kernels, abs=1e-11)
    assert np.abs(sparse.outputs).max() > 0.5


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.5}, {"decay": 0.05}])
def test_words_against_the_calculus(settings: dict[str, float]) -> None:
    rng = np.random.default_rng(1)
    X, _, onehot = corpus(3, 3, 1, rng)
    net = tp.zoo("linear_mup", d=3, k=3)
    run = net.train(X, onehot, steps=3, lr=1.0, loss="xent", batches=[[0], [1, 2], [2]], **settings)
    assert run.limit().outputs == pytest.approx(run.limit(method="sobol").outputs, abs=0.02)


@pytest.mark.usefixtures("quick")
def test_results_every_so_many_steps() -> None:
    X, y = np.array([[1.0, 0.0], [0.5, 1.0]]), np.array([1.0, -1.0])
    for net, n in ((tp.zoo("linear_mup", d=2), 2), (tp.zoo("mup_mlp", d=2, L=1), 1)):
        every, third = (net.train(X[:n], y[:n], steps=4, lr=0.3, every=k) for k in (1, 3))
        assert third.times == (0, 3, 4)
        for reading in ("limit", "lazy"):
            whole, some = getattr(every, reading)(), getattr(third, reading)()
            assert some.outputs == pytest.approx(whole.outputs[[0, 3, 4]], abs=1e-9)
            assert some.losses == pytest.approx(whole.losses[[0, 3, 4]], abs=1e-9)
            assert list(some.times) == [0, 3, 4] and some.steps == 4
        assert third.simulate(32, seeds=2).outputs.shape == (3, n, 1)
    with pytest.raises(tp.DataError, match="every 0"):
        tp.zoo("linear_mup", d=2).train(X, y, steps=7, lr=0.3, every=0)


def test_gradients_and_their_derivatives() -> None:
    """Against differences, of a network of any width."""
    rng = np.random.default_rng(0)
    net, X, Y = wide(3, 2, 5, rng), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    du, dv = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))

    def moved(s: float) -> Finite:
        return Finite(net.U + s * du, net.V + s * dv, net.c, net.rate_u, net.rate_v)

    slope = (moved(1e-5).forward(X, Y, "mse")[0] - moved(-1e-5).forward(X, Y, "mse")[0]) / 2e-5
    gu, gv = net.gradients(X, Y, "mse")
    assert net.c * (np.vdot(gu, du) + np.vdot(gv, dv)) == pytest.approx(slope, rel=1e-6)
    after, before = moved(1e-5).gradients(X, Y, "mse"), moved(-1e-5).gradients(X, Y, "mse")
    for found, plus, minus in zip(hessian_product(net, X, Y, du, dv), after, before, strict=True):
        assert found == pytest.approx((plus - minus) / 2e-5, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("second", [False, True])
def test_meta_learning_of_wide_networks_approaches_its_limit(second: bool) -> None:
    def losses(net: Finite) -> np.ndarray:
        return np.array(maml(net, 30, 4, 0.3, 0.3, second, np.random.default_rng(5)))

    exact = losses(network(3, 1))
    coarse, fine = (
        np.mean([np.abs(losses(wide(3, 1, n, np.random.default_rng(s))) - exact).max() for s in range(6)]) for n in (64, 4096)
    )
    assert fine < 0.3 * coarse  # theory: 0.125
    assert exact[-5:].mean() < 0.6 * exact[:5].mean()


def test_second_order_is_not_first_order() -> None:
    one, two = (maml(network(3, 1), 10, 4, 0.3, 0.3, second, np.random.default_rng(5)) for second in (False, True))
    assert np.abs(np.array(one) - np.array(two)).max() > 1e-3
