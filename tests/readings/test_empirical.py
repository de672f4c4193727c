"""Empirical kernels: their definition, their readings of a declaration, and their convergence to a recursion by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from readings import programs as P
from readings.test_gradient import PROGRAMS, draw

from tp.errors import DataError
from tp.program.ir import MatMul, Nonlin, Program, Ref
from tp.readings.dependence import affine_weights
from tp.readings.empirical import kernels_of, speed
from tp.readings.gradient import gradient
from tp.readings.simulate import replay, simulate


@pytest.mark.parametrize("name", PROGRAMS)
def test_theta_is_how_a_gradient_step_moves_the_outputs(name: str) -> None:
    """f(i) moves by ε Θ(i, j) when every w moves by ε · rate · ∂f(j)/∂w."""
    run = draw(PROGRAMS[name])
    theta = kernels_of(run, ["Theta"], "as written")["Theta"]
    grad, output = gradient(run, run.members(run.program.outputs[0])[0]), run.members(run.program.outputs[0])[0]
    for j in range(run.samples):
        moved = []
        for step in (1e-6, -1e-6):
            change = {w: run[w] + step * speed(drawn, "as written") * grad[w][j] for w, drawn in run.weights.items()}
            moved.append(replay(run, change)[output])
        np.testing.assert_allclose((moved[0] - moved[1]) / 2e-6, theta[:, j], rtol=1e-5, atol=1e-8)


def relu_recursion(x: np.ndarray, depth: int, sw2: float, sb2: float) -> dict[str, np.ndarray]:
    """K and Theta of ``P.mlp``: Cho & Saul 2009 for the two expectations, Jacot et al. 2018 for the recursion."""

    def expectations(k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scale = np.sqrt(np.outer(np.diag(k), np.diag(k)))
        angle = np.arccos(np.clip(k / scale, -1, 1))
        return scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi), (np.pi - angle) / (2 * np.pi)

    K = sw2 * x @ x.T / x.shape[1] + sb2
    theta = K
    for _ in range(2, depth + 1):
        V, slope = expectations(K)
        K, theta = sw2 * V + sb2, sw2 * V + sb2 + sw2 * slope * theta
    V, slope = expectations(K)
    return {"K": V, "Theta": V + slope * theta}


def test_mlp_error_falls_like_one_over_root_n() -> None:
    program, x = P.mlp(depth=2), np.array([[1.0, 0.5, -0.5], [0.2, 1.0, 0.7], [-1.0, 0.3, 1.0]])
    exact = relu_recursion(x, 2, 2.0, 0.1)
    widths, seeds = (256, 1024, 4096), 5
    for kind in ("K", "Theta"):
        assert np.linalg.eigvalsh(exact[kind]).min() > 0.05  # a kernel worth converging to
    errors: dict[str, list[float]] = {"K": [], "Theta": []}
    for n in widths:
        draws = [kernels_of(simulate(program, {"x": x}, n, seed)) for seed in range(seeds)]
        for kind, of_width in errors.items():
            relative = [np.linalg.norm(d[kind] - exact[kind]) / np.linalg.norm(exact[kind]) for d in draws]
            of_width.append(np.sqrt(np.mean(np.square(relative))))
    for of_width in errors.values():
        slope = np.polyfit(np.log(widths), np.log(of_width), 1)[0]
        assert -0.7 < slope < -0.3  # theory: -1/2
        assert of_width[-1] < 0.08


def theta_by_hand(program: Program, speeds: dict[str, float], mode: str) -> None:
    run = draw(program)
    grad = gradient(run, "f")
    expected = sum(
        speeds.get(w[0], 0) * grad[w].reshape(run.samples, -1) @ grad[w].reshape(run.samples, -1).T for w in run.weights
    )
    np.testing.assert_allclose(kernels_of(run, ["Theta"], mode)["Theta"], expected, rtol=1e-12)


def test_the_ntk_reading_scales_the_short_form_and_honours_the_long_one() -> None:
    """Width 6: the short forms move at their variance, gain and shift at 1, v at its rate times its multiplier squared."""
    long = {"gain": 1, "shift": 1, "v": 1.5 / 6}
    theta_by_hand(P.layernorm(), {"U": 1 / 3, "c": 1 / 4, **long}, "ntk")
    theta_by_hand(P.layernorm(), {"U": 1, "c": 1, **long}, "as written")


def test_frozen_weights_contribute_nothing() -> None:
    program = P.layernorm()
    frozen = replace(program, weights=tuple(replace(w, frozen=w.ref.name != "c") for w in program.weights))
    theta_by_hand(frozen, {"c": 1 / 4}, "ntk")


def test_k_averages_over_the_readout_alone() -> None:
    run = draw(P.mlp())
    features = np.maximum(run["h", 3], 0)
    np.testing.assert_allclose(kernels_of(run, ["K"])["K"], features @ features.T / 6, rtol=1e-12)
    assert affine_weights(run, [("f",)]) == {("v",)}


def test_k_counts_the_bias_of_the_output_and_its_mean() -> None:
    program = P.mlp()
    body = (*program.body[:-1], replace(program.body[-1], out=Ref("y")), Nonlin(Ref("f"), 2 * Ref("y") + Ref("c") + 1, None))
    bias = P.weight(Ref("c"), rows=None, var=9, mean=sp.S(2))
    run = draw(replace(program, body=body, weights=(*program.weights, bias)))
    features = np.maximum(run["h", 3], 0)
    np.testing.assert_allclose(kernels_of(run, ["K"])["K"], 4 * features @ features.T / 6 + 9 + 3 * 3, rtol=1e-12)


@pytest.mark.parametrize(
    ("readout", "affine"),
    [
        (Ref("v") * Ref("u"), "v"),  # affine in either, not in both: the one read last
        (Ref("u") * Ref("y"), ""),  # y = W u
        (Ref("y") * Ref("y"), ""),
        (Ref("v") * sp.tanh(Ref("y")) + Ref("u"), "v"),
        (Ref("v") + Ref("y"), "uv"),
        (Ref("v") * sp.Piecewise((Ref("y"), Ref("v") > 0), (1, True)), ""),
    ],
)
def test_affine_weights(readout: sp.Expr, affine: str) -> None:
    weights = [P.weight(Ref("u")), P.weight(Ref("v")), P.weight(Ref("W"), cols=P.N, var=1 / P.n)]
    body = [MatMul(Ref("y"), Ref("W"), Ref("u"), False, P.N), P.Moment(Ref("f"), readout, P.N)]
    run = draw(P.program("affine", [], weights, body))
    assert {key[0] for key in affine_weights(run, [("f",)])} == set(affine)
    if not affine:
        np.testing.assert_allclose(kernels_of(run, ["K"])["K"], np.outer(run["f"], run["f"]))


def test_kernels_are_per_output_coordinate() -> None:
    run = draw(P.backward_loop())
    both = kernels_of(run, output=("f", 1), against=("f", 3))
    h = {t: run["h", t] for t in (1, 3)}
    np.testing.assert_allclose(both["K"], h[1] @ h[3].T / 6, rtol=1e-12)
    np.testing.assert_allclose(kernels_of(run)["Theta"], kernels_of(run, output=("f", 1), against=("f", 1))["Theta"], rtol=1e-12)
    assert np.abs(both["Theta"] - kernels_of(run)["Theta"]).max() > 1e-3


def test_wrong_choices() -> None:
    run = draw(P.mlp())
    with pytest.raises(DataError, match="no 'theta'\nhelp: choose from K, Theta"):
        kernels_of(run, ["theta"])
    with pytest.raises(DataError, match="choose from ntk, as written"):
        kernels_of(run, mode="written")
    with pytest.raises(DataError, match="`g` is no member"):
        kernels_of(run, output="g")
