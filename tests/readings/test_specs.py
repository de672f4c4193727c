"""From text: every shipped spec runs and differentiates, and each way of writing a network means what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readings.test_gradient import data_for

from tp.errors import DataError
from tp.network.check import check
from tp.network.parse import parse
from tp.program.ir import Program
from tp.program.lower import lower
from tp.readings.empirical import kernels_of
from tp.readings.gradient import gradient
from tp.readings.simulate import Run, replay, simulate

ZOO = sorted((Path(__file__).parents[2] / "tp" / "zoo").glob("*.tp"))


def program_of(text: str, **lets: Any) -> Program:
    return lower(check(parse(text), lets))


def run_of(text: str, width: int = 6, samples: int = 2, constants: dict[str, Any] | None = None) -> tuple[Run, Any]:
    program = program_of(text)
    inputs = data_for(program, samples)
    only = next(iter(inputs.values())) if len(inputs) == 1 else inputs
    return simulate(program, inputs, width, seed=2, constants=constants), only


def check_along_one_direction(run: Run) -> None:
    """All weights moved at once: the derivative of the first output is Σ_W ⟨∂f/∂W, direction⟩."""
    output = run.members(run.program.outputs[0])[0]
    grad, rng = gradient(run, output), np.random.default_rng(7)
    direction = {w: rng.standard_normal(run[w].shape) for w in run.weights}
    exact = sum((grad[w].reshape(run.samples, -1) @ d.ravel() for w, d in direction.items()), np.zeros(run.samples))
    up, down = (replay(run, {w: run[w] + e * d for w, d in direction.items()})[output] for e in (1e-6, -1e-6))
    np.testing.assert_allclose(exact, (up - down) / 2e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_shipped_specs(path: Path) -> None:
    run, _ = run_of(path.read_text("utf-8"))
    check_along_one_direction(run)
    kernels = kernels_of(run)
    for kernel in kernels.values():
        np.testing.assert_allclose(kernel, kernel.T, rtol=1e-10)
        assert np.linalg.eigvalsh(kernel).min() > -1e-9


def test_a_graph_is_a_table() -> None:
    run, x = run_of(
        """network gcn
  width n
  dim   d = 2
  index u, w in 1..3
  let   A[u, w] = [[1/2, 1/4, 0], [1, 0, 2], [0, 1/3, 1]]
  input  x[u] : [d]
  weight U : [n, d] ~ N(0, 1)
  weight V : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h[u] = sum(A[u, w] * (U @ x[w]) for w)
  g[u] = sum(A[u, w] * (V @ relu(h[w])) for w)
  output f[u] = v @ g[u]"""
    )
    A = np.array([[1 / 2, 1 / 4, 0], [1, 0, 2], [0, 1 / 3, 1]])
    h = np.einsum("uw,iwd,dn->iun", A, x, np.stack([run["U", 1], run["U", 2]]))
    f = np.einsum("uw,iwn->iun", A, np.maximum(h, 0) @ run["V"].T) @ run["v"]
    np.testing.assert_allclose(run.outputs["f"], f, rtol=1e-12)
    check_along_one_direction(run)


def test_families_of_constants_are_given_as_arrays() -> None:
    text = """network scaled
  width n
  index l in 1..3
  let   a[l]
  let   s
  input  x[l] : []
  weight u : [n] ~ N(0, s)
  weight v : [n] ~ N(0, 1/n)
  h = sum(a[l] * x[l] for l) * u
  output f = v @ h"""
    run, x = run_of(text, constants={"a": [1.0, 2.0, -1.0], "s": 2})
    np.testing.assert_allclose(run["f"], x @ [1, 2, -1] * (run["u"] @ run["v"]), rtol=1e-12)
    check_along_one_direction(run)
    with pytest.raises(DataError, match=r"`a` has no values in the spec\nhelp: give a=, an array \[3\]"):
        run_of(text, constants={"s": 2})
    with pytest.raises(DataError, match=r"`a` has shape \[2\], wanted \[3\]"):
        run_of(text, constants={"s": 2, "a": [1.0, 2.0]})


def test_strides_masks_and_two_dimensional_positions() -> None:
    run, x = run_of(
        """network pixels
  width n
  index p, q in 0..3 boundary zero
  index r in 0..1 boundary circular
  input  x[p, q] : []
  weight A[i, j] : [n] ~ N(0, 1)  for i in -1..1, j in 0..1
  weight B : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h[p, q] = sum(A[i, j] * x[p+i, q+j] for i in -1..1, j in 0..1)
  u[r] = mean(tanh(h[2*r+i, q]) for i in 0..1, q)
  g[r] = B @ u[r] + u[r+1]
  o[r] = sum(g[k] for k in 0..r)
  output f = v @ o[1]"""
    )
    padded = np.pad(x, ((0, 0), (1, 1), (0, 1)))
    taps = [(i, j) for i in (-1, 0, 1) for j in (0, 1)]
    h = sum(padded[:, 1 + i : 5 + i, j : 4 + j, None] * run["A", i, j] for i, j in taps)
    u = np.tanh(h).reshape(2, 2, 8, 6).mean(axis=2)
    g = u @ run["B"].T + u[:, ::-1]
    np.testing.assert_allclose(run["f"], g.sum(axis=1) @ run["v"], rtol=1e-12)
    check_along_one_direction(run)


def test_several_outputs_and_finite_axes() -> None:
    run, _ = run_of(
        """network heads
  width n
  width m = 2*n
  dim   d = 3
  dim   k = 2
  input  x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight W : [m, n] ~ N(0, 1/n)
  weight V : [k, m] = 1/sqrt(n) * N(0, 1), lr 2
  weight c : [k] ~ N(0, 1)
  h = tanh(U @ x)
  y = gelu(W @ h)
  output f = V @ y + c
  output norm = avg(h*h)"""
    )
    y = run["y"]
    assert y.shape == (2, 12) and run.outputs["f"].shape == (2, 2)
    V, c = (np.stack([run[name, 1], run[name, 2]]) for name in "Vc")
    np.testing.assert_allclose(run.outputs["f"], y @ V.T + c, rtol=1e-12)
    np.testing.assert_allclose(run.outputs["norm"], (run["h"] ** 2).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(kernels_of(run, ["K"], output=("f", 2))["K"], y @ y.T / 6 + 1, rtol=1e-12)
    check_along_one_direction(run)


def test_normalisations_of_the_language() -> None:
    run, x = run_of(
        """network norms
  width n
  dim   d = 2
  index i in 1..3
  input  x[i] : [d]
  weight U : [n, d] ~ N(0, 1)
  weight g : [n] ~ 1
  weight v : [n] ~ N(0, 1/n)
  h[i] = U @ x[i]
  a[i] = g * layernorm(h[i]) + rmsnorm(h[i])
  o[i] = batchnorm(h[i] over i) + silu(a[i])
  output f = v @ mean(o[i] for i)"""
    )
    h = x @ np.stack([run["U", 1], run["U", 2]])
    a = (h - h.mean(axis=2, keepdims=True)) / h.std(axis=2, keepdims=True) + h / np.sqrt((h**2).mean(axis=2, keepdims=True))
    o = (h - h.mean(axis=1, keepdims=True)) / h.std(axis=1, keepdims=True) + a / (1 + np.exp(-a))
    np.testing.assert_allclose(run["f"], o.mean(axis=1) @ run["v"], rtol=1e-10)
    check_along_one_direction(run)
