"""LaTeX to PDF with the pdflatex that is installed, or a clear word that there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tp.errors import NOWHERE, Message, TPError

if TYPE_CHECKING:
    from tp.limit.equations import Limit

SECONDS = 120
"""A page that takes longer is not one of ours."""


class TypesetError(TPError):
    """pdflatex is missing, or did not make a page."""


def typeset(page: str) -> bytes:
    """The PDF of a LaTeX document."""
    return _compile(page, ())[0]


def check(page: str) -> list[str]:
    """What pdflatex complains about in a document: overfull boxes; raises where it cannot be compiled."""
    log = _compile(page, ("-draftmode",))[1]
    return re.findall(r"^Overfull \\hbox.*$", log, re.M)


def write(limit: Limit, path: str | os.PathLike[str]) -> Path:
    """Write the derivation as a PDF; the file is whole or not there."""
    from tp.faces.latex import document

    target = Path(path)
    content = typeset(document(limit))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _compile(page: str, options: tuple[str, ...]) -> tuple[bytes, str]:
    """PDF (empty with ``-draftmode``) and log of one run in a folder of its own."""
    program = shutil.which("pdflatex")
    if program is None:
        remedy = "install it (Debian: apt-get install texlive-latex-base texlive-latex-recommended), or keep the LaTeX"
        as_option = f"{remedy}: --latex F.tex writes it, for another machine"
        raise TypesetError(Message(NOWHERE, "pdflatex is not installed", remedy, "no PDF", as_option))
    with tempfile.TemporaryDirectory(prefix="tp-latex-") as folder:
        source = Path(folder, "page.tex")
        source.write_text(page, encoding="utf-8")
        command = [program, "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", *options]
        try:
            run = subprocess.run([*command, source.name], cwd=folder, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise TypesetError(Message(NOWHERE, f"pdflatex took longer than {SECONDS} s", "", "no PDF")) from None
        log = _text(source.with_suffix(".log")) or run.stdout.decode("utf-8", "replace")
        if run.returncode != 0:
            raise TypesetError(Message(NOWHERE, f"pdflatex failed: {_reason(log)}", _remedy(log), "no PDF"))
        made = source.with_suffix(".pdf")
        return (made.read_bytes() if made.exists() else b""), log


def _text(path: Path) -> str:
    return path.read_text("latin-1") if path.exists() else ""


def _reason(log: str) -> str:
    """The first complaint of a log, on one line."""
    match = re.search(r"^(?:!|\S*\.tex:\d+:) ?(.*)$", log, re.M)
    return match[1].strip() if match else "see its log"


def _remedy(log: str) -> str:
    if missing := re.search(r"File `([^']+)' not found", log):
        return f"install the package with {missing[1]} (Debian: texlive-latex-recommended)"
    return "keep the LaTeX and compile it by hand to see where"
