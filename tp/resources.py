"""Texts that travel with the package: the grammar, and the page that says what can be written in it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def grammar_text() -> str:
    """The grammar, ``grammar/spec.lark``."""
    return _text("grammar", "spec.lark")


def language_text() -> str:
    """The language on one page, ``docs/language.md``."""
    return _text("docs", "language.md")


def _text(folder: str, name: str) -> str:
    """A text from a wheel, an editable install or a bare checkout."""
    for root in (files("tp") / folder, Path(__file__).resolve().parents[1] / folder):
        if (root / name).is_file():
            return (root / name).read_text("utf-8")
    raise FileNotFoundError(name)
