"""The lazy curve: kernel gradient descent, what NTP does and what μP departs from (Tensor Programs IV, the dichotomy)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tp
from tp.faces.curves import draw, movement
from tp.readings.lazy import tangent_kernel
from tp.readings.simulate import simulate
from tp.readings.training import TrainingRun

pytestmark = pytest.mark.usefixtures("quick")

X, Y = np.array([[1.0, 0.5], [-0.6, 0.8]]), np.array([1.0, -1.0])
NTP = """network ntp
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1)
  weight W : [n, n] = n^(-1/2) * N(0, 1)
  weight v : [n] = n^(-1/2) * N(0, 1)
  h = W @ erf(U @ x)
  output f = v @ erf(h)
"""

SHALLOW = """network shallow
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1), lr n
  weight v : [n] = 1/n * N(0, 1), lr n
  output f = v @ erf(U @ x)
"""


def by_hand(theta: np.ndarray, lr: float, steps: int, momentum: float = 0.0) -> np.ndarray:
    """Kernel gradient descent for mse on all rows."""
    f, u, found = np.zeros(len(Y)), np.zeros(len(Y)), [np.zeros(len(Y))]
    for _ in range(steps):
        u = momentum * u + theta @ (f - Y) / len(Y)
        f = f - lr * u
        found.append(f)
    return np.array(found)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_linear_network_by_hand(momentum: float) -> None:
    run = tp.zoo("linear_mup", d=2).train(X, Y, steps=6, lr=0.3, momentum=momentum)
    assert run.lazy().outputs[..., 0] == pytest.approx(by_hand(2 * X @ X.T, 0.3, 6, momentum), abs=1e-12)


def test_several_outputs_do_not_mix() -> None:
    run = tp.zoo("linear_mup", d=2, k=3).train(X, np.outer(Y, [1, 2, -1]), steps=3, lr=0.3)
    assert run.lazy().outputs == pytest.approx(by_hand(2 * X @ X.T, 0.3, 3)[..., None] * [1, 2, -1], abs=1e-12)


def test_the_first_order_of_any_limit_is_lazy() -> None:
    run = tp.parse(SHALLOW).train(X[:1], Y[:1], steps=2, lr=1e-3)
    limit, lazy = run.limit(method="grid", tol=1e-7), run.lazy()
    assert limit.outputs[1:] == pytest.approx(lazy.outputs[1:], rel=0.01)


@pytest.mark.parametrize(("name", "written"), [("mse", "(f - y)^2/2"), ("logistic", "log(1 + exp(-y*f))")])
def test_a_written_loss_is_the_named_one(name: str, written: str) -> None:
    one, other = (tp.parse(NTP).train(X, Y, steps=4, lr=0.5, loss=loss).lazy() for loss in (name, written))
    assert one.outputs == pytest.approx(other.outputs, abs=1e-12) and one.losses == pytest.approx(other.losses, abs=1e-12)


def test_test_rows_batches_and_initial_outputs() -> None:
    net, rows = tp.parse(NTP), np.array([[0.3, 0.2], [1.0, 0.5]])
    run = net.train(X, Y, steps=2, lr=[0.5, 0.2], batches=[[0], [1]], X_test=rows)
    theta, f = tangent_kernel(run), np.array([0.1, -0.2, 0.3])
    assert theta.shape == (3, 3)
    for lr, row in ((0.5, 0), (0.2, 1)):
        f = f - lr * theta[:, row] * (f[row] - Y[row])
    assert run.lazy(f0=[0.1, -0.2, 0.3]).outputs[-1, :, 0] == pytest.approx(f[[2, 0]], abs=1e-12)
    with pytest.raises(tp.DataError, match=r"\[3, 1\]"):
        run.lazy(f0=[0.1, 0.2])


def test_ntp_follows_the_tangent_kernel() -> None:
    """mse is linear in f: the mean over initializations is the curve from f₀ = 0. Its error does not depend on the width."""
    run = tp.parse(NTP).train(X, Y, steps=5, lr=0.5)
    lazy, wide = run.lazy(), run.simulate(512, seeds=24)
    assert np.abs(lazy.outputs[-1]).min() > 0.6
    assert (np.abs(wide.outputs - lazy.outputs) <= 4 * wide.errors + 1e-9).all()


def features(run: TrainingRun, width: int, seed: int) -> tuple[float, float]:
    """How far the coordinates of h and the feature kernel move in one network of this width."""
    given = {name: array[None] for name, array in run.X.items()} | {run.training.targets: run.y[None]}
    values = simulate(run.training.program, given, width, np.random.default_rng(seed)).values
    moved = np.sqrt(np.mean((values["h", run.steps, 0] - values["h", 0, 0]) ** 2))
    return float(moved), float(movement(run.simulate(width, seed=seed).kernels)[-1])


def test_the_dichotomy() -> None:
    """NTP: features move by Θ(n^(-1/2)), their kernel by Θ(1/n), for ⟨Δh, h⟩ is a sum of centred terms. μP: both by Θ(1)."""
    widths, slopes = (32, 128, 512), {}
    mup = NTP.replace("1 * N(0, 1)", "1 * N(0, 1), lr n").replace("v : [n] = n^(-1/2) * N(0, 1)", "v : [n] = 1/n * N(0, 1), lr n")
    mup = mup.replace("W : [n, n] = n^(-1/2) * N(0, 1)", "W : [n, n] = n^(-1/2) * N(0, 1), lr n")
    for name, spec in (("ntp", NTP), ("mup", mup)):
        run = tp.parse(spec).train(X, Y, steps=3, lr=0.5)
        moved = [np.mean([features(run, n, seed) for seed in range(16)], axis=0) for n in widths]
        slopes[name] = np.polyfit(np.log(widths), np.log(moved), 1)[0]
    assert slopes["ntp"] == pytest.approx([-0.5, -1], abs=0.2)
    assert slopes["mup"] == pytest.approx([0, 0], abs=0.15)
    limit, lazy = run.limit(method="sobol"), run.lazy()
    assert movement(limit.kernels)[-1] > 0.2
    assert np.abs(limit.outputs - lazy.outputs).max() > 20 * limit.errors.max()


@pytest.mark.parametrize(
    ("spec", "settings", "words"),
    [
        (NTP, {"decay": 0.1}, "without decay"),
        (NTP, {"optimizer": "sign"}, "plain gradients"),
        (NTP.replace("n^(-1/2) * N(0, 1)", "1 * N(0, 1/n)"), {}, r"n\^\(1\)"),
    ],
)
def test_networks_without_a_lazy_curve(spec: str, settings: dict[str, object], words: str) -> None:
    with pytest.raises(tp.LimitError, match=words):
        tp.parse(spec).train(X, Y, steps=2, lr=0.1, **settings).lazy()


def test_a_diverging_curve_is_refused() -> None:
    with pytest.raises(tp.LimitError, match="not finite"):
        tp.parse(NTP).train(X, Y, steps=500, lr=1e3).lazy()


def test_plot_draws_widths_and_the_lazy_curve_by_itself(tmp_path: Path) -> None:
    run = tp.zoo("linear_mup", d=2).train(X, Y, steps=2, lr=0.5)
    figure = run.limit().plot(tmp_path / "run.png")
    labels = figure.axes[1].get_legend_handles_labels()[1]
    assert labels == ["infinite width (exact)", "lazy (tangent kernel)", "width 64", "width 256"]
    assert len(figure.axes) == 3 and (tmp_path / "run.png").stat().st_size > 5000
    plain = draw(run.limit(), (), (), 1, lazy=False)
    assert plain.axes[1].get_legend_handles_labels()[1] == ["infinite width (exact)"]
    decayed = tp.zoo("linear_mup", d=2).train(X, Y, steps=2, lr=0.5, decay=0.1).limit().plot(widths=(32,))
    assert decayed.axes[1].get_legend_handles_labels()[1] == ["infinite width (exact)", "width 32"]
    assert run.lazy().plot(widths=(16,)).axes[1].get_legend_handles_labels()[1] == ["lazy (tangent kernel)", "width 16"]
