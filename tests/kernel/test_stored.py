"""Plans on disk: they come back as they were, and what is not exactly one is none."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

import tp
from tp.kernel import language, stored
from tp.kernel.build import planned
from tp.kernel.plan import Axis, Compiled, Constant, Input, Key, Root
from tp.kernel.text import HEAD, HELPER

FIRST = """
import sys
import numpy as np
import tp
net = tp.parse(sys.argv[1], c=2)
k = net.kernel("nngp", "ntk")
late = {m for m in ("sympy", "lark", "scipy.linalg") if m in sys.modules}
X = np.linspace(-1, 1, 6).reshape(3, 2)
K, T = k(X)
late |= {m for m in ("sympy", "lark", "scipy.linalg") if m in sys.modules}
print(K.tobytes().hex(), T.tobytes().hex(), *sorted(late))
print(repr(k), net.ntk().latex()[:0], net.network.name)
"""
SPEC = """network small
  width n
  dim c = 1
  input x : [c]
  weight U : [n, c] ~ N(0, 1/c)
  weight v : [n] ~ N(0, 1/n)
  output f = v @ relu(U @ x)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    return tmp_path


def text() -> str:
    return HEAD + f"\n\n\n{HELPER}def half(x):\n    return 0.5 * x\n"


def plan(module: str | None = None) -> Compiled:
    """One of everything."""
    axes = (Axis(-1, 3), Axis(0, 2, "zero"))
    return Compiled(
        network="φ",
        data={"x": (3, 2), "y": ()},
        power="0",
        kinds=("K",),
        text=module or text(),
        integers=(1, -(1 << 62)),
        floats=(0.1, -0.0, float("inf"), 5e-324),
        functions={"sites": ("a", "b"), "pairs": ()},
        inputs={"g": Input(Key("Gram", "x", "x", True), ((0, 1),), axes)},
        sites={"s": axes},
        outputs=("out1",),
        out_tables={"out1": ()},
        crossed=True,
        constants={"const_A": Constant((2, 1), (0.5, 2.0))},
        coefficients={"coef1": axes},
        arguments={"coef1": 2},
        lengths={"coef1": "coef1"},
        blocks={"coef1": 3},
        roots={"s_root1": Root("s", 1.0, 1e-5, -0.5)},
        bound=1e-13,
        double=False,
        rules=("closed forms",),
        lanes={"sites": 4},
    )


def file_of(folder, made: Compiled) -> bytes:
    stored.remember("key", "spec", made)
    return (folder / "tp_plan_key.json").read_bytes()


