"""Colours for specs, by Pygments: in notebooks, in documentation, in whatever else uses it."""

from __future__ import annotations

from typing import ClassVar

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, Text

_DECLARE = ("width", "dim", "let", "index", "input", "weight", "output", "train", "frozen")
_INSIDE = ("for", "in", "over", "boundary", "lr", "with")
_ACT = ("sum", "mean", "avg", "dot", "softmax", "N")


class SpecLexer(RegexLexer):
    """The language of ``.tp`` files."""

    name = "Tensor program spec"
    aliases: ClassVar[list[str]] = ["tp"]
    filenames: ClassVar[list[str]] = ["*.tp"]

    tokens: ClassVar[dict[str, list[object]]] = {
        "root": [
            (r"#.*", Comment.Single),
            (r"(network)(\s+)(\w+)", bygroups(Keyword.Declaration, Text, Name.Class)),
            (words(_DECLARE, prefix=r"\b", suffix=r"\b"), Keyword.Declaration),
            (words(_INSIDE, prefix=r"\b", suffix=r"\b"), Keyword),
            (r"\.T\b", Operator),
            (words(_ACT, prefix=r"\b", suffix=r"\b(?=\s*\()"), Name.Builtin),
            (r"[^\W\d]\w*(?=\s*\()", Name.Function),
            (r"(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?", Number),
            (r"\.\.|\*\*|[-+*/^@=~:]", Operator),
            (r"[\[\](),\\]", Punctuation),
            (r"[^\W\d]\w*", Name),
            (r"\s+", Text),
        ]
    }
