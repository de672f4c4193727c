"""Entrywise optimizers on every weight: the update of finite networks to rounding, and their limit three ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp

import tp
from tests.readings.specs import SIGNS
from tp.program.ir import OuterNonlin
from tp.program.reads import flat
from tp.program.wellformed import IllFormed, check_program
from tp.readings.evaluate import executed, prepared
from tp.readings.nodes import Grid
from tp.readings.simulate import simulate
from tp.readings.tables import Table

Array = Any
GAUGES = {  # a, b and c of U, W, V as powers of n; d is what the gradients of stored weights are multiplied by
    "table 8": {"U": (0, 0, 0, 1), "W": (0, 0.5, 1, 1), "V": (1, 0, 0, 1)},
    "table 3": {"U": (0, 0, 0, 1), "W": (0, 0.5, 1, 1), "V": (0, 1, 1, 0)},
    "b = 0": {"U": (0, 0, 0, 1), "W": (0.5, 0, 0.5, 1.5), "V": (1, 0, 0, 1)},
}
X = np.array([[1.0, 0.5], [-0.6, 0.8], [0.3, -1.1]])
Y = np.array([[1.0, 0.0], [-0.5, 0.3], [0.7, -0.2]])
BATCHES = [[0, 1], [2], [1, 1], [0, 1, 2]]


def network(gauge: str) -> tp.Net:
    power = {w: [str(sp.nsimplify(e)) for e in exponents] for w, exponents in GAUGES[gauge].items()}
    axes = {"U": "[n, d]", "W": "[n, n]", "V": "[k, n]"}
    weights = [f"  weight {w} : {axes[w]} = n^(-{a}) * N(0, n^(-2*{b})), lr n^(-{c})\n" for w, (a, b, c, _) in power.items()]
    head = "network net\n  width n\n  dim d = 2\n  dim k = 2\n  input x : [d]\n"
    return tp.parse(head + "".join(weights) + "  output f = V @ tanh(W @ tanh(U @ x))\n")


def descend(gauge: str, n: int, start: dict[str, Array], lr: float, update: Callable[..., Array], decay: float) -> list[Array]:
    """An optimizer of stored weights w, the network's being n^(-a) w, as a textbook has it: entry by entry."""
    multiplier = {w: n ** -float(a) for w, (a, _, _, _) in GAUGES[gauge].items()}
    weights = {w: start[w] / multiplier[w] for w in start}
    history: dict[str, list[Array]] = {w: [] for w in start}
    outputs = []
    for batch in (*BATCHES, None):
        U, W, V = (multiplier[w] * weights[w] for w in "UWV")
        outputs.append((V @ np.tanh(W @ np.tanh(U @ X.T))).T)
        if batch is None:
            return outputs
        x, y = X[batch].T, Y[batch].T
        a1 = np.tanh(U @ x)
        a2 = np.tanh(W @ a1)
        chi = (V @ a2 - y) / len(batch)
        d2 = (V.T @ chi) * (1 - a2**2)
        d1 = (W.T @ d2) * (1 - a1**2)
        for w, gradient in {"V": chi @ a2.T, "W": d2 @ a1.T, "U": d1 @ x.T}.items():
            _, _, c, d = GAUGES[gauge][w]
            history[w].append(multiplier[w] * gradient)
            weights[w] = (1 - decay) * weights[w] - lr * n ** -float(c) * update(history[w], n ** -float(d))
    return outputs


def adam(b1: float, b2: float, eps: float) -> Callable[..., Array]:
    def update(gradients: list[Array], unit: float) -> Array:
        m, v = 0 * gradients[0], 0 * gradients[0]
        for g in gradients:
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        t = len(gradients)
        return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps * unit)

    return update


def lion(gradients: list[Array], unit: float) -> Array:
    m = 0 * gradients[0]
    for g in gradients:
        direction, m = 0.9 * m + 0.1 * g, 0.99 * m + 0.01 * g
    return np.sign(direction)


def rmsprop(gradients: list[Array], unit: float) -> Array:
    v = 0 * gradients[0]
    for g in gradients:
        v = 0.99 * v + 0.01 * g**2
    return gradients[-1] / (np.sqrt(v) + 1e-3 * unit)


