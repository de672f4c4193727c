"""Formulas and rules are the same, letter by letter, whatever order Python's sets have."""

import os
import subprocess
import sys

import tp

CODE = "import sys; sys.path[:0] = {path!r}; from test_order import written; sys.stdout.write(written())"


def written() -> str:
    net = tp.zoo("attention", T=2)
    return "\n".join(map(str, (net.program, net.ntk().closed().text(), net.ntk().latex(), net.mup("adam"))))


def test_hash_seeds_change_nothing():
    """Here seeds are random, in the other process not."""
    env = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONIOENCODING": "utf-8"}
    code = CODE.format(path=[os.path.dirname(__file__)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, timeout=600, env=env)
    here = written()
    assert len(here) > 5_000 and done.stdout == here
