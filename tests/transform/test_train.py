"""``train``: the unrolled program at finite width is gradient descent, to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tp
from tp.program.wellformed import check_program
from tp.readings.simulate import simulate

TEXT = """network net
  width n
  dim d = 2
  dim k = 2
  input x : [d]
  weight U : [n, d] = MU * N(0, 1), lr RU
  weight W : [n, n] = MW * N(0, 1/n)
  weight V : [k, n] = MV * N(0, 1), lr RV
  output f = V @ tanh(W @ tanh(U @ x))
"""
GAUGES = {
    "mup": {"MU": "1", "RU": "n", "MW": "1", "MV": "1/n", "RV": "n"},
    "mup, another gauge": {"MU": "1", "RU": "n", "MW": "2", "MV": "n^(-1/2)", "RV": "1"},
    "ntp": {"MU": "1", "RU": "1", "MW": "1", "MV": "n^(-1/2)", "RV": "1"},
}
X = np.array([[1.0, 0.5], [-0.6, 0.8], [0.3, -1.1]])
Y = np.array([[1.0, 0.0], [-0.5, 0.3], [0.7, -0.2]])
BATCHES = [[0, 1], [2], [1, 1]]


def network(gauge: dict[str, str]) -> tp.Net:
    text = TEXT
    for name, value in gauge.items():
        text = text.replace(f" {name} ", f" {value} ").replace(f" {name}\n", f" {value}\n")
    return tp.parse(text)


def number(text: str, n: int) -> float:
    return {"1": 1.0, "2": 2.0, "n": float(n), "1/n": 1 / n, "n^(-1/2)": n**-0.5}[text]


def descend(gauge: dict[str, str], n: int, start: Any, lr: float, momentum: float, decay: float) -> list[np.ndarray[Any, Any]]:
    """Gradient descent on stored parameters, as a textbook has it."""
    mult = {name: number(gauge[f"M{name}"], n) for name in "UWV"}
    rate = {name: number(gauge.get(f"R{name}", "1"), n) * lr for name in "UWV"}
    w = {name: start[name] / mult[name] for name in "UWV"}
    velocity = {name: np.zeros_like(a) for name, a in w.items()}
    outputs = []
    for t in range(len(BATCHES) + 1):
        U, W, V = (mult[name] * w[name] for name in "UWV")
        outputs.append((V @ np.tanh(W @ np.tanh(U @ X.T))).T)
        if t == len(BATCHES):
            break
        x, y = X[BATCHES[t]].T, Y[BATCHES[t]].T
        a1 = np.tanh(U @ x)
        a2 = np.tanh(W @ a1)
        chi = (V @ a2 - y) / len(BATCHES[t])
        d2 = (V.T @ chi) * (1 - a2**2)
        d1 = (W.T @ d2) * (1 - a1**2)
        gradient = {"V": chi @ a2.T, "W": d2 @ a1.T, "U": d1 @ x.T}
        for name in "UWV":
            velocity[name] = momentum * velocity[name] + mult[name] * gradient[name]
            w[name] = (1 - decay) * w[name] - rate[name] * velocity[name]
    return outputs


@pytest.mark.parametrize("gauge", GAUGES)
@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.6, 0.0), (0.5, 0.1)])
def test_the_program_is_gradient_descent(gauge: str, momentum: float, decay: float) -> None:
    n, lr = 12, 0.3
    run = network(GAUGES[gauge]).train(X, Y, steps=3, lr=lr, batches=BATCHES, momentum=momentum, decay=decay)
    training = run.training
    drawn = simulate(training.program, {"x": X[None], training.targets: Y[None]}, n, 0)
    size = number(GAUGES[gauge]["MV"], n)  # the program's readout has been normalised
    start = {
        "U": np.stack([drawn[training.program.weights[0].ref.name, j] for j in (1, 2)], axis=1),
        "W": drawn["W"],
        "V": size * np.stack([drawn[training.program.weights[2].ref.name, k] for k in (1, 2)]),
    }
    wanted = descend(GAUGES[gauge], n, start, lr, momentum, decay)
    for t, f in enumerate(wanted):
        found = [[drawn["f", t, i, k][0] for k in (1, 2)] for i in range(3)]
        assert np.array(found) == pytest.approx(f, rel=1e-10, abs=1e-12)


def test_the_unrolled_program_is_well_formed() -> None:
    run = network(GAUGES["mup"]).train(X, Y, steps=3, lr=0.3)
    check_program(run.training.program)


def test_steps_stay_a_loop() -> None:
    small, large = (network(GAUGES["mup"]).train(X, Y, steps=t, lr=0.3).training.program for t in (2, 50))
    assert len(small.body) == len(large.body)


@pytest.mark.parametrize("name", ["cnn1d", "rnn", "attention", "layernorm", "gcn", "symmetric_rnn"])
def test_every_kind_of_network_unrolls(name: str) -> None:
    """At finite width a small step lowers the loss."""
    net = tp.zoo(name, **({"T": 3} if name in ("rnn", "attention", "symmetric_rnn") else {"P": 5} if name == "cnn1d" else {}))
    from tp.readings.verify import random_inputs

    data = random_inputs(net, np.random.default_rng(1), {}, samples=2)
    loss = net.train(data, [0.5, -0.5], steps=2, lr=0.01).simulate(width=16).losses
    assert loss[2] < loss[1] < loss[0]


def test_a_frozen_weight_stays() -> None:
    text = TEXT.replace("MU", "1").replace("RU", "n").replace("MW", "1").replace("MV", "1/n").replace("RV", "n")
    frozen = tp.parse(text.replace("weight V", "frozen weight V").replace("weight W", "frozen weight W"))
    run = frozen.train(X[:1], Y[:1], steps=1, lr=0.5)
    names = {w.ref.name for w in run.training.program.weights}
    assert {"V", "W", "U_init"} <= names


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.0, 0.5)])
def test_adam_on_vector_weights(betas: tuple[float, float]) -> None:
    """The unrolled program of a network with one hidden layer is Adam, to rounding."""
    n, lr, eps = 10, 0.1, 0.05
    text = TEXT.replace("MU", "1").replace("RU", "1").replace("MV", "1/n").replace("RV", "1")
    text = "\n".join(line for line in text.splitlines() if "weight W" not in line).replace("tanh(W @ tanh(U @ x))", "tanh(U @ x)")
    run = tp.parse(text + "\n").train(X, Y, steps=3, lr=lr, batches=BATCHES, optimizer="adam", betas=betas, eps=eps)
    training = run.training
    drawn = simulate(training.program, {"x": X[None], training.targets: Y[None]}, n, 0)
    w = {"U": np.stack([drawn["U_init", j] for j in (1, 2)], axis=1), "V": np.stack([drawn["V_init", k] for k in (1, 2)])}
    first, second = {k: 0 * a for k, a in w.items()}, {k: 0 * a for k, a in w.items()}
    for t, batch in enumerate(BATCHES):
        found = [[drawn["f", t, i, k][0] for k in (1, 2)] for i in range(3)]
        assert np.array(found) == pytest.approx(np.tanh(X @ w["U"].T) @ w["V"].T / n, rel=1e-9)
        a = np.tanh(w["U"] @ X[batch].T)
        chi = (w["V"] @ a / n - Y[batch].T) / len(batch)
        gradient = {"V": chi @ a.T / n, "U": ((w["V"].T @ chi / n) * (1 - a**2)) @ X[batch]}
        for name, g in gradient.items():
            first[name] = betas[0] * first[name] + (1 - betas[0]) * g
            second[name] = betas[1] * second[name] + (1 - betas[1]) * g**2
            m, v = first[name] / (1 - betas[0] ** (t + 1)), second[name] / (1 - betas[1] ** (t + 1))
            w[name] = w[name] - lr * m / (np.sqrt(v) + eps / n)


def test_updates_of_a_family_are_summed_over_one_matrix_each():
    """∂L/∂W[l] is of W[l] alone: no overlaps between layers; the limits are those of matrices with names of their own."""
    head = """network a
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] ~ N(0, 1), lr n
  weight v : [n] ~ N(0, 1/n^2), lr 1/n
