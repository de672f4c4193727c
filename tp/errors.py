"""Errors are data: a place, a reason and a way out.

A :class:`Diagnostic` knows where it happened, what is wrong and what would mend it. Three exceptions carry
them to the user: :class:`SpecError` (the text), :class:`DataError` (the arrays), :class:`LimitError` (the
mathematics). No other exception leaves the library on bad input; :class:`DeviceError` is for a missing device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar
from unicodedata import combining, east_asian_width


@dataclass(frozen=True, slots=True)
class Source:
    """A spec text and the name it was loaded from."""

    name: str
    text: str = field(repr=False)

    def line(self, number: int) -> str:
        """Line ``number``, counted from 1; empty beyond the end."""
        lines = self.text.splitlines()
        return lines[number - 1] if 1 <= number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """Where something was written: 1-based line and column, and its length on that line."""

    source: Source
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


NOWHERE = Span(Source("<built>", ""), 0, 0, 0)


@dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong. Subclasses add fields and the three texts, formatted with those fields."""

    span: Span

    title: ClassVar[str] = "error"
    label: ClassVar[str] = ""
    help: ClassVar[str] = ""

    def _format(self, text: str) -> str:
        return text.format(**{f.name: getattr(self, f.name) for f in fields(self)})

    def render(self, command: bool = False) -> str:
        """Place and title, the source line with a caret, the reason, and the way out; that of the ``command`` line if asked."""
        label, way_out = self._format(self.label), self._format(self.help)
        if command and isinstance(self, Message) and self.command:
            way_out = self.command
        title = self.heading if isinstance(self, Message) else self.title
        tail = f"\nhelp: {way_out}" if way_out else ""
        if self.span.line == 0:
            return shown(f"{title}: {label}{tail}")
        line = shown(self.span.source.line(self.span.line))
        gutter = f"{self.span.line} | "
        start = self.span.column - 1
        if len(line) > 160:  # keep a long line readable: a window around the caret
            cut = max(0, start - 60)
            line, start = line[cut : cut + 140], start - cut
        length = max(1, min(self.span.length, max(1, len(line) - start)))
        caret = " " * (len(gutter) + cells(line[:start])) + "^" * max(1, cells(line[start : start + length]))
        return shown(f"{self.span}: {title}\n{gutter}{line}\n{caret} {label}{tail}")


def shown(text: str) -> str:
    """Lines without what a terminal would obey: names of files are from strangers, too."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def cells(text: str) -> int:
    """Columns of a terminal that ``text`` takes: two for a wide character, none for one that sits on another."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


class TPError(Exception):
    """Base of the library's errors; ``diagnostics`` holds everything that is known to be wrong."""

    def __init__(self, diagnostics: Diagnostic | Sequence[Diagnostic] | str) -> None:
        if isinstance(diagnostics, str):
            diagnostics = Message(NOWHERE, diagnostics)
        if isinstance(diagnostics, Diagnostic):
            diagnostics = [diagnostics]
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        super().__init__(self.text())

    def text(self, command: bool = False) -> str:
        """All that is wrong, with ways out as written in Python, or on the ``command`` line."""
        return "\n\n".join(d.render(command) for d in self.diagnostics)

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return str(self).splitlines()


class SpecError(TPError):
    """The spec is wrong."""


class DataError(TPError):
    """The data do not fit the network."""


class LimitError(TPError):
    """An instruction has no limit, or none that a rule here derives."""


class NoFormula(LimitError):
    """There is a limit, but no formula or rule of integration here gives its numbers."""


class DeviceError(TPError):
    """The device asked for is not there."""


class StatisticalWarning(UserWarning):
    """What was asked for came by nodes, with a statistical error, where it comes exactly as a rule."""


@contextmanager
def at_line(span: Span) -> Iterator[None]:
    """A ``LimitError`` from within that knows no place is about this one."""
    try:
        yield
    except LimitError as error:
        raise type(error)([replace(d, span=span) if d.span == NOWHERE else d for d in error.diagnostics]) from None


@dataclass(frozen=True)
class Message(Diagnostic):
    """A diagnostic whose three texts are computed where it is raised.

    ``command``: the remedy as the command line spells it, ``--steps 3`` for ``steps=3``, where the two differ.
    """

    reason: str = ""
    remedy: str = ""
    heading: str = "error"
    command: str = ""

    label: ClassVar[str] = "{reason}"
    help: ClassVar[str] = "{remedy}"


def under(text: str, name: str, lead: int, error: TPError) -> tuple[Span, str]:
    """What is wrong with a ``text`` that was read as the end of a line of a spec, after ``lead`` characters, and where in it."""
    found = error.diagnostics[0]
    place, _, caret, *_ = found.render().splitlines()
    span = Span(Source(name, text), 1, max(found.span.column - lead, 1), found.span.length)
    return span, f"cannot be read, {place.rpartition(': ')[2]}: {caret.strip().lstrip('^ ')}"


def with_values(verb: str, names: Iterable[str], after: str = "") -> tuple[str, str]:
    """ "give L=…" and "give --let L=…": a remedy that gives constants numbers, in Python and on the command line."""
    given = [f"{name}=…" for name in names]
    return f"{verb} {', '.join(given)}{after}", f"{verb} {' '.join(f'--let {x}' for x in given)}"


Sizes = tuple[tuple[str, int], ...]
"""Per axis of an input the dim or let of the spec that its extent follows, and by how much that is larger; "" where none does."""


def resized(given: Sequence[int], wanted: Sequence[int], sizes: Sizes) -> tuple[str, str]:
    """How to load the spec for samples of another shape of as many axes, in Python and on the command line."""
    named = sizes[len(sizes) - len(wanted) :] if len(sizes) >= len(wanted) else (("", 0),) * len(wanted)
    differ = [(*named[k], given[k], wanted[k]) for k in range(len(wanted)) if given[k] != wanted[k]]
    values = {name: size + more for name, more, size, _ in differ}
    if not all(values) or any(values[name] != size + more or values[name] < 1 for name, more, size, _ in differ):
        remedy = f"the spec says {differ[0][3]} there: give its `dim` or `let` of that size another value"
        return f"{remedy} when it is loaded", f"{remedy}, with --let"
    told = [f"{name}={value}" for name, value in values.items()]
    return f"load the spec with {', '.join(told)}", f"give {' '.join(f'--let {t}' for t in told)}"
