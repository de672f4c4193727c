"""Kernels as users call them: compiled."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tp
from tests.kernel.plain import data, kernel
from tests.kernel.specs import mlp
from tp.kernel.reference import reference

CASES = {c["name"]: c for c in json.loads((Path(__file__).parent / "data" / "mlp.json").read_text())}


@pytest.fixture(scope="module")
def relu():
    return kernel(mlp())


def test_compiled_values_are_those_of_the_equations(relu):
    k, limit = relu
    X, Y = data(limit, 30), data(limit, 7, seed=1)
    for ours, theirs in zip(k(X, Y), reference(limit, X, Y), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_published_depth_three_network():
    case = CASES["mlp_relu_depth3"]
    text = (
        mlp(sw2="1.96", sb2="0.01")
        .replace("d = 3", "d = 10")
        .replace("v : [n] ~ N(0, 1/n)", "v : [n] ~ N(0, 1.96/n)\n  weight c : [] ~ N(0, 0.01)")
    )
    k, _ = kernel(text.replace("output f = v @ relu(h[L])", "output f = v @ relu(h[L]) + c"))
    x1, x2 = np.array(case["x1"]), np.array(case["x2"])
    for kind, ours in zip(("nngp", "ntk"), k(x1, x2), strict=True):
        np.testing.assert_allclose(ours, case[f"{kind}_x1_x2"], rtol=1e-11)


def test_threads_and_blocks_do_not_change_a_bit(relu, monkeypatch):
    k, limit = relu
    X = data(limit, 40)
    whole = k(X)[1]
    k.threads = 2
    monkeypatch.setattr("tp.kernel.sizes.BLOCK", 50)
    monkeypatch.setattr("tp.kernel.sizes.CACHE", 60)
    np.testing.assert_allclose(k(X)[1], whole, rtol=1e-14)
    np.testing.assert_array_equal(k(X)[1], k(X)[1].T)
    k.threads = 1


def test_equal_samples_are_one_sample(relu):
    k, limit = relu
    X = data(limit, 6) * np.pi
    X[3] = X[1]
    square, crossed = k(X)[1], k(X, X[::-1].copy())[1]
    assert square[1, 3] == square[1, 1] == square[3, 3]
    np.testing.assert_array_equal(crossed[:, ::-1].diagonal(), square.diagonal())
    np.testing.assert_allclose(crossed[:, ::-1], square, rtol=1e-13)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e140])
def test_without_bias_relu_kernels_are_homogeneous(scale):
    k, limit = kernel(mlp(sb2="0"))
    X = data(limit, 4)
    np.testing.assert_allclose(k(X * scale)[1], k(X)[1] * scale**2, rtol=1e-12)


def test_a_zero_input(relu):
    k, limit = relu
    X = data(limit, 3)
    X[0] = 0.0
    assert np.isfinite(k(X)[0]).all()
    bare = kernel(mlp(sb2="0"))[0]
    assert (bare(X)[1][0] == 0.0).all()


def test_opposite_and_nearly_equal_inputs():
    """Relative error near ρ = −1 and ρ = 1, where textbook formulas lose half the digits."""
    k, _ = kernel(mlp(L=1, sb2="0"))
    for angle in (1e-3, 1e-5):
        X = np.array([[1.0, 0.0, 0.0]])
        for at in (angle, np.pi - angle):
            Y = np.array([[np.cos(at), np.sin(at), 0.0]])
            rho, psi = Y[0, 0], np.pi - at
            want = (np.sin(at) + psi * np.cos(at)) / (2 * np.pi) if at < 1 else psi**3 / 3 * (1 - psi**2 / 10) / (2 * np.pi)
            got = k(X, Y)[0][0, 0] / (2 / 3)
            assert got == pytest.approx(want, rel=1e-7 if at > 1 else 1e-12), rho


def test_single_precision(relu):
    k, limit = relu
    X = data(limit, 20)
    small = kernel(mlp(), dtype="float32")[0]
    for low, high in zip(small(X), k(X), strict=True):
        assert low.dtype == np.float32
        np.testing.assert_allclose(low, high, rtol=2e-5)
    assert k.bound < 1e-12 < 1e-7 < small.bound < 1e-5
    np.testing.assert_array_equal(np.diag(small(X)[1]), small.diag(X)[1])


@pytest.mark.usefixtures("quick")
def test_activations_without_closed_form_state_their_error():
    k, limit = kernel(mlp(phi="tanh", L=2))
    X = data(limit, 3)
    assert 0 < k.bound <= 1e-10
    for ours, theirs in zip(k(X), reference(limit, X), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_one_kind_is_an_array_and_several_a_tuple(relu):
    k, limit = kernel(mlp(), ("Theta",))
    X = data(limit, 5)
    np.testing.assert_allclose(k(X), relu[0](X)[1], rtol=1e-14)
    assert k.diag(X).shape == (5,)


def test_a_kernel_travels(relu):
    k, limit = relu
    X = data(limit, 4)
    again = pickle.loads(pickle.dumps(k))
    np.testing.assert_array_equal(again(X)[1], k(X)[1])


def test_importing_the_library_loads_no_kernel():
    code = "import sys, tp; import tp.derive; assert not {m for m in sys.modules if m.startswith(('tp.kernel', 'numba'))}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("power", "told"), [("(((h^100 + 1)^100 + 1)^100)", "2,000,000"), ("(h + h^2 + h^99)^100", "19,800")])
def test_towers_of_powers_are_refused_before_they_are_multiplied_out(power, told):
    text = "network n\nwidth n\ninput x : []\nweight u : [n] ~ N(0, 1)\nweight v : [n] ~ N(0, 1/n)\nh = u*x\n"
    with pytest.raises(tp.LimitError, match=rf":7:12: too large(.|\n)*degree {told}"):
        tp.parse(f"{text}output f = v @ {power}\n").kernel("nngp")