"""
    family = """  weight W[l] : [n, n] ~ N(0, 1/n) for l in 1..2
  h[0] = U @ x
  h[l] = W[l] @ h[l-1] for l in 1..2
  output f = v @ h[2]
"""
    apart = "".join(f"  weight W{k} : [n, n] ~ N(0, 1/n)\n" for k in (1, 2)) + "  output f = v @ (W2 @ (W1 @ (U @ x)))\n"
    runs = [tp.parse(head + rest).train(X, Y[:, 0], steps=2, lr=0.5) for rest in (family, apart)]
    assert "KroneckerDelta" not in str(runs[0].training.program)
    np.testing.assert_allclose(*(run.limit(method="exact").outputs for run in runs), rtol=1e-12)


HEAD = """network family
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1), lr UP
  weight v : [n] = 1/n * N(0, 1), lr UP
  h[0] = U @ x
  output f = v @ ACT(h[3])
"""
FAMILY = """  frozen weight b[1] : [n] = 1 * N(0, 1/4)
  weight b[l] : [n] = l * N(0, 1/9), lr UP/l for l in 2..3
  FROZEN weight W[1] : [n, n] = 1 * N(0, 1/n), lr SIDE/2
  weight W[l] : [n, n] = 1/l * N(0, l^3/n), lr SIDE*(l + 1) for l in 2..3
  h[l] = W[l] @ ACT(h[l-1]) + b[l] for l in 1..3
