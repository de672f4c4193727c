"""Every number of a Z-limit, and every entry of a pair kernel, has an error that holds."""

from __future__ import annotations

import numpy as np
import pytest

import tp
from tp.limit.equations import I, Value
from tp.limit.zcalculus import pairs
from tp.limit.zcalculus.integrals import Integrals, PointsNeeded
from tp.limit.zcalculus.measured import measured
from tp.limit.zcalculus.pairs import PairKernel
from tp.program.ir import Ref

NET = """network t
  width n
  weight x : [n] ~ N(0, 1)
  weight W : [n, n] ~ N(0, 1/n)
  y = W.T @ tanh(STEEP*(W @ x))
  z = W.T @ ACT(W @ tanh(y) + W @ x)
  output f = avg(x*z)
  output g = avg(z*tanh(x))
"""


def net(act: str, steep: float = 1) -> tp.Net:
    return tp.parse(NET.replace("ACT", act).replace("STEEP", str(steep)))


@pytest.mark.parametrize(("act", "steep"), [("tanh", 3), ("erf", 1), ("relu", 1)])
def test_numbers_agree_with_nodes_and_points_within_their_errors(act: str, steep: float) -> None:
    limit = net(act, steep).z()
    found, points = limit.numbers(), limit.numbers(method="sobol", seed=3)
    nodes = net(act, steep).moments()
    assert set(found) == set(points) == set(found.errors)
    assert points.method == "sobol"
    for name in found:
        assert abs(found[name] - points[name]) <= 4 * found.errors[name] + 6 * points.errors[name] + 1e-12
    for output in ("f", "g"):
        name = Value("theta", Ref(output), I)
        assert abs(found[name] - nodes[output].item()) <= 4 * (found.errors[name] + nodes.errors[output].item())


def test_a_tolerance_is_met_or_refused() -> None:
    limit = net("tanh").z()
    rough = limit.numbers(method="sobol", tol=5e-3)
    assert 2 * max(rough.errors.values()) <= 5e-3
    with pytest.raises(tp.LimitError, match="can be reached"):
        limit.numbers(method="sobol", tol=1e-9)
    with pytest.raises(tp.DataError, match="unknown method"):
        limit.numbers(method="magic")


def test_the_same_seed_gives_the_same_numbers() -> None:
    limit = net("tanh").z()
    a, b, c = (dict(limit.numbers(method="sobol", seed=s)) for s in (1, 1, 2))
    assert a == b
    assert a != c


@pytest.mark.usefixtures("quick")
def test_errors_of_pairs_cover_compiled_kernels() -> None:
    hopfield = tp.zoo("hopfield")
    X = np.random.default_rng(0).standard_normal((2, 4))
    slow, exact = PairKernel(hopfield.ntk(), ("K", "Theta")), hopfield.kernel("nngp", "ntk")(X)
    for method, times in (("auto", 1), ("sobol", 6)):
        measured = slow.measured(X, method=method, seed=1)
        assert slow.statistical == (method == "sobol")
        for found, one in zip(measured, exact, strict=True):
            assert found.values.shape == found.errors.shape == (2, 2)
            assert (np.abs(found.values - one) <= times * found.errors + 1e-11).all()
    slow.diag(X)
    assert not slow.statistical


@pytest.mark.usefixtures("quick")
def test_pairs_are_within_their_bound_or_refused(monkeypatch, tmp_path) -> None:
    text = """network t
  width n
  dim d = 2
  input x : [d]
  weight U : [n, d] ~ N(0, 1)
  weight W : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  output f = v @ tanh(W.T @ tanh(W @ tanh(U @ x)))
"""
    kernel = tp.parse(text).kernel("nngp")
    X = np.array([[20.0, 1.0], [1.0, -30.0]])
    (rough,) = kernel.measured(X)
    assert "error 1e-03" in repr(kernel) and rough.errors.max() < kernel.bound * rough.values.max() / 2
    np.testing.assert_array_equal(kernel(X), rough.values)
    assert kernel.statistical and rough.method == "sobol"
    np.testing.assert_array_equal(kernel.gram(X, out=tmp_path / "K.npy")["nngp"], rough.values)
    assert kernel.statistical
    monkeypatch.setattr(pairs, "BOUND", rough.errors.max() / rough.values.max())
    better = kernel(X)
    assert 0 < np.abs(better - rough.values).max() < 4 * rough.errors.max()
    monkeypatch.setattr(pairs, "BOUND", 1e-8)
    with pytest.raises(tp.LimitError, match="points would be too many"):
        kernel(X)


def test_points_beside_a_grid_leave_the_error_of_the_grid() -> None:
    """Expectations that have a grid are the same in all scramblings: what is wrong with them shows on a coarser one."""

    def run(way: Integrals) -> np.ndarray:
        if way.probing:
            raise PointsNeeded
        return np.array([1.0 + 0.01 * way.coarse, 2.0 + 0.001 * way.seed[1]])

    found = measured(run)
    assert found.method == "sobol"
    np.testing.assert_allclose(found.errors, [0.01, np.std(0.001 * np.arange(8), ddof=1) / np.sqrt(8)])


def test_pairs_together_are_pairs_one_by_one() -> None:
    hopfield = tp.zoo("hopfield")
    X = np.random.default_rng(1).standard_normal((4, 4))
    X[3] = X[0]
    kernel = PairKernel(hopfield.ntk(), ("Theta",))
    whole = kernel(X)
    for i in range(4):
        for j in range(4):
            assert kernel(X[i : i + 1], X[j : j + 1])[0, 0] == pytest.approx(whole[i, j], abs=1e-9)


def test_points_are_refused_where_a_grid_is_asked_for() -> None:
    import sympy as sp

    from tp.gaussian.expectation import Expectation
    from tp.gaussian.functions import relu

    u = sp.symbols("u1:5", real=True)
    e = Expectation(relu(sum(u)) * sp.Mul(*map(relu, u)), u, sp.eye(4).tolist())
    with pytest.raises(tp.LimitError, match="no grid"):
        Integrals("grid").value(e, {}, 1)