UPDATES: dict[str, tuple[Callable[..., Array], dict[str, Any]]] = {
    "adam": (adam(0.9, 0.999, 0.05), {"eps": 0.05}),
    "adamw": (adam(0.8, 0.9, 0.05), {"betas": (0.8, 0.9), "eps": 0.05, "decay": 0.1}),
    "sign": (lambda g, unit: np.sign(g[-1]), {}),
    "lion": (lion, {}),
    "adagrad": (lambda g, unit: g[-1] / (np.sqrt(sum(a**2 for a in g)) + 1e-3 * unit), {"eps": 1e-3}),
    "rmsprop": (rmsprop, {"eps": 1e-3}),
    "g/sqrt(g^2 + 1/4)": (lambda g, unit: g[-1] / np.sqrt(g[-1] ** 2 + unit**2 / 4), {}),
    "m - v": (lambda g, unit: _mean(g, unit) - _mean([a**2 / unit for a in g], unit), {"betas": (0.5, 0.5)}),
}


def _mean(values: list[Array], unit: float) -> Array:
    """The bias-corrected exponential mean with β = ½, in the unit of gradients."""
    weights = [0.5 ** (len(values) - k) for k in range(len(values))]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights) / unit


CASES = [("table 8", name) for name in UPDATES] + [(g, q) for g in ("table 3", "b = 0") for q in ("adamw", "g/sqrt(g^2 + 1/4)")]


@pytest.mark.parametrize(("gauge", "name"), CASES)
def test_the_program_is_the_optimizer_of_a_finite_network(gauge: str, name: str) -> None:
    n, (update, settings) = 13, UPDATES[name]
    run = network(gauge).train(X, Y, steps=4, lr=0.1, batches=BATCHES, optimizer=name, **settings)
    training = run.training
    check_program(training.program)
    drawn = simulate(training.program, {"x": X[None], training.targets: Y[None]}, n, 0)
    U, V = (training.program.weights[k].ref.name for k in (0, 2))
    start = {
        "U": np.stack([drawn[U, j] for j in (1, 2)], axis=1),
        "W": drawn["W"],
        "V": np.stack([drawn[V, k] for k in (1, 2)]) / n,  # of size 1 in the program
    }
    wanted = descend(gauge, n, start, 0.1, update, settings.get("decay", 0.0))
    for t, f in enumerate(wanted):
        found = [[drawn["f", t, i, k][0] for k in (1, 2)] for i in range(3)]
        assert np.array(found) == pytest.approx(f, rel=1e-9, abs=1e-12)


def test_nesterov_momentum_is_linear() -> None:
    runs = [network("table 8").train(X, Y, steps=3, lr=0.3, optimizer=name, momentum=0.7) for name in ("momentum", "nesterov")]
    heavy, ahead = (np.array([[float(e) for e in row] for row in run.training.program.tables["push"][1]]) for run in runs)
    assert ahead[1, 0] == pytest.approx(0.3 * 1.7) and heavy[1, 0] == pytest.approx(0.3)
    assert ahead[3] == pytest.approx(0.3 * np.array([1 + sum(0.7**k for k in (1, 2, 3)), 1 + 0.7 + 0.49, 1.7]))


# ---------------------------------------------------------------- limits

MUP = """network mup
  width n
  width m = RATIO
  dim d = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1), lr 1
  weight W : [m, n] = 1 * N(0, 1/n), lr 1/n
  weight V : [m]    = 1/n * N(0, 1), lr 1
  output f = V @ tanh(W @ tanh(U @ x))
"""
RECURRENT = """network recurrent
  width n
  dim d = 2
  let T = 2
  index t in 1..T
  input x[t] : [d]
  weight U : [n, d] = 1 * N(0, 1/d), lr 1
  weight W : [n, n] = 1 * N(0, 1/n), lr 1/n
  weight v : [n]    = 1/n * N(0, 1), lr 1
  h[0] = 0
  h[t] = W @ tanh(h[t-1]) + U @ x[t]
  output f = v @ tanh(h[T])
"""


