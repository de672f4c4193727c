"""Training at infinite width: the published limits, three ways of computing them, and finite widths beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

import tp
from tests.readings.specs import MLP, SIGNS, VALUES, mlp

DATA = Path(__file__).parent / "data"
MUP = {case["id"]: case for case in json.loads((DATA / "mup.json").read_text())}


def reference(case: dict[str, Any]) -> tuple[tp.Net, dict[str, Any]]:
    act = "" if case.get("act") in ("lin", None) else case["act"]
    squares = {f"s{w}2": case.get(f"sigma_{w}", 1.0) ** 2 for w in "uwv"}
    net = mlp(act, L=2 if case["family"] == "mup_2hidden" else 1, k=case.get("outputs", 1), **squares)
    return net, {
        "X": np.array(case["X"]),
        "y": np.array(case["Y"]),
        "steps": len(case["batches"]),
        "lr": case["eta"],
        "loss": case.get("loss", "mse"),
        "batches": case["batches"],
        "X_test": np.array(case["X_test"]),
    }


def expected(case: dict[str, Any], key: str = "expected_f") -> np.ndarray[Any, Any]:
    f = np.array(case[key])
    return f if f.ndim == 3 else f[..., None]


@pytest.mark.parametrize("name", MUP)
def test_published_limits(name: str) -> None:
    case = MUP[name]
    net, settings = reference(case)
    found = net.train(**settings).limit()
    allowed = case["tolerance_abs"] + 6 * found.errors
    assert (np.abs(found.outputs - expected(case)) < allowed).all()
    assert found.errors.max() < 1e-3
    if "naive_f" in case:  # leaving out the dot parts is wrong by far more than any error
        assert np.abs(found.outputs - expected(case, "naive_f")).max() > 50 * found.errors.max()
    if case["family"] == "mup_linear_1hidden":
        assert found.method == "exact"


def test_smooth_one_hidden_layer_to_many_digits() -> None:
    case = MUP["mup-1hidden-tanh"]
    net, settings = reference(case)
    found = net.train(**settings).limit(tol=1e-8)
    assert found.method == "grid"
    assert np.abs(found.outputs - expected(case)).max() < 2e-9


@pytest.mark.parametrize(
    ("name", "act", "L", "steps", "lr"),
    [("tanh1", "tanh", 1, 4, 0.5), ("tanh2", "tanh", 2, 3, 0.5), ("lin2", "", 2, 3, 0.25), ("relu1", "relu", 1, 2, 0.5)],
)
def test_one_sample(name: str, act: str, L: int, steps: int, lr: float) -> None:
    found = mlp(act, L=L, d=1).train([[1.0]], [1.0], steps=steps, lr=lr).limit()
    wanted = np.array([VALUES[f"{name}_f{t}"] for t in range(1, steps + 1)])
    assert np.abs(found.outputs[1:, 0, 0] - wanted).max() < (2e-3 if act == "relu" else 2e-6)


def test_polynomial_activations() -> None:
    text = MLP.replace("output f = V @ ACT(h[L])", "output f = V @ (h[L]^2)").replace("ACT", "")
    found = tp.parse(text, L=1, d=1).train([[1.0]], [1.0], steps=2, lr=0.1).limit(method="grid", tol=1e-8)
    assert found.outputs[1:, 0, 0] == pytest.approx([VALUES["sq1_f1"], VALUES["sq1_f2"]], abs=1e-6)


def test_a_batch_counts_its_mean() -> None:
    # the reference sums the loss over its two samples
    found = mlp("erf", L=1).train([[1.0, 0.0], [0.6, 0.8]], [1.0, -0.5], steps=3, lr=0.8).limit()
    assert found.outputs[1, 0, 0] == pytest.approx(VALUES["erf1b_f1_x0"], abs=1e-6)
    assert found.outputs[3, :, 0] == pytest.approx([VALUES["erf1b_f3_x0"], VALUES["erf1b_f3_x1"]], abs=2e-6)


def test_exact_grid_and_sobol_agree_within_their_errors() -> None:
    run = mlp("", L=1).train([[1.0, 0.0], [0.5, 1.0]], [1.0, -1.0], steps=4, lr=0.5)
    exact, grid, sobol = (run.limit(method=m) for m in ("exact", "grid", "sobol"))
    assert exact.outputs[4, :, 0] == pytest.approx([VALUES["lin1_f4_x0"], VALUES["lin1_f4_x1"]], abs=1e-12)
    for a, b in ((exact, grid), (exact, sobol)):
        assert (np.abs(a.outputs - b.outputs) <= 6 * b.errors + 1e-9).all()
        assert a.kernels is not None and b.kernels is not None and b.kernel_errors is not None
        assert (np.abs(a.kernels - b.kernels) <= 8 * b.kernel_errors + 1e-9).all()
        assert a.losses == pytest.approx(b.losses, abs=1e-4)


@pytest.mark.parametrize("optimizer", [{"momentum": 0.7}, {"decay": 0.1}, {"momentum": 0.5, "decay": 0.05}])
@pytest.mark.parametrize("loss", ["mse", "logistic"])
def test_optimizers_exact_against_the_calculus(optimizer: dict[str, float], loss: str) -> None:
    run = mlp("", L=1).train([[1.0, 0.0], [0.5, 1.0]], [1.0, -1.0], steps=4, lr=[0.5, 0.4, 0.3, 0.2], loss=loss, **optimizer)
    assert np.abs(run.limit(method="exact").outputs - run.limit(method="grid").outputs).max() < 1e-6


def test_a_written_loss_is_the_named_one() -> None:
    f, y = sp.symbols("f y")
    settings: dict[str, Any] = {"X": [[1.0, 0.0], [0.5, 1.0]], "y": [1.0, -1.0], "steps": 2, "lr": 0.5}
    runs = [mlp("tanh", L=1).train(**settings, loss=loss).limit() for loss in ("mse", "1/2*(f - y)^2", (f - y) ** 2 / 2)]
    assert runs[0].outputs == pytest.approx(runs[1].outputs, abs=1e-12)
    assert runs[0].outputs == pytest.approx(runs[2].outputs, abs=1e-12)


def test_cross_entropy_over_several_outputs() -> None:
    y = np.eye(3)
    run = mlp("", L=1, k=3).train([[1.0, 0.0], [0.5, 1.0], [-1.0, 0.4]], y, steps=2, lr=1.0, loss="xent")
    exact, sobol = run.limit(method="exact"), run.limit(method="sobol", tol=1e-3)
    assert exact.losses[0] == pytest.approx(np.log(3))
    assert (np.abs(exact.outputs - sobol.outputs) <= 8 * sobol.errors + 1e-9).all()


def test_finite_widths_approach_the_limit() -> None:
    run = mlp("tanh", L=2, d=1).train([[1.0]], [1.0], steps=3, lr=0.5)
    report = run.verify(widths=(64, 256, 1024), seeds=8)
    assert report.passed, report.table()


def test_features_move_in_mup_and_not_in_ntp() -> None:
    """Tensor Programs IV, the dichotomy: feature learning or the kernel regime."""
    X, y = np.array([[1.0, 0.5], [-0.6, 0.8]]), [1.0, -1.0]
    net = mlp("tanh", L=2)
    limit = net.train(X, y, steps=3, lr=1.0).limit(method="sobol", tol=5e-3)
    assert limit.kernels is not None
    assert np.abs(limit.kernels[-1] - limit.kernels[0]).max() > 0.05
    lazy = tp.parse(
        "network ntp\n  width n\n  dim d = 2\n  input x : [d]\n  weight U : [n, d] = 1 * N(0, 1)\n"
        "  weight W : [n, n] = n^(-1/2) * N(0, 1)\n  weight v : [n] = n^(-1/2) * N(0, 1)\n"
        "  output f = v @ tanh(W @ tanh(U @ x))\n"
    )
    with pytest.raises(tp.LimitError, match="random"):
        lazy.train(X, y, steps=3, lr=1.0).limit()
    moved = {}
    for name, which in (("mup", net), ("ntp", lazy)):
        moved[name] = []
        for width in (64, 1024):
            kernels = which.train(X, y, steps=3, lr=1.0).simulate(width=width, seeds=4).kernels
            assert kernels is not None
            moved[name].append(np.abs(kernels[-1] - kernels[0]).max())
    assert moved["mup"][1] > 0.6 * moved["mup"][0]
    assert moved["ntp"][1] < 0.5 * moved["ntp"][0]


def test_only_rows_of_the_batch_matter() -> None:
    X, y = np.array([[1.0, 0.5], [-0.6, 0.8], [9.0, 9.0]]), [1.0, -1.0, 5.0]
    net = mlp("tanh", L=1)
    part = net.train(X, y, steps=2, lr=0.5, batches=[[0], [1, 0]], X_test=X[:2]).limit()
    whole = net.train(X[:2], y[:2], steps=2, lr=0.5, batches=[[0], [1, 0]]).limit()
    assert part.outputs == pytest.approx(whole.outputs, abs=1e-9)


def test_the_train_line_gives_defaults() -> None:
    net = tp.parse(MLP.replace("ACT", "") + "  train momentum, lr = 1/4, steps = 3, momentum = 1/2\n", L=1)
    run = net.train([[1.0, 0.0]], [1.0])
    assert (run.steps, run.rates, run.momentum) == (3, (0.25,) * 3, 0.5)
    assert net.train([[1.0, 0.0]], [1.0], steps=1).steps == 1
    shown = net.train([[1.0, 0.0]], [1.0]).simulate(8)
    assert "nan" not in repr(shown) + shown.table()


def test_a_fraction_of_the_width_has_no_size_at_infinity() -> None:
    text = (
        MLP.replace("ACT", "")
        .replace("width n", "width n, m = n/3")
        .replace("U : [n,", "U : [m,")
        .replace("V : [k, n]", "V : [k, m]")
    )
    one, other = (tp.parse(t, L=1).train([[1.0, 0.5]], [1.0], steps=2, lr=0.1).limit() for t in (text, MLP.replace("ACT", "")))
    assert one.outputs[0] == other.outputs[0] and one.outputs[2] != other.outputs[2]


def test_the_train_line_gives_batches_and_a_loss() -> None:
    text = MLP.replace("ACT", "") + "  train sgd, lr = 1, steps = 3, batch = B, loss = LOSS\n"
    X = np.eye(2)[[0, 1, 0]]
    run = tp.parse(text.replace("B,", "2,").replace("LOSS", "abs(f - y)"), L=1).train(X, [1.0, 0.0, 0.0])
    assert (run.batches, run.loss) == (((0, 1), (2, 0), (1, 2)), "abs(f - y)")
    assert run.limit().losses[0] == pytest.approx(0.5)
    net = tp.parse(text.replace("B,", "full,").replace("LOSS", "xent"), L=1, k=3)
    assert [net.train(X, np.eye(3), batches=b).batches[2] for b in (None, 1)] == [(0, 1, 2), (2,)]


def test_a_result_is_shown_and_drawn(tmp_path: Path) -> None:
    run = mlp("", L=1).train([[1.0, 0.0]], [1.0], steps=2, lr=0.2)
    limit = run.limit()
    limit.plot(tmp_path / "run.png", beside=[run.simulate(64, seeds=3)])
    assert (tmp_path / "run.png").stat().st_size > 5000
    assert limit._repr_html_().startswith("<pre>") and limit.table().splitlines()[-1] in limit._repr_html_()
    assert "exact" in repr(limit) and len(limit.table().splitlines()) == 5
    assert json.loads(limit.to_json())["outputs"] == limit.outputs.tolist()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"y": [1.0]}, "wanted [2, 1]"),
        ({"y": [1.0, np.nan]}, "y[1, 0]"),
        ({"batches": [[0], [2]]}, "row 2"),
        ({"batches": [[0]]}, "1 batches for 2 steps"),
        ({"batches": 0}, "how many rows a step"),
        ({"decay": "a"}, "decay is 'a'"),
        ({"momentum": True}, "momentum is True"),
        ({"optimizer": "adam", "betas": 0.9}, "betas 0.9"),
        ({"optimizer": "adam", "eps": "a"}, "eps 'a'"),
        ({"batches": [[0], []]}, "batch 1 is empty"),
        ({"lr": [0.1]}, "1 learning rates"),
        ({"lr": np.inf}, "learning rate is inf"),
        ({"steps": -1}, "steps is -1"),
        ({"loss": "xent"}, "several outputs"),
        ({"loss": "sin("}, "cannot be read"),
        ({"loss": "f + z"}, "cannot be read"),
        ({"optimizer": "lyon"}, "lyon"),
        ({"X": [[1.0], [2.0]]}, "wanted [N, 2]"),
        ({"X_test": [[1.0, np.inf]]}, "inf"),
    ],
)
def test_wrong_data_are_refused_at_once(settings: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"X": [[1.0, 0.0], [0.5, 1.0]], "y": [1.0, -1.0], "steps": 2, "lr": 0.5}
    with pytest.raises(tp.DataError) as caught:
        mlp("tanh", L=1).train(**(good | settings))
    assert words in str(caught.value)


def test_numbers_of_classes_are_told_from_targets() -> None:
    X, labels = np.eye(4, 3), [0, 1, 2, 2]
    with pytest.warns(UserWarning, match="one column each") as told:
        tp.zoo("mup_mlp", d=3).train(X, labels, steps=1, lr=0.1)
    assert told[0].filename == __file__
    three = tp.zoo("linear_mup", d=3, k=3)
    with pytest.raises(tp.DataError, match=r"one column per output; of classes 0…2: np.eye\(3\)\[y\]"):
        three.train(X, labels, steps=1, lr=0.1, loss="xent")
    three.train(X, np.eye(3)[labels], steps=1, lr=0.1, loss="xent")


@pytest.mark.parametrize("method", ["exact", "grid", "sobol"])
def test_divergence_names_the_step(method: str) -> None:
    run = mlp("", L=1).train([[1.0, 0.0]], [1.0], steps=12, lr=100.0)
    with pytest.raises(tp.LimitError, match=r"at step \d+"):
        run.limit(method=method)


def test_a_rate_that_is_too_large_for_the_width_is_refused() -> None:
    with pytest.raises(tp.LimitError, match="` grows like n after an update") as refused:
        tp.parse(MLP.replace("ACT", "tanh").replace("lr n\n  weight W", "lr n^2\n  weight W"), L=2).train(
            [[1.0, 0.0]], [1.0], steps=2, lr=0.1
        ).limit()
    assert "step" not in str(refused.value) and "Sum" not in str(refused.value)


def test_the_same_seed_gives_the_same_numbers() -> None:
    run = mlp("relu", L=2).train([[1.0, 0.5]], [1.0], steps=2, lr=0.5)
    a, b, c = (run.limit(seed=s) for s in (1, 1, 2))
    assert (a.outputs == b.outputs).all()
    assert (a.outputs != c.outputs).any()


def test_a_run_is_resumed_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tp.readings import scramblings

    run = mlp("relu", L=2).train([[1.0, 0.5]], [1.0], steps=2, lr=0.5)
    whole = run.limit("sobol")
    path = tmp_path / "run.npz"
    real, calls, finished = scramblings.executed, [], []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise InterruptedError
        found = real(*arguments)
        finished.append(1)
        return found

    monkeypatch.setattr(scramblings, "_cores", lambda: 1)
    monkeypatch.setattr(scramblings, "executed", interrupted)
    with pytest.raises(InterruptedError):
        run.limit("sobol", checkpoint=path)
    again = run.limit("sobol", checkpoint=path)
    assert (again.outputs == whole.outputs).all()
    assert len(finished) == scramblings.SCRAMBLINGS
    with pytest.raises(tp.DataError, match="another"):
        run.limit("sobol", seed=1, checkpoint=path)


def test_a_checkpoint_serves_longer_runs_and_no_other_batches(tmp_path: Path) -> None:
    X, y, path = [[1.0, 0.5], [-0.4, 1.0], [0.2, 0.1]], [1.0, -1.0, 0.5], tmp_path / "run.npz"

    def run(batches: list[list[int]], lr: float = 0.5) -> tp.readings.training.TrainingRun:
        return mlp("tanh", L=1).train(X, y, steps=len(batches), lr=lr, batches=batches)

    short, longer = run([[0, 1], [2]]), run([[0, 1], [2], [1, 2]])
    first = short.limit("sobol", checkpoint=path)
    assert (longer.limit("sobol", checkpoint=path).outputs == longer.limit("sobol").outputs).all()
    with np.load(path) as stored:
        assert stored["runs"].tolist() == [2, 3] and len(stored["rows 2"]) == len(stored["rows 3"]) == 8
    before = path.read_bytes()
    for same in (short, longer):  # all is there
        assert (same.limit("sobol", checkpoint=path).outputs == same.limit("sobol").outputs).all()
    assert (short.limit("sobol", checkpoint=path).errors == first.errors).all() and path.read_bytes() == before
    with pytest.raises(tp.DataError, match=r"step 1 is rows 2 at rate 0.5 there, and rows 1, 2 at rate 0.5 here"):
        run([[0, 1], [1, 2], [2], [0]]).limit("sobol", checkpoint=path)
    with pytest.raises(tp.DataError, match=r"step 0 is .* rate 0.5 there, and .* rate 0.25 here"):
        run([[0, 1]], lr=0.25).limit("sobol", checkpoint=path)


def test_what_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    from tp.readings.checkpoint import Checkpoint, Story

    path, story = tmp_path / "run.npz", Story("this", ("step",))
    rows = {"runs": np.array([1]), "which 1": np.array([[4, 0]]), "rows 1": np.ones((1, 2))}
    words = {"about": np.array("this"), "steps": np.array(["step"])}
    np.savez(path, **words, **rows)
    assert (Checkpoint.load(path, story).rows[4, 0] == [1, 1]).all()
    whole, good = path.read_bytes(), {**words, **rows}
    bad = [{**good, "which 1": np.array([4])}, {**good, "runs": np.array(1)}, {**good, "steps": np.array(1)}, rows]
    for content in (b"", b"PK", whole[:-9], whole[:40] + b"\xff" * 40 + whole[80:], *bad):
        np.savez(path, **content) if isinstance(content, dict) else path.write_bytes(content)
        with pytest.raises(tp.DataError, match="it cannot be read"):
            Checkpoint.load(path, story)


@pytest.mark.parametrize(("name", "changes"), [("symmetric_rnn", {"T": 2}), ("hopfield", {})])
def test_any_program_trains(name: str, changes: dict[str, int]) -> None:
    """Matrices and their transposes together, shared over time: the limit beside finite networks."""
    text = str(tp.zoo(name)).replace("weight U : [n, d] ~ N(0, 1/d)", "weight U : [n, d] = 1 * N(0, 1/d), lr n")
    net = tp.parse(text.replace("weight v : [n] ~ N(0, 1/n)", "weight v : [n] = 1/n * N(0, 1), lr n"), **changes)
    generator = np.random.default_rng(1)
    X = generator.standard_normal((2, 2, 4) if name == "symmetric_rnn" else (2, 4))
    run = net.train(X, [0.7, -0.7], steps=2, lr=0.3)
    limit, finite = run.limit(), run.simulate(width=256, seeds=24)
    assert (np.abs(limit.outputs - finite.outputs) < 5 * (finite.errors + limit.errors) + 4 / 256).all()
    assert np.abs(limit.outputs[-1]).max() > 0.2


def test_sign_descent() -> None:
    one = tp.parse(SIGNS, L=1, d=1).train([[1.0]], [1.0], steps=1, lr=0.3, optimizer="sign").limit()
    assert one.outputs[1, 0, 0] == pytest.approx(VALUES["sign_tanh1_f1"], abs=6 * one.errors[1, 0, 0] + 1e-6)
    run = tp.parse(SIGNS, L=2).train(
        [[1.0, 0.5], [-0.6, 0.8]], [1.0, -1.0], steps=3, lr=0.1, batches=[[0], [1], [0]], optimizer="sign"
    )
    limit, finite = run.limit(), run.simulate(width=256, seeds=24)
    assert (np.abs(limit.outputs - finite.outputs) < 5 * (finite.errors + limit.errors) + 4 / 256).all()


def test_adam_with_one_hidden_layer() -> None:
    run = tp.parse(SIGNS, L=1).train([[1.0, 0.5], [-0.6, 0.8]], [1.0, -1.0], steps=3, lr=0.1, optimizer="adam", eps=0.1)
    limit, finite = run.limit(), run.simulate(width=256, seeds=24)
    assert (np.abs(limit.outputs - finite.outputs) < 5 * (finite.errors + limit.errors) + 4 / 256).all()


def test_what_stands_beside_an_average_that_is_0_is_on_other_nodes():
    """Where only the second of `(W @ tanh(h))*a + h*b` reads h beside W's hats, and b = avg(tanh(h)) is 0, they never meet."""
    net = tp.parse(
        "network gated\n  width n\n  dim d = 2\n  input x : [d]\n  weight U : [n, d] = 1 * N(0, 1), lr n\n"
        "  weight W : [n, n] = 1 * N(0, 1/n)\n  weight v : [n] = 1/n * N(0, 0), lr n\n  h = U @ x\n"
        "  g = (W @ tanh(h)) * avg(h*tanh(h)) + h * avg(tanh(h))\n  output f = v @ g\n"
    )
    run = net.train([[1.0, 0.5]], [1.0], steps=2, lr=0.2)
    grid, sobol = run.limit("grid", tol=1e-5), run.limit("sobol", tol=1e-3)
    assert grid.outputs[2, 0, 0] == pytest.approx(sobol.outputs[2, 0, 0], abs=3e-3)
    assert grid.outputs[1, 0, 0] == pytest.approx(0.2 * grid.kernels[0, 0, 0], rel=1e-4)  # v₁ = 0.2 y g₀
