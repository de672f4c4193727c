"""``import tp`` costs nothing: heavy packages load when they are needed."""

import json
import subprocess
import sys

import pytest

HEAVY = ("sympy", "numba", "numpy", "lark", "matplotlib")


def loaded_after(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has after ``code``."""
    probe = f"{code}\nimport json, sys\nsys.stderr.write(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", probe], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr))


@pytest.mark.parametrize("code", ["import tp", "import tp.cli", "import tp; dir(tp)", "import tp.errors, tp.network.tree"])
def test_importing_loads_nothing_heavy(code):
    assert loaded_after(code) == set()


def test_help_loads_nothing_heavy():
    assert loaded_after("import tp.cli\ntry:\n    tp.cli.main(['derive', '--help'])\nexcept SystemExit: pass") == set()


def test_parsing_loads_neither_numpy_nor_numba():
    assert loaded_after("import tp.network.parse") <= {"lark"}


def test_deriving_does_not_load_numba():
    assert "numba" not in loaded_after("import tp.derive") | loaded_after("import tp; tp.zoo('mlp').ntk()")


def test_every_public_name_resolves():
    import tp

    for name in tp.__all__:
        assert getattr(tp, name) is not None
    assert set(tp.__all__) <= set(dir(tp))