def mup(ratio: str = "n", d: int = 2) -> tp.Net:
    return tp.parse(MUP.replace("RATIO", ratio), d=d)


@pytest.mark.parametrize("method", ["grid", "sobol"])
def test_one_sample_without_memory(method: str) -> None:
    """Q = g/sqrt(g² + ¼), two hidden layers: values found by a program of its own."""
    found = mup(d=1).train([[1.0]], [1.0], steps=3, lr=0.25, optimizer="g/sqrt(g^2 + 1/4)").limit(method)
    allowed = 2e-6 if method == "grid" else 1e-6 + 6 * found.errors[1:, 0, 0]
    assert (np.abs(found.outputs[1:, 0, 0] - [0.198917, 0.372493, 0.522525]) < allowed).all()
    assert "experimental" not in repr(found)


def test_almost_a_sign_is_a_sign() -> None:
    """The sign of one outer product is one; an expression next to it goes by tables."""
    rates: dict[str, Any] = {"steps": 3, "lr": 0.2, "batches": [[0], [1], [0]]}
    exact, near = (
        mup().train(X[:2], [1.0, -1.0], optimizer=q, **rates).limit("sobol", tol=5e-3) for q in ("sign", "g/sqrt(g^2 + 1e-18)")
    )
    assert np.abs(exact.outputs[-1]).max() > 0.2
    assert near.outputs == pytest.approx(exact.outputs, abs=2e-6)


def test_batches_on_a_grid_and_on_sobol_points() -> None:
    run = mup(d=1).train([[1.0], [0.5]], [1.0, -1.0], steps=2, lr=0.2, optimizer="g/sqrt(g^2 + 1/4)")
    grid, sobol = run.limit("grid", tol=1e-2), run.limit("sobol")
    assert "experimental" in repr(sobol) and "experimental" not in repr(grid)
    assert (np.abs(grid.outputs - sobol.outputs) <= 6 * (sobol.errors + grid.errors) + 1e-6).all()
    assert np.abs(sobol.outputs[2]).max() > 0.07


@pytest.mark.parametrize(("optimizer", "allowed"), [("g/sqrt(g^2 + 1/4)", 1e-8), ("max(-1, min(1, 4*g))", 3e-4)])
def test_a_row_twice_is_that_row(optimizer: str, allowed: float) -> None:
    """Of two vectors that are equal an update is evaluated over pairs of nodes, of one from tables, kinks or not."""
    net, one, two = mup(d=1), [[1.0]], [[1.0], [1.0]]
    tables = net.train(one, [1.0], steps=2, lr=0.25, optimizer=optimizer).limit("sobol", tol=5e-3)
    pairs = net.train(two, [1.0, 1.0], steps=2, lr=0.25, optimizer=optimizer, X_test=one).limit("sobol", tol=5e-3)
    assert "experimental" in pairs.details and "experimental" not in tables.details
    assert tables.details["table error"] < allowed
    assert (np.abs(tables.outputs - pairs.outputs) <= 5 * (tables.errors + pairs.errors) + 1e-9).all()
    assert tables.outputs[2, 0, 0] > 0.3


@pytest.mark.parametrize(
    ("net", "optimizer", "settings"),
    [
        (mup("2*n"), "adam", {"betas": (0.6, 0.9), "eps": 0.05}),
        (tp.parse(RECURRENT), "sign", {}),
    ],
)
def test_finite_networks_have_the_limit(net: tp.Net, optimizer: str, settings: dict[str, Any]) -> None:
    """Batches and memory, unequal widths, one matrix for all times."""
    x = np.random.default_rng(0).normal(size=(2, 2, 2)) if net.program.name == "recurrent" else X[:2]
    run = net.train(x, [1.0, -1.0], steps=2, lr=0.15, optimizer=optimizer, **settings)
    limit, finite = run.limit(), run.simulate(width=128, seeds=40)
    assert "experimental" in str(limit)
    assert (np.abs(limit.outputs - finite.outputs) < 4.5 * (finite.errors + limit.errors) + 1 / 128).all()
    moved = np.abs(limit.outputs[-1]).max()
    assert moved > 0.3 and finite.errors.max() < moved / 20


