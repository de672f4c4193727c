"""Results in sections: a part of a benchmark is printed, and kept in its own section of a file; parts may be run apart."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.machine import _processor

RESULTS = Path(__file__).parent / "results"


class _Both(io.StringIO):
    """Text that is kept and shown."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
        return super().write(text)


@contextlib.contextmanager
def section(name: str, title: str, part: str) -> Iterator[None]:
    """What is printed inside goes to the section ``part`` of ``results/name.md`` too."""
    shown = _Both()
    with contextlib.redirect_stdout(shown):
        yield
    path = RESULTS / f"{name}.md"
    before = path.read_text("utf-8") if path.exists() else ""
    found = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", before, re.MULTILINE | re.DOTALL))
    command = f"python -m benchmarks.{name} {' '.join(sys.argv[1:])}".strip()
    found[part] = f"`{command}`, {_machine()}.\n\n```text\n{shown.getvalue().rstrip()}\n```"
    path.write_text("\n\n".join([f"# {title}", *(f"## {key}\n\n{text.strip()}" for key, text in found.items())]) + "\n", "utf-8")


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return f"{_processor()}, {cores} shared cores, Python {platform.python_version()}, NumPy {np.__version__}"
