"""What all tests share: golden files, and kernels without a compiler for what need not be fast.

``pytest --regenerate`` rewrites the golden files, to be reviewed as a diff; ``pytest --compiled`` compiles kernels also where
their text as plain Python would do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

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


@pytest.fixture(autouse=True)
def compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests are about compiled kernels, though their samples are few."""
    monkeypatch.setattr("tp.kernel.sizes.FEW", 0)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels run their generated text in plain Python."""
    from tp.kernel.uncompiled import module

    monkeypatch.setattr("tp.kernel.kernel.load", cache(module))
    monkeypatch.setattr("tp.kernel.kernel.compile_aside", lambda text, calls, processes: None)


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> None:
    """``uncompiled``, but for ``--compiled``: formulas on a few samples, on constructs that other tests compile."""
    if not request.config.getoption("--compiled"):
        request.getfixturevalue("uncompiled")
