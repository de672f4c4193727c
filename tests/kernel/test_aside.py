"""Functions compiled in other processes are those that are compiled here; where such a process fails, they still are."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tp
from tp.kernel import aside
from tp.kernel.build import build
from tp.kernel.module import digest

SPEC = """network small
  width n
  dim c = 2
  input x : [c]
  weight U : [n, c] ~ N(0, 1/c)
  weight W : [n, n] ~ N(0, VARIANCE/n)
  weight v : [n] ~ N(0, 1/n)
  output f = v @ (W @ (U @ x))
"""
X = np.linspace(-1.0, 1.0, 8).reshape(4, 2)


@pytest.mark.parametrize("fails", [False, True])
def test_functions_are_compiled_side_by_side(fails, tmp_path, monkeypatch):
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(aside, "START", -1 << 20)  # the other process gets all
    monkeypatch.setattr(aside, "idle", lambda: 1)
    if fails:
        monkeypatch.setattr(aside, "START_UP", "raise SystemExit(1)")
    limit = tp.parse(SPEC.replace("VARIANCE", "2" if fails else "3")).ntk()
    ours, alone = build(limit, threads=2, progress=False), build(limit, threads=1, progress=False)
    monkeypatch.delitem(sys.modules, f"tp_kernel_{digest(ours.source)}", raising=False)
    K, Theta = ours(X)
    np.testing.assert_allclose(K, (2 if fails else 3) * X @ X.T / 2, rtol=1e-14)
    functions = [getattr(ours._module, name) for name in ours.compiled.functions if name != "exact"]
    assert {sum(f.stats.cache_hits.values()) > 0 for f in functions} == {not fails}
    for one, other in zip((K, Theta), alone(X), strict=True):
        np.testing.assert_array_equal(one, other)


def test_functions_are_dealt_by_length():
    text = "def a(x):\n    return x\ndef b(x):\n    return a(a(a(x)))\ndef c(x):\n    return b(x)\n"
    text += "def d(x):\n    return x * x * x * x * x\n"
    work = aside._lengths(text)
    assert work["c"] > work["b"] > work["a"] and work["d"] > work["a"]
    assert aside._dealt(text, ["a", "b", "c", "d"], 1) == [["c", "b", "d", "a"]]
    assert aside._dealt(text, ["c", "d"], 2) == [["c", "d"], []]  # too little to start a process for


def test_a_rehearsal_names_what_is_called():
    limit = tp.parse(SPEC.replace("VARIANCE", "2")).ntk()
    k = build(limit, threads=2, progress=False)
    found = {}
    for name, calls in {"one side": (X, None), "two sides": (X[:2], X[2:])}.items():
        recorder = aside.Recorder()
        vars(k)["_module"] = recorder
        sides = [k._samples(x, "X") for x in calls if x is not None]
        k._filled(k._call(), sides[0], sides[-1])
        found[name] = set(recorder.calls)
    assert found["two sides"] == found["one side"] == {"sites", "pairs"}  # what is exact only in part is not needed yet
    for signature in recorder.calls.values():
        assert all(aside._read(aside._written(t)) == t for t in signature)