"""
APART = """  frozen weight b1 : [n] = 1 * N(0, 1/4)
  weight b2 : [n] = 2 * N(0, 1/9), lr UP/2
  weight b3 : [n] = 3 * N(0, 1/9), lr UP/3
  FROZEN weight W1 : [n, n] = 1 * N(0, 1/n), lr SIDE/2
  weight W2 : [n, n] = 1/2 * N(0, 8/n), lr SIDE*3
  weight W3 : [n, n] = 1/3 * N(0, 27/n), lr SIDE*4
  h[1] = W1 @ ACT(h[0]) + b1
  h[2] = W2 @ ACT(h[1]) + b2
  h[3] = W3 @ ACT(h[2]) + b3
"""


def family(act: str, frozen: bool, optimizer: str = "sgd", **settings: Any) -> list[Any]:
    """Training of a network whose weights are families, each in two declarations, and of the same one with single weights."""
    up, side = ("n", "1") if optimizer == "sgd" else ("1", "1/n")
    runs = []
    for text in (HEAD + FAMILY, HEAD + APART):
        text = text.replace("FROZEN ", "frozen " if frozen else "").replace("UP", up).replace("SIDE", side).replace("ACT", act)
        text = "\n".join(line.split(", lr")[0] if "frozen" in line else line for line in text.splitlines()) + "\n"
        runs.append(tp.parse(text).train(X[:2], Y[:2, 0], lr=0.1, optimizer=optimizer, **settings))
    return runs


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "sign", "tanh(m)"])
def test_members_of_a_family_train_as_they_are_declared(frozen: bool, optimizer: str) -> None:
    """Laws and rates are those of the declaration a member falls under, at its index; some members are frozen."""
    one, two = (run.simulate(width=16) for run in family("tanh", frozen, optimizer, steps=2, decay=0.1))
    assert np.abs(one.outputs[2] - one.outputs[0]).max() > 0.1
    np.testing.assert_allclose(one.outputs, two.outputs, rtol=1e-11)


@pytest.mark.parametrize(("act", "steps", "method"), [("tanh", 0, "grid"), ("", 2, "auto"), ("", 1, "exact")])
def test_limits_know_the_law_of_every_member(act: str, steps: int, method: str) -> None:
    """By nodes, as a closed system and as rational numbers."""
    one, two = (run.limit(method=method) for run in family(act, False, steps=steps))
    np.testing.assert_allclose(one.outputs, two.outputs, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.kernels, two.kernels, rtol=1e-6)


def test_the_constant_of_a_multiplier_counts_in_entrywise_updates() -> None:
    """What is stored is trained: 2w and −w have the gradients 2g and −g, of which the optimizer makes its updates."""
    runs = []
    for c, optimizer in ((1, "2*tanh(2*g)"), (2, "tanh(g)"), (-2, "tanh(g)")):
        text = TEXT.replace("MU * N(0, 1), lr RU", f"{c} * N(0, {1 / c**2}), lr 1").replace(
            "MW * N(0, 1/n)", f"{c} * N(0, {1 / c**2}/n), lr 1/n"
        )
        text = text.replace("MV * N(0, 1), lr RV", f"{c}/n * N(0, {1 / c**2}), lr 1")
        runs.append(tp.parse(text).train(X, Y, steps=2, lr=0.1, optimizer=optimizer).simulate(width=400, seeds=20).outputs)
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-10)
    assert np.abs(runs[0] - runs[2]).max() < 0.1 < np.abs(runs[0][2]).max()


WINDOWS = """network windows
  width n
  dim c = 2
  index p in 0..3 boundary circular
  index q in 0..3
  index r in 0..1
  input x[p] : [c]
  weight A[k] : [n, c] ~ N(0, 1/c) for k in 0..1
  weight B[k] : [n, n] ~ N(0, 1/n) for k in 0..1
  weight v : [n] = n^(-1/2) * N(0, 1/n)
  h[q] = sum(A[k] @ x[q+k] for k in 0..1)
  g[r] = sum(B[k] @ relu(h[2*r+k]) for k in 0..1)
  output f = v @ mean(relu(g[r]) for r)
