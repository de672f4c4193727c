"""Machine code that is called without numba is what numba calls."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numba
import numpy as np
import pytest

import tp
from tp.kernel import bare, sizes
from tp.kernel.aside import kind, types
from tp.kernel.module import digest, load
from tp.kernel.quick import CHECKED
from tp.kernel.text import ENTRY, HEAD

pytestmark = [
    pytest.mark.skipif(not numba.__version__.startswith(CHECKED), reason="another numba keeps its files itself"),
    pytest.mark.skipif(platform.system() != "Linux", reason="object files of another form"),
]

DENSE = """network dense
  width n
  dim d = 3
  input x : [d]
  weight U : [n, d] ~ N(0, 2/d)
  weight W : [n, n] ~ N(0, 2/n)
  weight v : [n] ~ N(0, 1/n)
  h = U @ x
  g = W @ relu(h)
  output f = v @ relu(g)
"""

ODD = (
    HEAD
    + f"""

{ENTRY}def mixed(flags, table, some, many, yes, x):
    made = np.empty((many, 2))
    for k in range(many):
        made[k, 0] = math.tanh(x) if yes else math.cos(some[k])
        made[k, 1] = table[k, 1] + flags[k]
    for k in range(many):
        table[k, 0] = made[k, 0] * made[k, 1]
    return math.exp(x) * many


{ENTRY}def count(table):
    return len(table)


{ENTRY}def nothing(many):
    for k in range(many):
        pass
"""
)


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """A folder of its own, and a numba that was told nothing."""
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("NUMBA_")]:
        monkeypatch.delenv(name)
    yield tmp_path
    sys.modules.pop(f"tp_kernel_{digest(ODD)}", None)


def arguments() -> dict[str, tuple]:
    table = np.arange(12.0).reshape(6, 2)[::2]
    some = np.linspace(-1.0, 1.0, 3, dtype=np.float32)
    some.setflags(write=False)
    return {"mixed": (np.array([True, False, True]), table, some, 3, True, 0.7), "count": (table,), "nothing": (3,)}


def compiled(calls):
    module = load(ODD)
    for name, given in calls.items():
        getattr(module, name).compile(types([kind(a) for a in given]))
    return module


def kinds(calls):
    return {name: tuple(kind(a) for a in given) for name, given in calls.items()}


def test_arguments_and_results_of_all_kinds(plain, monkeypatch):
    calls, same = arguments(), arguments()
    module = compiled(calls)
    made = bare.module(ODD, kinds(calls))
    assert made is not None
    expected = {name: getattr(module, name)(*given) for name, given in calls.items()}
    monkeypatch.setattr(bare, "load", None)  # numba has no part in it
    for _ in range(2):
        assert {name: getattr(made, name)(*given) for name, given in same.items()} == expected
    assert expected["nothing"] is None and expected["count"] == 3 and calls["mixed"][1][0, 0] != 0.0
    np.testing.assert_array_equal(same["mixed"][1], calls["mixed"][1])
    flags, table, some, *_ = arguments()["mixed"]
    assert made.mixed(flags, table, some, 3, False, 0.7) == expected["mixed"]
    assert table[2, 0] == np.cos(some[2]) * (table[2, 1] + 1.0)


def test_what_is_of_another_kind_is_numbas(plain):
    calls = arguments()
    compiled(calls)
    made = bare.module(ODD, kinds(calls))
    assert made.count(np.zeros((5, 2), np.float32)) == 5
    assert bare.module(ODD, {"count": [kind(np.zeros(2))]}) is None
    flags, table, some, *rest = calls["mixed"]
    with pytest.raises(ValueError, match="negative dimensions"):
        made.mixed(flags, table, some, -1, *rest[1:])  # which numba says


def test_what_is_damaged_is_not_there(plain):
    calls = arguments()
    compiled(calls)
    (path,) = plain.glob("__pycache__/*.count.*.bare")
    whole = path.read_bytes()
    wanted = {"count": kinds(calls)["count"]}
    for damaged in (b"", whole[:20], whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"garbage" + whole):
        bare._links.clear()
        path.write_bytes(damaged)
        assert bare.module(ODD, wanted) is None
    path.write_bytes(whole)
    assert bare.module(ODD, wanted) is not None


def test_what_is_damaged_is_made_again(plain, monkeypatch):
    monkeypatch.setattr(bare, "_links", {})
    compiled(arguments())
    (path,) = plain.glob("__pycache__/*.count.*.bare")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    sys.modules.pop(f"tp_kernel_{digest(ODD)}")
    compiled(arguments())  # from numba's files
    assert path.read_bytes() == whole


def test_numbers_of_other_kinds_are_numbas(plain):
    made = compiled(arguments())
    for number in (np.int32(2), np.uint8(2)):
        made.nothing(number)
        assert bare.module(ODD, {"nothing": [kind(number)]}) is None
    found = bare.module(ODD, {"nothing": [kind(3)]})
    with pytest.raises(numba.TypingError):
        found.nothing(2j)  # which numba says


def test_for_another_machine_there_is_nothing(plain, monkeypatch):
    calls = arguments()
    compiled(calls)
    monkeypatch.setattr(bare, "machine", lambda: "another")
    assert bare.is_kept(ODD) and bare.module(ODD, kinds(calls)) is None


def test_a_numba_that_was_told_something_keeps_its_code(plain, monkeypatch):
    with monkeypatch.context() as m:
        m.setenv("NUMBA_OPT", "1")
        compiled(arguments())
        assert not [*plain.glob("__pycache__/*.bare")]
    sys.modules.pop(f"tp_kernel_{digest(ODD)}")
    compiled(arguments())  # from numba's files
    assert len([*plain.glob("__pycache__/*.bare")]) == 3 and bare.is_kept(ODD)
    (plain / ".numba_config.yaml").write_text("opt: 1\n")
    assert not bare.is_kept(ODD)


def test_a_function_that_takes_something_else_is_numbas(plain, monkeypatch):
    monkeypatch.setattr(bare, "LIBRARY", bare.LIBRARY - {"tanh"})
    compiled(arguments())
    assert not [*plain.glob("__pycache__/*.mixed.*.bare")] and [*plain.glob("__pycache__/*.count.*.bare")]


def test_kernels_are_the_same(plain):
    kernel = tp.parse(DENSE).kernel("nngp", "ntk", dtype="float32")
    given = kernel._samples(np.random.default_rng(0).normal(size=(40, 3)), "X")
    calls = kernel._needed(1600, lambda call: kernel._filled(call, few := given.few(2), few))
    assert bare.module(kernel._text, calls) is None
    for threads in (1, 2):
        one, two = given.few(40), given.few(40)
        expected, _ = kernel._filled(replace(kernel._call(1600), threads=threads), one, one)
        made = bare.module(kernel._text, calls)
        found, fine = kernel._filled(replace(kernel._call(1600, made), threads=threads), two, two)
        assert fine
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


SECOND = """
import sys
import numpy as np
import tp
from tp.kernel import bare
bare.SHORT = 0
kernel = tp.parse(%r).kernel("nngp", "ntk")
if sys.argv[1] == "compile":
    kernel.load()