def test_tables_interpolate_and_gather() -> None:
    generator = np.random.default_rng(3)
    z, x = np.tanh(generator.standard_normal(4000)), generator.standard_normal((4000, 2))
    for scale, fineness in ((1.0, 1), (1e-6, 3)):
        table = list(Table.over(z))[fineness]
        values = table.points / np.sqrt(table.points**2 + scale**2)
        exact = z / np.sqrt(z**2 + scale**2)
        assert table.interpolated(values[:, None], z)[:, 0] == pytest.approx(exact, abs=1e-6)
        assert table.gathered(z, x).T @ values == pytest.approx(x.T @ exact, rel=1e-6, abs=1e-3)


# ---------------------------------------------------------------- the instruction


def test_updates_are_instructions() -> None:
    program = mup("2*n").train(X[:2], [1.0, -1.0], steps=2, lr=0.1, optimizer="adam").training.program
    outer = [ins for ins in flat(program.body) if isinstance(ins, OuterNonlin)]
    assert sorted((ins.transpose, str(ins.space), str(ins.over)) for ins in outer) == [(False, "m", "n"), (True, "n", "m")]
    text = str(program)
    assert "⊗" in text and "OuterNonlin m" in text and "OuterNonlin n" in text
    assert "⊗" in program._repr_html_()


def test_what_is_not_an_outer_product_of_both_spaces_is_ill_formed() -> None:
    from dataclasses import replace

    program = mup("2*n").train(X[:1], [1.0], steps=1, lr=0.1, optimizer="adam").training.program
    check_program(program)

    def turned(body: Any) -> tuple[Any, ...]:
        return tuple(
            replace(ins, transpose=not ins.transpose) if isinstance(ins, OuterNonlin)
            else replace(ins, body=turned(ins.body)) if hasattr(ins, "body") else ins
            for ins in body
        )  # fmt: skip

    with pytest.raises(IllFormed, match="entries"):
        check_program(replace(program, body=turned(program.body)))


@pytest.mark.parametrize("optimizer", ["adamm", "g +", "sin(z)", "3", 7])
def test_unknown_optimizers(optimizer: Any) -> None:
    with pytest.raises(tp.DataError):
        mup().train(X[:1], [1.0], steps=1, lr=0.1, optimizer=optimizer)


def test_the_gradient_itself_is_gradient_descent() -> None:
    """Q = g is SGD at rates N/M times as large: outer products are never formed there, here they are."""
    text = MUP.replace("RATIO", "n")
    sgd = text.replace("N(0, 1), lr 1", "N(0, 1), lr n").replace("lr 1/n", "lr 1")
    data: dict[str, Any] = {"X": [[1.0], [0.3]], "y": [1.0, -0.5], "steps": 2, "lr": 0.8}
    runs = tp.parse(text, d=1).train(**data, optimizer="g"), tp.parse(sgd, d=1).train(**data)
    one, two = (executed(prepared(run.leading, run._numbers(), run._wanted()), Grid(0.01)) for run in runs)
    f = runs[0].training.output.name
    for t, i in ((1, 0), (2, 0), (2, 1)):
        assert one[f, t, i] == pytest.approx(two[f, t, i], abs=1e-12)
    assert abs(two[f, 2, 0]) > 0.2


def test_entries_kept_for_later_steps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from tp.readings import outer

    run = mup(d=1).train([[1.0], [0.5]], [1.0, -1.0], steps=3, lr=0.2, optimizer="adam", eps=0.1)
    kept = run.limit("sobol", tol=1e-2).outputs
    monkeypatch.setattr(outer, "MATRICES", 0)
    assert run.limit("sobol", tol=1e-2).outputs == pytest.approx(kept, abs=1e-6)
    assert np.abs(kept[3]).max() > 0.05