"""
PATCHES = np.random.default_rng(0).standard_normal((2, 4, 2))


def windows(text: str) -> Any:
    run = tp.parse(text).train(PATCHES, [1.0, -1.0], steps=2, lr=0.5)
    check_program(run.program)
    return run.simulate(width=16).outputs


def test_an_index_of_the_network_may_have_the_name_of_the_samples() -> None:
    """Taps called `i`, in families and in sums, and positions called `i1`."""
    called = (
        WINDOWS.replace("[k]", "[i]")
        .replace("+k]", "+i]")
        .replace("for k", "for i")
        .replace("[q", "[i1")
        .replace("q in", "i1 in")
    )
    one, two = windows(WINDOWS), windows(called)
    assert np.abs(one[2] - one[0]).max() > 0.1
    np.testing.assert_allclose(one, two, rtol=1e-12)


def test_a_sum_of_the_network_over_i_leaves_the_sample_alone() -> None:
    """The limit was that of one network for all samples: nothing was learned of those whose targets cancel."""
    text = """network pooled
      width n
      dim c = 2
      index k in 0..1
      input x[k] : [c]
      weight U : [n, c] ~ N(0, 1/c)
      weight v : [n] = n^(-1/2) * N(0, 1/n)
      output f = v @ mean(relu(U @ x[k]) for k)
    """
    called = text.replace("[k]", "[i]").replace("index k", "index i").replace("for k", "for i")
    runs = [tp.parse(t).train(PATCHES[:, :2], [1.0, -1.0], steps=1, lr=0.5).limit(tol=0.01) for t in (text, called)]
    assert np.abs(runs[0].outputs[1]).max() > 0.05
    np.testing.assert_allclose(runs[0].outputs, runs[1].outputs, rtol=1e-9, atol=1e-12)


def test_gradients_pass_a_boundary_that_is_never_crossed() -> None:
    """Windows of stride 2 read every position of a circle once and none beyond it."""
    np.testing.assert_allclose(
        windows(WINDOWS.replace("[q", "[p").replace("  index q in 0..3\n", "")), windows(WINDOWS), rtol=1e-12
    )


LAYERS = """network layers
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1), lr n
  weight W[l] : [n, n] = 1 * N(0, 1/n)  for l in 1..3
{weights}
  h[0] = U @ x
  h[l] = W[l] @ tanh(h[l-1]) for l in 1..3
{lines}
"""
OWN = "  weight {name} : [n] = 1/n * N(0, 1), lr n"


@pytest.mark.parametrize("over", ["h", "y"])
def test_readouts_of_the_later_layers_alone(over):
    """Gradients of a family end where other factors of its reader do: there is no v[0] to read beside an adjoint that is 0."""
    lines = ["  y[l] = sum(h[k] for k in l..3) for l in 0..3"]
    family = [OWN.format(name="v[l]") + " for l in 2..3"], [f"  output f = mean(v[l] @ tanh({over}[l]) for l in 2..3)"]
    alone = [OWN.format(name=v) for v in ("v2", "v3")], [f"  output f = (v2 @ tanh({over}[2]) + v3 @ tanh({over}[3])) / 2"]
    one, other = (
        tp.parse(LAYERS.format(weights="\n".join(w), lines="\n".join([*lines, *f])))
        .train(X, Y[:, 0], steps=2, lr=0.2)
        .simulate(width=7)
        for w, f in (family, alone)
    )
    assert abs(one.outputs[2] - one.outputs[0]).max() > 0.01
    np.testing.assert_allclose(one.outputs, other.outputs, rtol=1e-11)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_what_is_frozen_at_0_has_no_size(optimizer):
    """Beside it a read-out that starts at 0 is as large as its updates, and gradients count in the same units."""
    rates = {"sgd": ("n", "1"), "adam": ("1", "n^(-1/2)")}[optimizer]
    text = f"network net\n  width n\n  dim d = 2\n  input x : [d]\n  weight U : [n, d] = 1 * N(0, 1), lr {rates[0]}\n"
    text += f"  weight v[1] : [n] = n^(-1/2) * N(0, 0), lr {rates[1]}\n"
    still = "  frozen weight v[k] : [n] = n^(-1/2) * N(0, 0) for k in 2..3\n"
    settings = {"steps": 2, "lr": 0.2, "optimizer": optimizer} | ({"eps": 0.1} if optimizer == "adam" else {})
    outputs = "  output f = mean(v[k] @ tanh(k*(U @ x)) for k in 1..3)", "  output f = 1/3 * (v[1] @ tanh(U @ x))"
    one, other = (tp.parse(text + line).train(X, Y[:, 0], **settings) for line in (still + outputs[0], outputs[1]))
    np.testing.assert_allclose(one.simulate(width=6).outputs, other.simulate(width=6).outputs, rtol=1e-11, atol=1e-15)
    assert abs(one.limit().outputs[2]).max() > 1e-3


CHAIN = "  h[0] = U @ x\n  h[1] = W[1] @ tanh(h[0])\n"
WRITTEN_OUT = {
    "sums that begin at the family's 0": (
        CHAIN
        + "  h[2] = W[2] @ h[1]\n  y[l] = sum(h[k] for k in l..2) for l in 0..2\n  output f = v @ mean(tanh(y[l]) for l in 0..2)",
        CHAIN + "  h[2] = W[2] @ h[1]\n  output f = v @ (tanh(h[0] + h[1] + h[2]) + tanh(h[1] + h[2]) + tanh(h[2])) / 3",
    ),
    "windows of a stride, of places from 0": (
        CHAIN + "  h[2] = h[0] + h[1]\n  h[3] = W[2] @ h[2]\n  u[r] = mean(tanh(h[2*r+i]) for i in 0..1) for r in 0..1\n"
        "  output f = v @ tanh(u[0] - 2*u[1])",
        CHAIN + "  h[2] = h[0] + h[1]\n  h[3] = W[2] @ h[2]\n"
        "  output f = v @ tanh((tanh(h[0]) + tanh(h[1])) / 2 - tanh(h[2]) - tanh(h[3]))",
    ),
    "a sum within a function, of earlier members": (
        CHAIN + "  h[l] = W[l] @ tanh(mean(h[l-k] for k in 1..2)) for l in 2..3\n  output f = v @ tanh(h[3])",
        CHAIN + "  h[2] = W[2] @ tanh((h[0] + h[1]) / 2)\n  h[3] = W[3] @ tanh((h[1] + h[2]) / 2)\n  output f = v @ tanh(h[3])",
    ),
}


@pytest.mark.parametrize("case", WRITTEN_OUT)
def test_gradients_of_families_are_those_of_their_members_written_out(case):
    head = LAYERS.split("  h[0]")[0].format(weights=OWN.format(name="v"))
    one, other = (tp.parse(head + lines).train(X, Y[:, 0], steps=2, lr=0.2).simulate(width=7) for lines in WRITTEN_OUT[case])
    assert abs(one.outputs[2] - one.outputs[0]).max() > 0.01
    np.testing.assert_allclose(one.outputs, other.outputs, rtol=1e-11)
