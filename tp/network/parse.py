"""Text to tree. The text is data from strangers: it is matched against the grammar and never executed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice

from lark import Lark, Token, UnexpectedInput

from tp.errors import Diagnostic, Source, Span, SpecError
from tp.network import diagnostics as say
from tp.network import limits
from tp.network.build import Builder
from tp.network.syntax import explain, place
from tp.network.tree import Network
from tp.network.walk import deepest
from tp.resources import grammar_text

SPACES = str.maketrans(dict.fromkeys("\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\xa0\u2009\u202f", " ") | {"\u00b5": "\u03bc"})
"""Characters that editors and papers smuggle in: other spaces and line ends, and the micro sign for mu."""


def parse(text: str, name: str = "<text>") -> Network:
    """The tree of a spec. ``name`` is what messages call it. Raises :class:`SpecError` for the first syntax errors."""
    if len(text) > limits.TEXT:
        raise SpecError(say.TextTooLarge(Span(Source(name, ""), 1, 1), f"{len(text):,} characters", f"{limits.TEXT:,}"))
    source = Source(name, text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").translate(SPACES))
    _check_nesting(source)
    _check_count(source)
    try:
        tree = parser().parse(source.text + "\n")
    except UnexpectedInput as error:
        raise SpecError(_mistakes(source, error)) from None
    network = Builder(source).build(tree)
    if (span := deepest(network, limits.DEPTH)) is not None:
        raise SpecError(say.TooDeep(span, limits.DEPTH))
    return network


MISTAKES = 5
"""Lines with a syntax error that are reported at once, at most."""


def _mistakes(source: Source, error: UnexpectedInput) -> list[Diagnostic]:
    """The first thing wrong with the text, and with what is left of it without that line, where a line stands for itself."""
    found = [explain(source, error)]
    rest = source
    while len(found) < MISTAKES and (begun := _alone(rest, found[-1])) is not None:
        begin, end = begun
        rest = Source(source.name, rest.text[:begin] + " " * (end - begin) + rest.text[end:])
        try:
            parser().parse(rest.text + "\n")
            break
        except UnexpectedInput as more:
            told = explain(rest, more)
            found.append(replace(told, span=replace(told.span, source=source)))
    return found


def _alone(source: Source, told: Diagnostic) -> tuple[int, int] | None:
    """Begin and end of the line of a mistake, if it is a statement of its own: no bracket or backslash joins it to others."""
    lines = source.text.split("\n")
    k = told.span.line - 1
    before, line = "\n".join(x.partition("#")[0] for x in lines[:k]), lines[k].partition("#")[0]
    balanced = all(sum(map(text.count, "([")) == sum(map(text.count, ")]")) for text in (before, line))
    joined = line.rstrip().endswith("\\") or before.rstrip(" \t").endswith("\\")
    headed = any(re.match(r"\s*network\b", x) for x in lines[:k])
    if not headed or not line.strip() or not balanced or joined:
        return None
    begin = sum(len(x) + 1 for x in lines[:k])
    return begin, begin + len(lines[k])


class JoinLines:
    """Drops line ends inside brackets, so that a statement may go on there."""

    always_accept: Iterable[str] = ("_NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        depth = 0
        for token in stream:
            if token.type in ("_LPAR", "_LSQB"):
                depth += 1
            elif token.type in ("_RPAR", "_RSQB"):
                depth = max(0, depth - 1)
            if token.type != "_NL" or depth == 0:
                yield token


@cache
def parser() -> Lark:
    """The parser, built once per process."""
    return Lark(grammar_text(), parser="lalr", lexer="contextual", keep_all_tokens=True, postlex=JoinLines())


def _check_count(source: Source) -> None:
    """Refuse a text of too many words before it becomes a tree."""
    words = re.finditer(r"#[^\n]*|\w+|[^\w\s]", source.text)
    last = next(islice((m for m in words if m.group()[0] != "#"), limits.WORDS, None), None)
    if last is not None:
        raise SpecError(say.TooMany(place(source, last.start()), f"{limits.WORDS:,}"))


def _check_nesting(source: Source) -> None:
    """Refuse brackets nested more deeply than anyone means, before they become a tree."""
    depth = 0
    for line, text in enumerate(source.text.split("\n"), 1):
        for column, c in enumerate(text.partition("#")[0], 1):
            if c in "([":
                depth += 1
                if depth > limits.DEPTH:
                    raise SpecError(say.TooDeep(Span(source, line, column), limits.DEPTH))
            elif c in ")]":
                depth = max(0, depth - 1)