@pytest.mark.parametrize(
    ("optimizer", "settings", "said"),
    [
        ("sgd", {"eps": 1e-3}, "does not depend on eps"),
        ("momentum", {"betas": (0.9, 0.9)}, "does not depend on betas"),
        ("sign", {"betas": (0.9, 0.9)}, "does not depend on betas"),
        ("adagrad", {"betas": (0.9, 0.9)}, "does not depend on betas"),
        ("lion", {"eps": 1e-3}, "does not depend on eps"),
        ("rmsprop", {"betas": (0.9, 0.99)}, r"give betas=\(0, b2\)"),
        ("g/(abs(g) + 1/2)", {"betas": (0.9, 0.99)}, "does not depend on betas"),
        ("m/(abs(m) + 1/2)", {"eps": 1e-3}, "does not depend on eps"),
    ],
)
def test_a_setting_without_effect_is_refused(optimizer, settings, said):
    with pytest.raises(tp.DataError, match=said):
        mup().train(X[:1], [1.0], steps=1, lr=0.1, optimizer=optimizer, **settings)


def test_settings_of_the_train_line_are_for_optimizers_that_have_them():
    def net(line: str) -> tp.Net:
        return tp.parse(MUP.replace("RATIO", "n") + f"  train {line}, steps = 2, lr = 0.1\n")

    rule = [net("adam, beta2 = 0.5, eps = 0.1").train(X[:1], [1.0], optimizer=name).entrywise for name in ("sign", "lion")]
    assert rule == [
        mup().train(X[:1], [1.0], steps=2, lr=0.1, optimizer=o, **s).entrywise
        for o, s in (("sign", {}), ("lion", {"betas": (0.9, 0.5)}))
    ]
    assert (
        net("rmsprop, beta2 = 0.5").train(X[:1], [1.0]).entrywise
        == mup().train(X[:1], [1.0], steps=2, lr=0.1, optimizer="rmsprop", betas=(0.0, 0.5)).entrywise
    )
    with pytest.raises(tp.DataError, match="does not depend on eps"):
        net("sgd, eps = 0.1").train(X[:1], [1.0])


NARROW = """network narrow
  width n
  dim d = 2
  input x : [d]
  weight A : [n, d] = 1 * N(0, 1/d), lr 1
  weight D : [n] = 1/n * N(0, 1), lr 1
  weight U : [n] = 1 * N(0, 1), lr 1
  weight v : [n] = 1/n * N(0, 1), lr 1
  z = D @ tanh(A @ x)
  output f = v @ tanh(U * z)
"""


@pytest.mark.parametrize("optimizer", ["sign", "adam", "rmsprop", "lion"])
def test_a_gradient_that_only_the_limit_loses_is_no_base_for_full_updates(optimizer: str) -> None:
    """z is n^(-1/2) and random at the start, and so are gradients: at finite width signs of them move the outputs."""
    run = tp.parse(NARROW).train([[1.0, 0.5], [-0.3, 1.0]], [1.0, -0.5], steps=3, lr=1.0, optimizer=optimizer)
    assert np.abs(run.simulate(512).outputs[-1]).max() > 0.02
    with pytest.raises(tp.LimitError, match=r"gradient of `\w` vanishes in the limit at step 0"):
        run.limit()


def test_updates_that_are_smooth_at_zero_stay_there() -> None:
    run = tp.parse(NARROW).train([[1.0, 0.5]], [1.0], steps=2, lr=0.3, optimizer="g/sqrt(g^2 + 1/4)")
    assert np.abs(run.limit().outputs).max() < 1e-9


def test_gradients_that_are_zero_at_every_width_are_left_alone() -> None:
    """A coordinate that no sample has, and a sample that is 0."""
    run = tp.parse(SIGNS, L=1, d=2).train([[1.0, 0.0], [0.0, 0.0]], [1.0, 0.0], steps=1, lr=0.3, optimizer="sign")
    limit, finite = run.limit(), run.simulate(512, seeds=8)
    assert (np.abs(limit.outputs - finite.outputs) < 5 * (finite.errors + limit.errors) + 4 / 512).all()


def test_an_expression_that_cannot_be_read_has_a_caret() -> None:
    with pytest.raises(tp.DataError, match=r"(?s)1 \| g/\(1\+h\)\n +\^ cannot be read, undefined name: `h`"):
        tp.parse(NARROW).train([[1.0, 0.5]], [1.0], steps=1, lr=0.3, optimizer="g/(1+h)")
