"""What all tests share: golden files, and kernels without a compiler for what need not be fast.

``pytest --regenerate`` rewrites the golden files, to be reviewed as a diff; ``pytest --compiled`` compiles kernels also where
their text as plain Python would do.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker per core already: threads of BLAS would only get into each other's way
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="rewrite the golden files from what the code gives now")
    parser.addoption("--compiled", action="store_true", help="compile kernels where plain Python would do")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """``golden(path, text)``: the file at ``path`` holds exactly ``text``."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--regenerate"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden file {path.name}; make it with --regenerate"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels run their generated text in plain Python."""
    monkeypatch.setattr("tp.kernel.kernel.load", plain_module)
    monkeypatch.setattr("tp.kernel.kernel.compile_aside", lambda text, calls, processes: None)


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> None:
    """``uncompiled``, but for ``--compiled``: formulas on a few samples, on constructs that other tests compile."""
    if not request.config.getoption("--compiled"):
        request.getfixturevalue("uncompiled")


@cache
def plain_module(text: str) -> ModuleType:
    """A generated module with nothing compiled."""
    module = ModuleType("plain_kernel")
    exec(text.replace("from numba import njit", "def njit(**options):\n    return lambda f: f"), vars(module))
    module.math = SimpleNamespace(**{**vars(math), "sqrt": _sqrt})
    return module


def _sqrt(x: float) -> float:
    """As compiled: not a number below 0, which is what a lane is left at that is computed again."""
    return math.sqrt(x) if x >= 0.0 else math.nan
