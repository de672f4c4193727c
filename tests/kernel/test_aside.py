"""Functions compiled in other processes are those that are compiled here; where such a process fails, they still are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import tp
from tp.kernel import aside
from tp.kernel.build import build
from tp.kernel.disk.lock import locked
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
    monkeypatch.setattr(aside, "idle", lambda: 1)
    if fails:
        monkeypatch.setattr(aside, "START_UP", "raise SystemExit(1)")
        monkeypatch.setattr(aside, "START", -1 << 20)  # a process is started for all
    else:
        monkeypatch.setattr(aside, "LOADING", 1 << 20)  # the process that is there gets all
        started_ahead(monkeypatch)
    limit = tp.parse(SPEC.replace("VARIANCE", "2" if fails else "3")).ntk()
    ours, alone = build(limit, threads=2, progress=False), build(limit, threads=1, progress=False)
    monkeypatch.delitem(sys.modules, f"tp_kernel_{digest(ours.source)}", raising=False)
    K, Theta = ours(X)
    np.testing.assert_allclose(K, (2 if fails else 3) * X @ X.T / 2, rtol=1e-14)
    functions = [getattr(ours._module, name) for name in ours.compiled.functions if name != "exact"]
    assert {sum(f.stats.cache_hits.values()) > 0 for f in functions} == {not fails}
    for one, other in zip((K, Theta), alone(X), strict=True):
        np.testing.assert_array_equal(one, other)


def test_where_no_process_can_be_started_all_is_compiled_here(tmp_path, monkeypatch):
    def none(*_, **__):
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(aside, "idle", lambda: 2)
    monkeypatch.setattr(aside, "START", -1 << 20)
    monkeypatch.setattr(subprocess, "Popen", none)
    with monkeypatch.context() as m:
        m.delitem(sys.modules, "numba", raising=False)
        aside.start_ahead()
    assert not aside._ahead
    made = build(tp.parse(SPEC.replace("VARIANCE", "5")).ntk(), threads=3, progress=False)
    made.load()
    np.testing.assert_allclose(made(X)[0], 5 * X @ X.T / 2, rtol=1e-14)


def started_ahead(monkeypatch):
    with monkeypatch.context() as m:
        m.delitem(sys.modules, "numba", raising=False)
        aside.start_ahead()
        aside.start_ahead()  # one is enough
    (helper,) = aside._ahead
    assert helper.waits()
    return helper


def test_no_process_is_started_ahead_in_vain(monkeypatch):
    with monkeypatch.context() as m:
        m.delitem(sys.modules, "numba", raising=False)
        m.setattr(aside, "idle", lambda: 0)
        aside.start_ahead()
        m.setattr(aside, "idle", lambda: 1)
        m.setenv("NUMBA_DISABLE_JIT", "1")
        aside.start_ahead()
    import numba  # noqa: F401  there is nothing left to load ahead

    monkeypatch.setattr(aside, "idle", lambda: 1)
    aside.start_ahead()
    assert aside._ahead == []


def test_a_process_that_is_gone_is_not_waited_for(monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("open('imported', 'w')")  # of a stranger, where the process starts
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(aside, "START_UP", "import json")
    monkeypatch.setattr(aside, "idle", lambda: 1)
    helper = started_ahead(monkeypatch)
    helper.wait()
    assert not helper.waits() and not (tmp_path / "imported").exists()
    helper.give("", {})  # says nothing
    helper.end()
    assert aside._taken() == [helper] and aside._ahead == []


ENDS_FIRST = """
import tp
from tp.kernel import aside
aside.idle = lambda: 1
aside.START_UP = "import os; os.nice = lambda by: None" + aside.START_UP  # else it waits for all other tests
kernel = tp.parse(%r).kernel("nngp")
kernel([[1.0, 2.0]])
print(kernel._text in aside._behind)
"""


def test_what_nobody_waits_for_outlives_its_process(tmp_path):
    code, environment = ENDS_FIRST % SPEC.replace("VARIANCE", "2"), os.environ | {"TP_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600)
    assert done.stdout == "True\n", done.stderr
    end = time.monotonic() + aside.LONGEST
    while not (compiled := [*tmp_path.glob("__pycache__/*.pairs-*.nbc")]) and time.monotonic() < end:
        time.sleep(0.05)
    assert compiled


def test_what_nobody_waits_for_is_compiled_by_one(monkeypatch, tmp_path):
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    done = []
    monkeypatch.setattr(aside, "work", lambda text, calls: done.append(text))
    place = tmp_path / f"tp_kernel_{digest('text')}.lock"
    with locked(place, "text"):
        aside.work_behind("text", {})
    assert done == []
    aside.work_behind("text", {})
    assert done == ["text"] and not place.exists()


def test_work_is_dealt_to_who_has_least():
    text = "def a(x):\n    return x\ndef b(x):\n    return x * x * x * x\n"
    assert aside._dealt(text, ["a", "b"], [0, 0]) == [["b"], ["a"]]
    assert aside._dealt(text, ["a", "b"], [10**4, 0]) == [[], ["b", "a"]]


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_kinds_are_numbas_types(dtype, readonly):
    from numba import typeof

    whole = np.zeros((3, 4, 5), dtype)
    whole.setflags(write=not readonly)
    for array in (whole, whole.T, whole[:, 1:2], whole[0, 0], whole[..., 0], whole[:, :, ::2], whole[:0]):
        assert aside.types([aside.kind(array)]) == (typeof(array),)
        assert aside.types(json.loads(json.dumps([aside.kind(array)]))) == (typeof(array),)


@pytest.mark.parametrize("number", [3, 2.5, True, np.float32(1), np.int64(2), np.True_])
def test_kinds_of_numbers(number):
    from numba import typeof

    assert aside.types([aside.kind(number)]) == (typeof(number),)


def test_functions_are_dealt_by_length():
    text = "def a(x):\n    return x\ndef b(x):\n    return a(a(a(x)))\ndef c(x):\n    return b(x)\n"
    text += "def d(x):\n    return x * x * x * x * x\n"
    work = aside._lengths(text)
    assert work["c"] > work["b"] > work["a"] and work["d"] > work["a"]
    assert aside._dealt(text, ["a", "b", "c", "d"], [0]) == [["c", "b", "d", "a"]]
    assert aside._dealt(text, ["c", "d"], [0, aside.START]) == [["c", "d"], []]  # too little to start a process for


def test_a_rehearsal_names_what_is_called():
    limit = tp.parse(SPEC.replace("VARIANCE", "2")).ntk()
    k = build(limit, threads=2, progress=False)
    found = {}
    for name, calls in {"one side": (X, None), "two sides": (X[:2], X[2:])}.items():
        recorder = aside.Recorder()
        sides = [k._samples(x, "X") for x in calls if x is not None]
        k._filled(k._call(module=recorder), sides[0], sides[-1])
        found[name] = set(recorder.calls)
    assert found["two sides"] == found["one side"] == {"sites", "pairs"}  # what is exact only in part is not needed yet


def test_a_rehearsal_may_call_images_hard():
    for hard in (True, False):
        recorder, seen = aside.Recorder(hard=hard), np.zeros(3, np.int64)
        recorder.rows(seen, seen, seen, False, seen[:2])
        assert seen.tolist() == [int(hard), int(hard), 0]


def test_conditions_that_mean_the_same_are_asked_once():
    """Positions t and s of one sample coincide where t - 1 and s - 1 do."""
    (diagonal,) = (f for f in tp.zoo("rnn").kernel("ntk").source.split("\n\n\n") if "def diagonal(" in f)
    assert diagonal.count(" if ") == 2 and diagonal.count("else:") == 1  # the other one is how many samples are left
