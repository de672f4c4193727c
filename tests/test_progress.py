"""Bars are for those who watch."""

import io
import sys
from types import SimpleNamespace

import pytest

import tp
from tp import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream, wish):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    with progress.bar("work", 10, progress=wish, begun=4) as advance:
        advance(3)
    return stream.getvalue()


@pytest.mark.parametrize(("stream", "wish"), [(Terminal, None), (Terminal, True), (io.StringIO, True)])
def test_a_bar_with_its_name_and_what_was_done_before(monkeypatch, stream, wish):
    text = shown(monkeypatch, stream(), wish)
    assert "work" in text and "7/10" in text


@pytest.mark.parametrize(("stream", "wish"), [(io.StringIO, None), (io.StringIO, False), (Terminal, False)])
def test_no_bar_where_nobody_watches_or_wants_it(monkeypatch, stream, wish):
    assert shown(monkeypatch, stream(), wish) == ""


@pytest.mark.parametrize(("config", "seen"), [({"IPKernelApp": {}}, True), ({}, False)])
def test_notebooks_are_watched(monkeypatch, config, seen):
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(config=config))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert progress.watched() is seen


def test_a_program_without_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress.bar("work", progress=True) as advance:
        advance(1)


def test_nothing_is_shown_of_what_is_soon_done(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    assert list(progress.over([1, 2, 3], "work", "", None)) == [1, 2, 3]
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("wish", "seen"), [(None, True), (False, False)])
@pytest.mark.parametrize("ask", ["ntk", "z", "mup"])
def test_derivations_count_what_they_found(monkeypatch, wish, seen, ask):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    monkeypatch.setattr(progress, "DELAY", 0.0)
    getattr(tp.zoo("mlp"), ask)(progress=wish)
    assert (("deriving" in stream.getvalue()) or ("scaling" in stream.getvalue())) is seen
