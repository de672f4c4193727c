"""A LaTeX document to PDF, with the ``pdflatex`` that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tp.errors import NOWHERE, DeviceError, Message

SECONDS = 120


def typeset(document: str) -> bytes:
    """The PDF of ``document``. TeX runs in a folder of its own, may start no programs and reads no files outside it."""
    program = shutil.which("pdflatex")
    if program is None:
        remedy = "install a TeX distribution (Debian: texlive-latex-recommended), or write --latex F.tex and compile it elsewhere"
        raise DeviceError(Message(NOWHERE, "`pdflatex` is not installed", remedy, "cannot typeset"))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "derivation.tex"
        source.write_text(document, encoding="utf-8")
        command = [program, "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", source.name]
        paranoid = {**os.environ, "openin_any": "p", "openout_any": "p"}
        try:
            done = subprocess.run(command, cwd=folder, env=paranoid, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise DeviceError(
                Message(NOWHERE, f"`pdflatex` took more than {SECONDS} s", "write --latex F.tex", "cannot typeset")
            ) from None
        if done.returncode != 0:
            said = [
                line for line in done.stdout.decode("utf-8", "replace").splitlines() if ".tex:" in line or line.startswith("!")
            ]
            reason = f"`pdflatex` refused the document: {said[0] if said else f'exit code {done.returncode}'}"
            raise DeviceError(Message(NOWHERE, reason, "write --latex F.tex and look at that line", "cannot typeset"))
        return source.with_suffix(".pdf").read_bytes()
