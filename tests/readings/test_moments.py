"""The full Z-calculus at initialization: matrices that act together with their transposes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tp
from tests.readings.specs import VALUES

DATA = Path(__file__).parent / "data"
TIED = {case["id"]: case for case in json.loads((DATA / "tied.json").read_text())}


def spec(*lines: str, ratio: str = "1", variance: float = 1.0) -> tp.Net:
    m = "n" if ratio == "1" else "m"
    head = [
        "network z",
        "width n",
        *([] if m == "n" else [f"width m = {ratio}*n"]),
        "frozen weight x : [n] ~ N(0, 1)",
        f"frozen weight u : [{m}] ~ N(0, 1)",
        f"weight W : [{m}, n] ~ N(0, {variance}/n)",
    ]
    return tp.parse("\n  ".join([*head, *lines]) + "\n")


def values(net: tp.Net, **settings: object) -> dict[str, float]:
    return {name: float(value.ravel()[0]) for name, value in net.moments(**settings).values.items()}  # type: ignore[arg-type]


@pytest.mark.parametrize(("ratio", "variance", "names"), [("1", 1.0, "s1_rho1"), ("1/2", 1.5, "s1.5_rho0.5")])
def test_w_transpose_w(ratio: str, variance: float, names: str) -> None:
    found = values(spec("z = W.T @ (W @ x)", "output q = avg(z^2)", "output o = avg(z*x)", ratio=ratio, variance=variance))
    assert found["q"] == pytest.approx(VALUES[f"WtWx_EZ2_{names}"], abs=1e-6)
    assert found["o"] == pytest.approx(VALUES[f"WtWx_EZx_{names}"], abs=1e-6)


@pytest.mark.parametrize(("act", "variance", "names"), [("relu", 2, "relu_s2"), ("erf", 1, "erf_s1"), ("tanh", 1, "tanh_s1")])
def test_a_function_in_between(act: str, variance: float, names: str) -> None:
    net = spec(f"z = W.T @ {act}(W @ x)", "output o = avg(z*x)", "output q = avg(z^2)", "output p = avg(z^4)", variance=variance)
    found = values(net)
    tolerance = 3e-3 if act == "relu" else 1e-5
    for name, key in (("o", "EZx"), ("q", "EZ2"), ("p", "EZ4")):
        assert found[name] == pytest.approx(VALUES[f"WtphiWx_{names}_rho1_{key}"], rel=tolerance)


def test_a_reused_matrix_without_its_transpose() -> None:
    net = spec("h1 = W @ relu(x)", "h2 = W @ relu(h1)", "h3 = W @ relu(h2)", "h4 = W @ relu(h3)",
               *(f"output k{t} = avg(h{t}*h{t + 1})" for t in (1, 2, 3)), variance=2)  # fmt: skip
    found = values(net)
    for t in (1, 2, 3):
        assert found[f"k{t}"] == pytest.approx(VALUES[f"rnn_relu_K{t}{t + 1}"], abs=2e-3)


def test_iterated_transposes() -> None:
    net = spec("h1 = W @ x", "v1 = W.T @ erf(h1)", "h2 = W @ v1", "v2 = W.T @ erf(h2)",
               "output v0v1 = avg(x*v1)", "output v1v1 = avg(v1*v1)", "output v0v2 = avg(x*v2)", "output v1v2 = avg(v1*v2)",
               "output v2v2 = avg(v2*v2)", "output h1h2 = avg(h1*h2)", "output h2h2 = avg(h2*h2)")  # fmt: skip
    for name, value in values(net).items():
        assert value == pytest.approx(VALUES[f"iter_erf_s1_rho1_{name}"], abs=1e-5)


def test_a_symmetric_matrix_has_its_onsager_term() -> None:
    net = spec("y1 = tanh(x)", "h1 = (W @ y1 + W.T @ y1)/sqrt(2)", "y2 = tanh(h1)", "h2 = (W @ y2 + W.T @ y2)/sqrt(2)",
               "output h2h2 = avg(h2^2)", "output h0h2 = avg(x*h2)")  # fmt: skip
    for name, value in values(net).items():
        assert value == pytest.approx(VALUES[f"goe_tanh_{name}"], abs=1e-5)


@pytest.mark.parametrize(("ratio", "rho"), [("1", "1.0"), ("1/2", "0.5")])
def test_marchenko_pastur_moments(ratio: str, rho: str) -> None:
    net = spec("a = W @ (W.T @ u)", "b = W @ (W.T @ a)", "output tr3 = avg(a*b)", ratio=ratio)
    assert values(net)["tr3"] == pytest.approx(VALUES[f"mp_tr3_rho{rho}"], abs=1e-4)


def test_products_of_matrices_and_jacobians() -> None:
    net = spec("weight A : [n, n] ~ N(0, 1/n)", "a = W.T @ (W @ (A @ x))", "b = A.T @ a", "output k2 = avg(b*b)")
    assert values(net)["k2"] == pytest.approx(VALUES["fusscatalan_k2_L2"], abs=1e-4)


def test_a_moment_in_between() -> None:
    net = spec("h = tanh(W @ x)", "c = avg(h^2)", "z = W.T @ (h/sqrt(c))", "output o = avg(z*x)", "output q = avg(z^2)")
    found = values(net)
    assert found["o"] == pytest.approx(VALUES["moment_rms_tanh_EZx"], abs=1e-5)
    assert found["q"] == pytest.approx(VALUES["moment_rms_tanh_EZ2"], abs=1e-5)


def test_reuse_without_the_transpose_has_no_dot_part() -> None:
    net = spec("weight A : [n, n] ~ N(0, 1/n)", "z = A.T @ relu(W @ x)", "output o = avg(z*x)")
    assert values(net)["o"] == pytest.approx(0, abs=1e-3)


def chain(case: dict[str, object]) -> tp.Net:
    """The tied network of a case, as a spec."""
    act = "" if case["act"] == "lin" else case["act"]
    steps = case["steps"]
    lines = [f"index t in 0..{steps}", "x[0] = g"]
    if case["family"] == "gia_fail":
        slope = {"relu": "step", "softplus": "sigmoid"}[str(act)]
        lines = [f"z = W.T @ {slope}(W @ g)", "output grad_q = avg(z^2)", "output grad_dot_x = avg(z*g)"]
    elif case["family"] == "symmetric":
        lines.append(f"y[t] = (W @ x[t-1] + W.T @ x[t-1])/sqrt(2) for t in 1..{steps}")
    else:
        lines.append(f"y[t] = W.T @ {act}(W @ x[t-1]) for t in 1..{steps}")
    if case["family"] != "gia_fail":
        lines.append(f"x[t] = {act}(y[t]) for t in 1..{steps}")
        for t in range(1, int(str(steps)) + 1):
            lines += [f"output q{t} = avg(x[{t}]^2)", f"output overlap{t} = avg(x[{t}]*g)"]
            lines += [f"output preact_q{t} = avg(y[{t}]^2)", f"output preact_overlap{t} = avg(y[{t}]*g)"]
    head = ["network tied", "width n", "frozen weight g : [n] ~ N(0, 1)", f"weight W : [n, n] ~ N(0, {case['sigma_w2']}/n)"]
    return tp.parse("\n  ".join([*head, *lines]) + "\n")


@pytest.mark.parametrize("name", [k for k, c in TIED.items() if c["family"] != "tied_autoencoder"])
def test_tied_values_and_not_the_naive_ones(name: str) -> None:
    case = TIED[name]
    found = chain(case).moments()
    wrong = []
    for key, expected in case["expected"].items():
        # exact values are compared within what quadrature gives
        allowed = max(case["tolerance_abs"][key], 1e-6 * abs(expected)) + 6 * found.errors[key][0]
        assert found[key][0] == pytest.approx(expected, abs=allowed), key
        wrong.append(abs(found[key][0] - case["naive"][key]) > 20 * allowed)
    assert sum(wrong) >= len(wrong) / 2


@pytest.mark.parametrize("name", [k for k, c in TIED.items() if c["family"] == "tied_autoencoder"])
def test_a_tied_autoencoder_is_its_dot_part(name: str) -> None:
    case = TIED[name]
    text = str(tp.zoo("autoencoder")).replace("tanh", case["act"])
    net = tp.parse(text, d=len(case["x"]), sw2=case["sigma_w2"], su2=case["sigma_u2"])
    found = net.moments(np.array([case["x"]]))
    (name_of,) = found.values
    assert found[name_of][0] == pytest.approx(np.array(case["expected_y"]), abs=1e-6 + 6 * found.errors[name_of].max())


def test_grid_and_sobol_agree_within_their_errors() -> None:
    net = spec("z = W.T @ tanh(W @ x)", "y = W.T @ tanh(W @ tanh(z))", "output q = avg(y^2)", "output o = avg(y*x)")
    grid, sobol = net.moments(method="grid"), net.moments(method="sobol")
    for key in ("q", "o"):
        assert abs(grid[key] - sobol[key])[0] < 6 * (sobol.errors[key] + grid.errors[key])[0]


def test_random_outputs_are_refused_with_a_way_out() -> None:
    with pytest.raises(tp.LimitError, match="random") as caught:
        tp.zoo("hopfield").moments(np.ones((1, 4)))
    assert "1/n" in str(caught.value)
