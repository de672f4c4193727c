"""Compiling a kernel does not load SciPy's linear algebra, and numba has it when somebody asks."""

import subprocess
import sys

PROBE = """
import sys
import numpy as np
import tp
k = tp.parse("network small\\n width n\\n dim c = 2\\n input x : [c]\\n weight U : [n, c] ~ N(0, 1/c)\\n"
             " weight v : [n] ~ N(0, 1/n)\\n output f = v @ (U @ x)\\n").kernel("nngp")
X = np.linspace(-1.0, 1.0, 8).reshape(4, 2)
k.load()
assert np.allclose(k(X), X @ X.T / 2)
print("scipy.linalg" in sys.modules)
import numba
from numba.np import arraymath, linalg
assert arraymath.ensure_blas is linalg.ensure_blas and arraymath._HAVE_BLAS
dot = numba.njit(lambda a, b: np.dot(a, b))
assert np.allclose(dot(X, X.T), X @ X.T)
print("scipy.linalg" in sys.modules)
"""


def test_linear_algebra_is_loaded_by_who_needs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROBE], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "True"]