X = np.sin(np.arange(60.0)).reshape(20, 3)
print(*(a.tobytes().hex() for a in (*kernel(X), *kernel.diag(X), *kernel(X, X[:5]))), "numba" in sys.modules)
"""


def test_a_second_process_does_without_numba(plain):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    found = []
    for how in ("compile", "again"):
        done = subprocess.run(
            [sys.executable, "-c", SECOND % DENSE, how], env=environment, capture_output=True, text=True, timeout=100
        )
        found.append(done.stdout.split())
        assert found[-1], done.stderr
    (*one, loaded), (*two, again) = found
    assert len(one) == 6 and one == two and (loaded, again) == ("True", "False")


def test_numba_is_loaded_once_that_was_worth_it(plain, monkeypatch):
    compiled(arguments())
    calls = kinds(arguments())
    done = partial(bare.carried_out, ODD, 10**6, lambda: calls, lambda module: 1)
    monkeypatch.setattr(bare, "_spent", {})
    assert done() is None  # it is loaded
    monkeypatch.delitem(sys.modules, "numba")
    assert done() == 1
    assert bare.carried_out("another text", 10**6, lambda: calls, lambda module: 1) is None
    monkeypatch.setattr(sizes, "FEW", 1 << 17)
    assert done() == 1
    assert bare.carried_out(ODD, 10, lambda: calls, lambda module: 1) is None  # Python is sooner done
    bare._spent[digest(ODD)] = bare.LOADING
    assert done() is None
