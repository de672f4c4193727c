"""A call of few samples needs no compiler, and gives what compiled functions give."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

import tp
from tp.errors import LimitError
from tp.gaussian import hermite
from tp.kernel import aside, kernel, linewise, uncompiled
from tp.kernel.module import is_compiled

SPEC = """network small
  width n
  dim c = 3
  input x : [c]
  weight U : [n, c] ~ N(0, 1/c)
  weight v : [n] ~ N(0, 1/n)
  output f = v @ PHI(U @ x)
"""
X = np.random.default_rng(0).standard_normal((4, 3))


@pytest.fixture(autouse=True)
def few(monkeypatch, tmp_path, compiled_at_once):
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("tp.kernel.sizes.FEW", 100)
    monkeypatch.setattr(uncompiled, "_spent", {})
    monkeypatch.setattr(aside, "_may_start", lambda: False)
    for name in [n for n in sys.modules if n.startswith("tp_kernel_")]:  # of other tests, on the same network
        monkeypatch.delitem(sys.modules, name)


def forbidden(*_):
    raise AssertionError


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_few_samples_are_not_compiled(dtype, monkeypatch):
    monkeypatch.setattr(kernel, "load", forbidden)
    monkeypatch.setattr(kernel, "compile_aside", forbidden)
    k = tp.parse(SPEC.replace("PHI", "relu")).kernel("nngp", dtype=dtype)
    K = k(X, X[:3])
    size = np.sqrt(np.outer((X**2).sum(1), (X[:3] ** 2).sum(1)))
    angle = np.arccos(np.clip(X @ X[:3].T / size, -1, 1))
    expected = size / 3 * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    np.testing.assert_allclose(K, expected, rtol=1e-12 if dtype == "float64" else 2e-6)
    np.testing.assert_array_equal(k.diag(X[:3]), np.diag(k(X[:3])))
    with pytest.raises(AssertionError):
        k(np.tile(X, (100, 1)))  # more than a few


def test_series_are_those_of_compiled_functions(monkeypatch):
    text = SPEC.replace("PHI", "tanh")
    ours = tp.parse(text).kernel("nngp")(X)
    z, w = np.polynomial.hermite_e.hermegauss(60)
    w = w / w.sum()
    S = X @ X.T / 3
    for i, j in ((0, 1), (2, 3), (1, 1)):
        slope, rest = S[i, j] / S[i, i], S[j, j] - S[i, j] ** 2 / S[i, i]
        u = math.sqrt(S[i, i]) * z[:, None]
        v = slope * u + math.sqrt(max(rest, 0.0)) * z
        assert ours[i, j] == pytest.approx(w @ (np.tanh(u) * np.tanh(v)) @ w, rel=1e-7)


def test_projections_are_those_of_the_loops():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((4, 33))
    ours, theirs = np.zeros(12), np.zeros(12)
    square = linewise.project(rows, 3, ours, 1, 9)
    assert square == pytest.approx(hermite.project(rows, 3, theirs, 1, 9), rel=1e-13)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    assert not ours[[0, 10, 11]].any()


def test_what_takes_long_is_compiled(monkeypatch):
    monkeypatch.setattr(uncompiled, "COMPILING", 1e-9)
    monkeypatch.setattr(uncompiled, "COMPILED", math.inf)
    k = tp.parse(SPEC.replace("PHI", "relu")).kernel("nngp")
    assert not is_compiled(k._text) and k._soon(16, lambda call: forbidden) is not None
    assert k._soon(16, forbidden) is None  # all patience is spent


def test_pairs_that_are_many_when_compiled_are_not_here(monkeypatch):
    monkeypatch.setattr("tp.kernel.sizes.MANY", 4)
    seen = []
    tp.parse(SPEC.replace("PHI", "relu")).kernel("nngp")._soon(16, lambda call: seen.append(call.pairs))
    assert seen == ["pairs"]


def test_late_is_noticed_in_loops():
    text = "def f(n):\n    for i in range(n):\n        pass\n    return 1.0 / n\n"
    assert uncompiled.module(text).f(2) == 0.5
    with pytest.raises(uncompiled.Late):
        uncompiled.module(text, 0.0).f(1)
    assert uncompiled.carried_out(text, 1, lambda m: m.f(4)) == 0.25
    assert uncompiled.carried_out(text, 1, lambda m: m.f(0)) is None  # a processor has a number there
    with pytest.raises(LimitError):
        uncompiled.carried_out(text, 1, lambda m: wrong())


def wrong():
    from tp.errors import NOWHERE, Message

    raise LimitError(Message(NOWHERE, "no", "", "no"))


@pytest.mark.parametrize(
    "number", ["math.log(x)", "x ** 0.5", "1.0 / (x + 1.0)", "int(x if x > 0.0 else math.nan)", "math.exp(-1e4 * x)"]
)
def test_what_is_no_number_in_python_is_left_to_a_processor(number):
    text = f"def f(x):\n    return {number}\n"
    assert uncompiled.carried_out(text, 1, lambda m: m.f(2.0)) is not None
    assert uncompiled.carried_out(text, 1, lambda m: m.f(-1.0)) is None


@pytest.mark.parametrize("mistake", ["x[0]", "len(x)", "range(x + 0.5)", "y", "np.zeros((2, 3)) + np.zeros(4)"])
def test_mistakes_are_not_taken_for_missing_numbers(mistake):
    text = f"def f(x):\n    return {mistake}\n"
    with pytest.raises((TypeError, ValueError, NameError)):
        uncompiled.carried_out(text, 1, lambda m: m.f(1.0))


def test_a_module_that_is_loaded_is_taken(monkeypatch):
    k = tp.parse(SPEC.replace("PHI", "abs")).kernel("nngp")
    monkeypatch.setattr(uncompiled, "module", forbidden)
    with pytest.raises(AssertionError):
        k._soon(4, lambda call: 1)
    k.load()
    assert k._soon(4, lambda call: 1) is None
    another = replace(k)
    assert another._soon(4, lambda call: 1) is None
    monkeypatch.delitem(sys.modules, "numba")
    with pytest.raises(AssertionError):  # compiled, but numba would have to be loaded
        uncompiled._spent.clear()
        another._soon(4, lambda call: 1)


def test_functions_are_compiled_behind(monkeypatch):
    given = []

    class Helper:
        def waits(self):
            return True

        def give(self, text, calls, waited):
            given.append((text, sorted(calls)))
            assert not waited

        def wait(self):
            given.append("waited for")

        def end(self):
            given.append("ended")

    monkeypatch.setattr(aside, "_ahead", [Helper()])
    monkeypatch.setattr(aside, "_behind", {})
    k = tp.parse(SPEC.replace("PHI", "relu")).kernel("nngp")
    k(X)
    assert given == [(k._text, ["pairs", "sites"])] and list(aside._behind) == [k._text] and not aside._ahead
    aside.compile_aside(k._text, {}, 2)
    assert given[1:] == ["waited for", "ended"] and not aside._behind
