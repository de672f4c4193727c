"""Wrong specs, each beside its message: ``bad/NAME.tp`` and ``bad/NAME.err``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tp.errors import Message, Source, Span, SpecError
from tp.network.check import check
from tp.network.parse import parse

BAD = sorted((Path(__file__).parent / "bad").glob("*.tp"))


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_message(path, golden):
    with pytest.raises(SpecError) as caught:
        check(parse(path.read_text("utf-8"), path.name))
    golden(path.with_suffix(".err"), f"{caught.value}\n")


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_every_diagnostic_shows_its_place(path):
    with pytest.raises(SpecError) as caught:
        check(parse(path.read_text("utf-8"), path.name))
    lines = [*path.read_text("utf-8").splitlines(), ""]
    for d in caught.value.diagnostics:
        assert d.span.source.name == path.name
        assert 1 <= d.span.line <= len(lines)
        assert 1 <= d.span.column <= len(lines[d.span.line - 1]) + 1
        assert "{" not in d.render().split("\n", 1)[0]


def test_there_are_enough():
    assert len(BAD) >= 100


def test_a_caret_stands_below_wide_and_combining_characters() -> None:
    """Columns of a terminal, not characters; what does not print takes the place of a space."""
    source = Source("wide.tp", "日本 e\u0301 =\x00 x")
    told = Message(Span(source, 1, 7, 1), "here").render().splitlines()
    assert told[1] == "1 | 日本 e\u0301 =  x"
    assert told[2] == " " * (len("1 | ") + 2 + 2 + 1 + 1 + 1) + "^ here"


@pytest.mark.parametrize("line", [0, 1])
def test_names_of_files_say_nothing_to_a_terminal(line) -> None:
    name = "a\x1b[2Jb.tp"
    told = Message(Span(Source(name, "input x"), line, 1), f"`{name}` is no text", "rename it").render()
    assert "`a [2Jb.tp` is no text" in told and told.replace("\n", "").isprintable()
