"""The interpreter against the same networks written out in NumPy, and what it says to wrong input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp
from readings import programs as P
from readings.test_gradient import data_for

from tp.errors import DataError, SpecError
from tp.gaussian import functions as G
from tp.program.ir import MatMul, Moment, Nonlin, Program, Ref
from tp.readings.elementwise import TABLE
from tp.readings.simulate import Run, replay, simulate


def relu(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0)


def run_of(program: Program, samples: int = 3, width: int = 8, **more: Any) -> tuple[Run, dict[str, np.ndarray]]:
    inputs = data_for(program, samples)
    return simulate(program, inputs, width, **({"seed": 0} | more)), inputs


def test_mlp_by_hand() -> None:
    run, inputs = run_of(P.mlp())
    h = inputs["x"] @ np.stack([run["U", j] for j in (1, 2, 3)]) + run["b", 1]
    for l in (2, 3):
        h = relu(h) @ run["W", l].T + run["b", l]
    np.testing.assert_allclose(run["h", 3], h, rtol=1e-12)
    np.testing.assert_allclose(run.outputs["f"], relu(h) @ run["v"], rtol=1e-12)


@pytest.mark.parametrize(("boundary", "mode"), [("zero", "constant"), ("circular", "wrap"), ("reflect", "reflect")])
def test_boundaries_are_those_of_numpy(boundary: str, mode: Any) -> None:
    run, inputs = run_of(P.conv(boundary))
    x = np.pad(inputs["x"], ((0, 0), (1, 1)), mode=mode)
    h = sum(x[:, 1 + k : 9 + k, None] * run["A", k] for k in (-1, 0, 1))
    r = np.pad(relu(h), ((0, 0), (1, 1), (0, 0)), mode=mode)
    g = sum(r[:, 1 + k : 9 + k] @ run["B", k].T for k in (-1, 0, 1))
    np.testing.assert_allclose(run["g", 5], g[:, 5], rtol=1e-12)
    np.testing.assert_allclose(run["f"], relu(g).mean(axis=1) @ run["v"], rtol=1e-12)


def test_valid_boundary_and_stride() -> None:
    run, inputs = run_of(P.conv("valid"))
    assert sorted(k[1] for k in run.values if k[0] == "g") == [2, 3, 4, 5]
    h = sum(inputs["x"][:, 1 + k : 7 + k, None] * run["A", k] for k in (-1, 0, 1))
    np.testing.assert_allclose(run["h", 1], h[:, 0], rtol=1e-12)
    run, _ = run_of(P.conv("zero", stride=2))
    g = run["r", 5] @ run["B", -1].T + run["r", 6] @ run["B", 0].T + run["r", 7] @ run["B", 1].T
    np.testing.assert_allclose(run["g", 3], g, rtol=1e-12)


def test_a_cosine_beyond_the_edge_reads_the_variable_as_zero() -> None:
    body = [P.readout(Ref("v") * sp.cos(Ref("x", P.p + 1)))]
    body = [Nonlin(Ref("f", P.p), sp.cos(Ref("x", P.p + 1)), None, (P.over(P.p, 0, 2),))]
    edge = {"x": (("zero", sp.S.Zero, sp.Integer(2)),)}
    program = P.program("edge", [P.Data(Ref("x", P.p), (P.over(P.p, 0, 2),))], [], body, Ref("f", P.p), boundary=edge)
    run, inputs = run_of(program)
    np.testing.assert_allclose(run.outputs["f"], np.cos(np.c_[inputs["x"][:, 1:], np.zeros(3)]), rtol=1e-15)


def test_reflection_repeats() -> None:
    reads = sp.Sum(Ref("x", 3 * P.p), (P.p, -3, 3))
    edge = {"x": (("reflect", sp.S.Zero, sp.Integer(3)),)}
    data = [P.Data(Ref("x", P.p), (P.over(P.p, 0, 3),))]
    run, inputs = run_of(P.program("edge", data, [], [Nonlin(Ref("f"), reads, None)], boundary=edge))
    padded = np.pad(inputs["x"], ((0, 0), (9, 9)), mode="reflect")
    np.testing.assert_allclose(run["f"], padded[:, [0, 3, 6, 9, 12, 15, 18]].sum(axis=1))


def test_rnn_by_hand() -> None:
    run, inputs = run_of(P.rnn())
    h, total = np.zeros((3, 8)), 0
    for t in range(4):
        h = np.tanh(h) @ run["W"].T + inputs["x"][:, t] @ np.stack([run["U", 1], run["U", 2]])
        total = total + np.tanh(h) / 4
    np.testing.assert_allclose(run["f"], total @ run["v"], rtol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_hand(causal: bool) -> None:
    run, inputs = run_of(P.attention(causal=causal))
    e = inputs["x"] @ np.stack([run["E", 1], run["E", 2]])
    q, k, u = (e @ run[name].T for name in "QKV")
    logits = np.einsum("nta,nsa->nts", q, k) / 8
    if causal:
        logits = np.where(np.tril(np.ones((3, 3))) > 0, logits, -np.inf)
    scores = np.exp(logits)
    o = scores / scores.sum(axis=2, keepdims=True) @ u
    np.testing.assert_allclose(run["f"], relu(e + o).mean(axis=1) @ run["v"], rtol=1e-12)


def test_softmax_of_huge_logits_is_finite() -> None:
    softmax = P.Softmax(Ref("x", 1), Ref("x", P.p), P.p, 1, 2)
    program = P.program("softmax", [P.Data(Ref("x", P.p), (P.over(P.p, 1, 2),))], [], [Nonlin(Ref("f"), softmax, None)])
    run = simulate(program, {"x": [[1e4, 1e4], [-1e4, 1e4]]}, 4)
    np.testing.assert_allclose(run["f"], [0.5, 0])


def test_two_widths_and_a_transpose() -> None:
    run, inputs = run_of(P.hopfield())
    assert run["W"].shape == (4, 8) and run["y"].shape == (3, 4)
    h = np.tanh(inputs["x"] @ np.stack([run["U", 1], run["U", 2]]))
    np.testing.assert_allclose(run["f"], np.tanh(h @ run["W"].T) @ run["W"] @ run["v"], rtol=1e-12)
    with pytest.raises(DataError, match="`m = n/2` is no positive integer"):
        simulate(P.hopfield(), inputs, 7)


def test_layernorm_by_hand() -> None:
    run, inputs = run_of(P.layernorm())
    h = inputs["x"] @ np.stack([run["U", j] for j in (1, 2, 3)])
    z = (h - h.mean(axis=1, keepdims=True)) / h.std(axis=1, keepdims=True)
    np.testing.assert_allclose(run["z"], z, rtol=1e-12)
    np.testing.assert_allclose(run["temperature"], np.exp(run["c"]) / (1 + h.var(axis=1)), rtol=1e-12)


def test_a_loop_downwards() -> None:
    run, inputs = run_of(P.backward_loop())
    h = np.broadcast_to(run["b"], (3, 8))
    for t in (3, 2, 1, 0):
        h = np.sin(h @ run["W"].T) + run["b"] * inputs["x"][:, t, None]
    np.testing.assert_allclose(run.outputs["f"][:, 0], h @ run["v"], rtol=1e-12)


def test_weights_have_the_declared_law() -> None:
    weights = [
        P.weight(Ref("a"), var=4, mean=sp.S(3), multiplier=sp.S.Half),
        P.weight(Ref("g"), var=0, mean=sp.S(2)),
        P.weight(Ref("W", P.l), P.over(P.l, 1, 2), cols=P.N, var=P.l / P.n),
    ]
    program = P.program("weights", [], weights, [Moment(Ref("f"), Ref("a"), P.N)])
    run = simulate(program, {}, 1000, seed=1)
    assert run["a"].mean() == pytest.approx(1.5, abs=0.1) and run["a"].std() == pytest.approx(1, abs=0.1)
    assert (run["g"] == 2).all()
    assert 1000 * run["W", 2].var() == pytest.approx(2, rel=0.01)
    assert run["f"].shape == (1,)


def test_one_seed_one_draw() -> None:
    first, inputs = run_of(P.mlp(), seed=4)
    again = simulate(P.mlp(), inputs, 8, np.random.default_rng(4))
    other = simulate(P.mlp(), inputs, 8, 5)
    assert (first["f"] == again["f"]).all() and (first["f"] != other["f"]).all()
    assert (replay(first, {})["f"] == first["f"]).all()


def test_lookups() -> None:
    run, _ = run_of(P.mlp())
    assert run["h", 2].shape == (3, 8) and run["v"].shape == (8,) and run["x", 2].shape == (3,)
    assert (run[Ref("h", 2)] == run["h", 2]).all()
    assert repr(run) == "<run of mlp: n = 8, m = 4, 3 samples, 20 members>"
    with pytest.raises(DataError, match=r"`h\[9\]` is no member.*\n.*h\[1\]"):
        run["h", 9]


@pytest.mark.parametrize("name", [name for name in TABLE if hasattr(G, name) or hasattr(sp, name)])
def test_functions_are_those_of_sympy(name: str) -> None:
    fn = getattr(G, name, None) or getattr(sp, name)
    if name == "Heaviside":
        return
    for z in (-2.5, -0.5, 0.25, 0.75, 3.0):
        if name == "log" and z < 0:
            continue
        args = {"elu": (z, 0.7), "leaky_relu": (z, 0.2), "hermite": (4, z)}.get(name, (z,))
        exact = fn(*(sp.Float(repr(a), 30) if isinstance(a, float) else sp.Integer(a) for a in args)).evalf(25)
        value = TABLE[name].value(*(np.float64(a) for a in args))
        assert float(value) == pytest.approx(float(exact), rel=2e-14)


# ---------------------------------------------------------------- wrong input

GOOD = np.zeros((2, 3))
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({}, "no array was given for `x`"),
    "unknown": ({"x": GOOD, "z": GOOD}, "`z` is no input of this network\nhelp: this network has: `x`"),
    "near miss": ({"xx": GOOD}, "did you mean `x`"),
    "wrong shape": ({"x": np.zeros((2, 4))}, r"`x` has shape \[2, 4\], wanted \[N, 3\]"),
    "no sample axis": ({"x": np.zeros(3)}, r"`x` has shape \[3\], wanted \[N, 3\]\nhelp: one sample: add its axis, `x\[None\]`"),
    "no samples": ({"x": np.zeros((0, 3))}, r"empty input: `x` has shape \[0, 3\]"),
    "nan": ({"x": np.array([[0, 0, 0], [0, np.nan, np.nan]])}, r"`x\[1, 1\]` is nan"),
    "inf": ({"x": np.array([[0, 0, -np.inf]])}, r"`x\[0, 2\]` is -inf"),
    "text": ({"x": [["a", "b", "c"]]}, "`x` has dtype <U1, not real numbers"),
    "complex": ({"x": np.ones((2, 3)) * 1j}, "complex128, not real"),
    "objects": ({"x": np.array([[None] * 3])}, "dtype object"),
    "ragged": ({"x": [[1.0], [1.0, 2.0]]}, "`x` is a ragged list"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_data(name: str) -> None:
    inputs, message = WRONG[name]
    with pytest.raises(DataError, match=message):
        simulate(P.mlp(), inputs, 8)


def test_inputs_must_agree_on_the_number_of_samples() -> None:
    program = P.program("two", [P.Data(Ref("x"), ()), P.Data(Ref("y"), ())], [], [Nonlin(Ref("f"), Ref("x") * Ref("y"), None)])
    with pytest.raises(DataError, match="`x` has 2, `y` has 3"):
        simulate(program, {"x": np.ones(2), "y": np.ones(3)}, 4)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (0, "width `n` is 0"),
        (2.5, "width `n` is 2.5"),
        (True, "width `n` is True"),
        ({"k": 3}, "`k` is no width"),
        ({}, "width `n` has no size"),
    ],
)
def test_wrong_width(width: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        simulate(P.mlp(), {"x": GOOD}, width)


def test_constants() -> None:
    program = P.mlp(depth=sp.Symbol("L", integer=True, positive=True), sb2=sp.Symbol("sb2"))
    with pytest.raises(DataError, match="`L` has no value in the spec\nhelp: give L=…"):
        simulate(program, {"x": GOOD}, 8)
    program = P.program("c", [], [P.weight(Ref("v"), var=sp.Symbol("s"))], [P.readout(Ref("v"))], constants=(sp.Symbol("s"),))
    assert simulate(program, {}, 8, constants={"s": 2.5}).env["s"] == 2.5
    for value, message in (("2", "`s` is str"), (float("nan"), "`s` is nan"), (-1, "variance -1")):
        with pytest.raises(DataError, match=message):
            simulate(program, {}, 8, constants={"s": value})
    with pytest.raises(DataError, match="`t` is no constant"):
        simulate(program, {}, 8, constants={"s": 1, "t": 1})
    for seed in (-1, "a", 1.5):
        with pytest.raises(DataError, match="give a whole number that is not negative"):
            simulate(program, {}, 8, seed, constants={"s": 1})


def test_memory_is_counted_first() -> None:
    with pytest.raises(DataError, match=r"`W` 1.49e\+04; the limit is 1"):
        simulate(P.mlp(), {"x": GOOD}, 10**6, memory=2**30)
    with pytest.raises(DataError, match="limit is"):
        simulate(P.mlp(depth=10**9), {"x": GOOD}, 8)
    scalars = [Nonlin(Ref("y", P.t, P.s), P.s, None, (P.over(P.t, 1, 10**8), P.over(P.s, 1, P.t)))]
    with pytest.raises(DataError, match="too large"):
        simulate(P.program("long", [], [], scalars, Ref("y", P.t, P.s)), {}, 4)


def test_a_value_that_is_not_finite_is_named() -> None:
    body = [Nonlin(Ref("y"), 1 / Ref("x"), None), Nonlin(Ref("f"), Ref("y") + 1, None)]
    program = P.program("pole", [P.Data(Ref("x"), ())], [], body)
    with pytest.raises(DataError, match="`y` is inf for sample 1"):
        simulate(program, {"x": [1.0, 0.0]}, 4)


def test_unknown_function_and_undefined_member() -> None:
    program = P.program("zeta", [], [], [Nonlin(Ref("f"), sp.zeta(Ref("x")), None)])
    with pytest.raises(SpecError, match="`zeta` has no finite-width rule"):
        simulate(program, {}, 4)
    program = P.program("early", [], [P.weight(Ref("W"), cols=P.N)], [MatMul(Ref("y"), Ref("W"), Ref("h", 1), False, P.N)])
    with pytest.raises(SpecError, match=r"`h\[1\]` is read but nothing defines it"):
        simulate(program, {}, 4)
