"""The reverse pass against finite differences, for every instruction and every way in which families are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp
from readings import programs as P

from tp.errors import DataError
from tp.gaussian import functions as G
from tp.program.ir import MatMul, Moment, Nonlin, Program, Ref, Softmax
from tp.readings.gradient import gradient
from tp.readings.simulate import Run, replay, simulate

PROGRAMS = {
    "mlp": P.mlp(),
    "mlp, symbolic depth": P.mlp(depth=sp.Symbol("L", integer=True, positive=True)),
    **{f"conv, {mode}": P.conv(mode) for mode in ("zero", "circular", "reflect", "valid")},
    "conv, stride 2": P.conv("zero", stride=2),
    "rnn": P.rnn(),
    "attention": P.attention(),
    "causal attention": P.attention(causal=True),
    "hopfield": P.hopfield(),
    "layernorm": P.layernorm(),
    "backward loop": P.backward_loop(),
}


def data_for(program: Program, samples: int = 2, seed: int = 1) -> dict[str, np.ndarray]:
    """Gaussian data of the right shape; every range of the test programs is a number."""
    rng = np.random.default_rng(seed)
    shape = {d.ref.name: [int(r.hi - r.lo + 1) for r in d.domain] for d in program.data}
    return {name: rng.standard_normal((samples, *s)) for name, s in shape.items()}


def draw(program: Program, width: int = 6) -> Run:
    return simulate(program, data_for(program), width, seed=3, constants={"L": 3} if program.constants else {})


def slope(run: Run, key: tuple[Any, ...], direction: np.ndarray, output: tuple[Any, ...], step: float = 1e-6) -> np.ndarray:
    """d output(W + ε direction)/dε per sample, by central differences."""
    up, down = (replay(run, {key: run[key] + e * direction})[output] for e in (step, -step))
    return (up - down) / (2 * step)


def check_gradient(run: Run) -> None:
    rng = np.random.default_rng(5)
    for output in (key for ref in run.program.outputs for key in run.members(ref)):
        grad = gradient(run, output)
        for key in run.weights:
            direction = rng.standard_normal(run[key].shape)
            exact = np.tensordot(grad[key], direction, axes=direction.ndim) if direction.ndim else grad[key] * direction
            np.testing.assert_allclose(exact, slope(run, key, direction, output), rtol=2e-6, atol=2e-8, err_msg=f"{output} {key}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_reverse_pass_equals_finite_differences(name: str) -> None:
    check_gradient(draw(PROGRAMS[name]))


a, b, th = Ref("a"), Ref("b"), Ref("th")
EXPRESSIONS = {
    "powers": a**3 + 2 / (3 + a**2) + sp.sqrt(1 + b**2) + (1 + a**2) ** (-sp.Rational(3, 2)),
    "power of two variables": (1 + a**2) ** b,
    "smooth functions": sp.exp(a / 3) * sp.sin(b) + sp.cos(a * b) + sp.log(2 + sp.tanh(b)) + sp.erf(a),
    "hyperbolic functions": sp.cosh(b / 2) + sp.sinh(a) + sp.atan(a) + sp.tan(sp.tanh(b)),
    "activations": G.gelu(a) + G.silu(b) * G.sigmoid(a) + G.softplus(a + b) + G.normal_cdf(b) + G.normal_pdf(a) + G.hermite(3, a),
    "kinks": G.relu(a) * sp.Abs(b) + G.elu(a, th) + G.leaky_relu(b, th) + sp.sign(a) * G.step(b) * a,
    "extremes": sp.Max(a, b, 0) + sp.Min(a, th),
    "piecewise": sp.Piecewise((a**2, (a > 0) & (b > 0)), (sp.sin(a), sp.Or(a > -1, b > 1)), (b, True)),
    "scalar in vector": th**2 * a + sp.exp(th) * b,
    "nested sums": sp.Sum(P.k * a * sp.Sum(b * P.j, (P.j, 1, P.k)), (P.k, 1, 3)),
    "one sum, two indices": sp.Sum(a**P.k * b, (P.k, 1, P.j), (P.j, 1, 3)),
    "kronecker": sp.Sum(sp.KroneckerDelta(P.k, 2) * a * P.k, (P.k, 1, 3)),
    "empty sum": a + sp.Sum(b * P.k, (P.k, 2, 1)),
    "softmax of vectors": Softmax(a, a * P.k, P.k, 1, 3) * b,
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions_pull_back(name: str) -> None:
    body = [Nonlin(Ref("y"), EXPRESSIONS[name], P.N), Moment(Ref("f"), Ref("y") * Ref("v"), P.N, coeff=sp.Integer(3))]
    weights = [P.weight(Ref("a")), P.weight(Ref("b")), P.weight(Ref("v")), P.weight(th, rows=None)]
    check_gradient(draw(P.program(name, [], weights, body)))


def test_scalar_expressions_pull_back() -> None:
    body = [Nonlin(Ref("f"), sp.Max(th, 0) ** 2 + sp.sin(th) * Ref("x") + Ref("x") ** 2, None)]
    program = P.program("scalars", [P.Data(Ref("x"), ())], [P.weight(th, rows=None)], body)
    check_gradient(draw(program))


def test_one_matrix_used_along_two_paths_and_in_both_directions() -> None:
    W, x = Ref("W"), Ref("U")
    body = [
        MatMul(Ref("y"), W, x, False, P.N),
        Nonlin(Ref("s"), sp.tanh(Ref("y")) + x, P.N),
        MatMul(Ref("z"), W, Ref("s"), True, P.N),
        MatMul(Ref("w"), W, Ref("z"), False, P.N),
        P.readout(Ref("w") + Ref("y") * Ref("z")),
    ]
    weights = [P.weight(W, cols=P.N, var=1 / P.n), P.weight(x), P.weight(Ref("v"), var=1 / P.n)]
    run = draw(P.program("paths", [], weights, body))
    check_gradient(run)
    assert len(gradient(run, "f").factors[("W",)]) == 3


def test_inner_products_need_no_matrix() -> None:
    run = draw(P.rnn())
    grad = gradient(run, "f")
    for key in run.weights:
        dense = grad[key].reshape(run.samples, -1)
        np.testing.assert_allclose(grad.inner(grad, key), dense @ dense.T, rtol=1e-12)


def test_a_weight_that_is_not_used_has_gradient_zero() -> None:
    program = P.program("unused", [], [P.weight(Ref("W"), cols=P.N), P.weight(Ref("v"))], [P.readout(Ref("v"))])
    grad = gradient(draw(program), "f")
    assert not grad["W"].any() and grad["W"].shape == (1, 6, 6)
    assert grad.inner(grad, ("W",)) == 0


def test_only_scalars_have_gradients() -> None:
    with pytest.raises(DataError, match=r"`h\[1\]` is no scalar"):
        gradient(draw(P.mlp()), ("h", 1))