def test_a_second_process_derives_nothing_and_gets_the_same_bits(tmp_path):
    environment = os.environ | {"TP_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run([sys.executable, "-c", FIRST, SPEC], env=environment, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    first, again = (r.splitlines() for r in runs)
    assert first[0].split()[:2] == again[0].split()[:2] and first[1:] == again[1:]
    assert {"sympy", "lark"} <= set(first[0].split()) and len(again[0].split()) == 2


def test_plans_come_back_as_they_were(folder):
    made = plan()
    file_of(folder, made)
    assert stored.recall("key") == made and stored.known("spec")
    assert np.signbit(stored.recall("key").floats[1])
    assert stored.recall("other") is None and not stored.known("other") and not stored.known(None)


@pytest.mark.parametrize("name", ["mlp", "gcn", "linear_mup"])
def test_plans_of_networks_come_back(name, folder):
    made = planned(tp.zoo(name).ntk(), ("K", "Theta"), {})
    stored.remember("key", "spec", made)
    assert stored.recall("key") == made


def test_damaged_files_are_no_plans(folder):
    data, rng = file_of(folder, plan()), random.Random(0)
    path = folder / "tp_plan_key.json"
    for _ in range(300):
        broken = bytearray(data)
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                broken[at] ^= 1 << rng.randrange(8)
            case 1:
                del broken[at:]
            case 2:
                broken[at:at] = rng.randbytes(3)
        if bytes(broken) == data or json.loads(data) == _json(broken):
            continue
        path.write_bytes(broken)
        assert stored.recall("key") is None
    for broken in (b"", b"[" * 100_000, b"null", b'{"sum": 1, "plan": {}}', b"\xff" * 40):
        path.write_bytes(broken)
        assert stored.recall("key") is None


def _json(data: bytes):
    try:
        return json.loads(bytes(data))
    except ValueError:
        return None


def test_fields_of_other_kinds_are_no_plan(folder):
    """With a sum that agrees: what a stranger may write."""
    whole = json.loads(file_of(folder, plan()))["plan"]

    def is_plan(changed) -> bool:
        data = json.dumps({"sum": stored._sum(changed), "plan": changed}).encode()
        try:
            return isinstance(stored.restored(data), Compiled)
        except ValueError:
            return False

    assert is_plan(whole)
    for name, value in whole.items():
        assert not is_plan({k: v for k, v in whole.items() if k != name})
        for other in (None, 1.5, "zz", True, [None], {"a": None}, [[1.0]]):
            if type(other) is not type(value):
                assert not is_plan({**whole, name: other}), name
    assert not is_plan({**whole, "more": 1})
    assert not is_plan({**whole, "integers": [1.5]}) and not is_plan({**whole, "integers": [True]})
    assert not is_plan({**whole, "text": "../../etc/passwd"})
    assert not is_plan({**whole, "inputs": {"g": {**whole["inputs"]["g"], "tied": [[0, 1, 2]]}}})


def test_a_module_that_was_changed_is_not_taken(folder):
    made = plan()
    data = file_of(folder, made)
    (module,) = folder.glob("tp_kernel_*.py")
    module.write_text(made.text + "import os\n")
    assert stored.recall("key") is None
    evil = plan(made.text + "\n\n\nimport os\n")  # under its right name, with a right sum
    stored.remember("key", "spec", evil)
    assert (folder / "tp_plan_key.json").read_bytes() != data and stored.recall("key") is None


def test_names_tell_apart_what_is_asked_for():
    lets = [{}, {"L": 2}, {"L": 2.0}, {"L": Fraction(5, 2)}, {"L": None}, {"L": "2"}, {"L": True}, {"M": 2}, {"L": [1, 2]}]
    keys = [stored.spec_key("a", given) for given in lets] + [stored.spec_key("b", {})]
    assert len(set(keys)) == len(keys) and None not in keys
    assert stored.spec_key("a", {"L": np.ones(2)}) is None and stored.plan_key(None, "K") is None
    plans = [stored.plan_key("s", *asked) for asked in (("K",), ("Theta",), ("K", None), ("K", {"s": 1}), ("K", {"s": 2}))]
    assert len(set(plans)) == 5


def test_a_wrong_spec_is_reported_when_it_is_loaded(folder):
    with pytest.raises(tp.SpecError):
        tp.parse(SPEC.replace("relu", "rellu"))
    assert not list(folder.iterdir())


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "cache_folder", lambda: tmp_path / "none")
    stored.remember("key", "spec", plan())
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------ the language of modules


@pytest.mark.parametrize("name", ["mlp", "rnn", "gcn", "cnn1d"])
def test_generated_modules_are_within_their_language(name):
    assert language.within(planned(tp.zoo(name).nngp(), ("K",), {}).text)


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "x = open('a')",
        "x = a.__class__",
        "x = np.load(a)",
        "x = math.__loader__",
        "x = __builtins__",
        "x = eval(a)",
        "x = eval",
        "x = print(a)",
        "x = (lambda: 1)()",
        "x = [y for y in a]",
        "x = 'text'",
        "x = f'{a}'",
        "global g",
        "def g(): pass",
        "class g: pass",
        "with a: pass",
        "del a",
        "raise a",
        "(x := a)",
        "a.shape = 3",
        "math = a",
        "x = half(*a)",
        "x = half(x=a)",
        "x = a.shape(1)",
        "yield a",
        "np.empty = a",
    ],
)
def test_other_lines_are_not(line):
    assert language.within(text()) and not language.within(text() + f"    {line}\n")


@pytest.mark.parametrize(
    "end",
    [
        "half(1.0)\n",
        "x = 1\n",
        "def g(x):\n    return x\n",
        "@njit\ndef g(x):\n    return x\n",
        HELPER + "def g(x=half(1)):\n    return x\n",
        HELPER + "def g(*x):\n    return x\n",
        HELPER + "def g(x: half):\n    return x\n",
        HELPER + "def range(x):\n    return x\n",
        HELPER + "async def g(x):\n    return x\n",
        "@half\n" + HELPER + "def g(x):\n    return x\n",
        "if True:\n    pass\n",
        "def",
    ],
)
def test_nor_are_other_modules(end):
    assert not language.within(text() + "\n\n" + end) and not language.within(text()[1:])
