"""Texts that travel with the package: the grammar and the shipped specs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def grammar_text() -> str:
    """The grammar, from a wheel, an editable install or a bare checkout."""
    for root in (files("tp") / "grammar", Path(__file__).resolve().parents[1] / "grammar"):
        if (root / "spec.lark").is_file():
            return (root / "spec.lark").read_text("utf-8")
    raise FileNotFoundError("spec.lark")
