"""From the grammar's tree to ours: one method per rule of ``grammar/spec.lark``."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from lark import Token, Tree

from tp.errors import Source, Span, SpecError
from tp.network import diagnostics as say
from tp.network import limits
from tp.network.tree import (
    Binary,
    Call,
    Define,
    Dim,
    Expr,
    Function,
    Index,
    Input,
    Let,
    Name,
    Neg,
    Network,
    Num,
    Range,
    Reduce,
    Statement,
    Table,
    Train,
    Transpose,
    Weight,
    Width,
)

RESERVED = frozenset(
    ("network", "width", "dim", "let", "index", "input", "weight", "output", "train", "frozen", "for", "in", "over")
)


SILENT = frozenset({"COMMA", "COLON"})
"""Tokens that carry no meaning, besides those whose name begins with an underscore."""


class Builder:
    """Builds the tree of one source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.first: Token
        self.last: Token

    def build(self, tree: Tree[Token]) -> Network:
        """The network of the grammar's tree, from the leaves up and without recursion."""
        values: list[tuple[Any, Token | None, Token | None]] = []
        work: list[tuple[Any, int]] = [(tree, -1)]
        while work:
            node, count = work.pop()
            if count >= 0:
                parts = values[len(values) - count :]
                del values[len(values) - count :]
                values.append(self._value(node.data, parts))
            elif isinstance(node, Tree):
                work.append((node, len(node.children)))
                work.extend((child, -1) for child in reversed(node.children))
            else:
                values.append((node, node, node))
        network: Network = values[0][0]
        return network

    def _value(self, rule: str, parts: list[tuple[Any, Token | None, Token | None]]) -> tuple[Any, Token | None, Token | None]:
        first = next((f for _, f, _ in parts if f is not None), None)
        last = next((e for _, _, e in reversed(parts) if e is not None), None)
        if first is not None and last is not None:
            self.first, self.last = first, last
        kept = [v for v, _, _ in parts if not (type(v) is Token and (v.type[0] == "_" or v.type in SILENT))]
        return getattr(self, rule)(kept), first, last

    @property
    def span(self) -> Span:
        """Where the rule being built stands; of one that goes on over lines, the part on its first line."""
        return self.between(self.first, self.last)

    def between(self, first: Token, last: Token) -> Span:
        """From the beginning of ``first`` to the end of ``last``."""
        start, end = first.start_pos or 0, last.end_pos or 0
        if last.end_line != first.line:
            newline = self.source.text.find("\n", start)
            end = min(end, newline) if newline >= 0 else end
        return Span(self.source, first.line or 0, first.column or 0, max(1, end - start))

    def word(self, token: Token) -> str:
        """A name that is not a word of the language."""
        if token.value in RESERVED:
            raise SpecError(say.ReservedWord(self.between(token, token), token.value))
        if len(token.value) > limits.NAME:
            raise SpecError(say.NameTooLong(self.between(token, token), limits.NAME))
        return str(token.value)

    # ------------------------------------------------------------ statements

    def start(self, parts: list[Any]) -> Network:
        tokens = [p for p in parts if isinstance(p, Token)]
        groups = [p for p in parts if isinstance(p, list)]
        return Network(self.word(tokens[0]), tuple(s for group in groups for s in group), self.source)

    def sized(self, parts: list[Any]) -> tuple[str, Expr | None, Span]:
        return self.word(parts[0]), parts[1], self.span

    def width(self, parts: list[Any]) -> list[Statement]:
        return [Width(*part) for part in parts]

    def dim(self, parts: list[Any]) -> list[Statement]:
        return [Dim(*part) for part in parts]

    def let(self, parts: list[Statement]) -> list[Statement]:
        return parts

    def constant(self, parts: list[Any]) -> Let:
        return Let(self.word(parts[0]), parts[1], (), self.span)

    def family(self, parts: list[Any]) -> Let:
        return Let(self.word(parts[0]), parts[2], parts[1], self.span)

    def function(self, parts: list[Any]) -> Function:
        name, params, over, body = parts
        return Function(self.word(name), params, body, self.span, over)

    def along(self, parts: list[Token]) -> str:
        return self.word(parts[0])

    def value(self, parts: list[Expr]) -> Expr:
        return parts[0]

    def names(self, parts: list[Token]) -> tuple[str, ...]:
        return tuple(map(self.word, parts))

    def index(self, parts: list[Statement]) -> list[Statement]:
        return parts

    def group(self, parts: list[Any]) -> Index:
        names, lo, hi, boundary = parts
        return Index(names, lo, hi, boundary, self.span)

    def boundary(self, parts: list[Token]) -> str:
        return str(parts[0])

    def input(self, parts: list[Any]) -> list[Statement]:
        name, index, axes, ranges = parts
        return [Input(self.word(name), index or (), axes, ranges or (), self.span)]

    def axes(self, parts: list[Any]) -> tuple[str, ...]:
        return parts[0] or ()

    def subscript(self, parts: list[Expr]) -> tuple[Expr, ...]:
        return tuple(parts)

    def equal(self, parts: list[Any]) -> str:
        return "="

    def rate(self, parts: list[Any]) -> tuple[str, Any, Span]:
        return "lr", parts[0], self.span

    def freeze(self, parts: list[Any]) -> tuple[str, Any, Span]:
        return "frozen", True, self.span

    def weight(self, parts: list[Any]) -> list[Statement]:
        frozen, name, index, axes, form, value, *options, ranges = parts
        short = str(form) == "~"
        multiplier, mean, variance = self.initial(value, short)
        given: dict[str, Any] = {"frozen": True} if frozen else {}
        for key, option, span in options:
            if key in given:
                raise SpecError(say.OptionTwice(span, key))
            given[key] = option
        return [
            Weight(
                self.word(name), index or (), axes, multiplier, mean, variance, given.get("lr"), "frozen" in given,
                short, ranges or (), self.span,
            )
        ]  # fmt: skip

    def initial(self, value: Expr, short: bool) -> tuple[Expr | None, Expr, Expr | None]:
        """Multiplier, mean and variance of ``M * N(mean, variance)``; a value without ``N`` is a constant."""
        match value:
            case Call("N", args, over=None):
                if len(args) != 2:
                    raise SpecError(say.GaussianArguments(value.span, len(args)))
                return None, args[0], args[1]
            case Binary(op, left, Call("N") as normal) if op == "*":
                multiplier = left
            case Binary(op, Call("N") as normal, right) if op in "*/":
                multiplier = right if op == "*" else Binary("/", Num(Fraction(1), "1"), right, right.span)
            case _:
                return None, value, None
        if short:
            raise SpecError(say.MultiplierInShortForm(value.span))
        return multiplier, *self.initial(normal, short)[1:]

    def define(self, parts: list[Any]) -> list[Statement]:
        output, name, index, body, ranges = parts
        return [Define(self.word(name), index or (), body, ranges or (), output is not None, self.span)]

    def train(self, parts: list[Any]) -> list[Statement]:
        return [Train(self.word(parts[0]), tuple(parts[1:]), self.span)]

    def setting(self, parts: list[Any]) -> tuple[str, Expr]:
        return self.word(parts[0]), parts[1]

    def ranges(self, parts: list[Range]) -> tuple[Range, ...]:
        return tuple(parts)

    def range(self, parts: list[Any]) -> Range:
        name, (lo, hi) = parts[0], parts[1] or (None, None)
        return Range(self.word(name), lo, hi, self.span)

    def bounds(self, parts: list[Expr]) -> tuple[Expr, Expr]:
        return parts[0], parts[1]

    # ------------------------------------------------------------ expressions

    def expr(self, parts: list[Any]) -> Expr:
        return self.chain(parts[0], [(str(op), e) for op, e in zip(parts[1::2], parts[2::2], strict=True)])

    term = expr

    def chain(self, first: Expr, rest: Sequence[tuple[str, Expr]]) -> Expr:
        """``first op e op e …``, leaning left; a long one is halved where that keeps its value."""
        while len(rest) >= limits.CHAIN:
            cut = _halfway(rest)
            if cut is None:
                break
            op, head = rest[cut]
            tail = self.chain(Neg(head, head.span) if op == "-" else head, rest[cut + 1 :])
            first, rest = self.chain(first, rest[:cut]), [("+" if op in "+-" else op, tail)]
        for op, e in rest:
            first = Binary(op, first, e, _across(first.span, e.span))
        return first

    def bracketed(self, parts: list[Any]) -> Any:
        return parts[0]

    def negate(self, parts: list[Any]) -> Expr:
        return Neg(parts[1], self.span)

    def plus(self, parts: list[Any]) -> Any:
        return parts[1]

    def power(self, parts: list[Any]) -> Expr:
        return Binary("^", parts[0], parts[1], self.span)

    def transpose(self, parts: list[Any]) -> Expr:
        return Transpose(parts[0], self.span)

    def number(self, parts: list[Token]) -> Expr:
        text = str(parts[0])
        _, _, power = text.lower().partition("e")
        if len(text) > limits.DIGITS or (power and abs(int(power)) > 300):
            raise SpecError(say.NumberTooLarge(self.span))
        return Num(Fraction(text), text, self.span)

    def name(self, parts: list[Any]) -> Expr:
        return Name(self.word(parts[0]), parts[1] or (), self.span)

    def arguments(self, parts: list[Expr]) -> tuple[Expr, ...]:
        return tuple(parts)

    def over(self, parts: list[Range]) -> Range:
        return parts[0]

    def call(self, parts: list[Any]) -> Expr:
        token, args, tail = parts
        fn, span = self.word(token), self.span
        if not isinstance(tail, tuple):
            if fn in ("sum", "mean"):
                raise SpecError(say.ReduceWithoutRange(span, fn))
            return Call(fn, args, tail, span)
        if fn not in ("sum", "mean"):
            hint = "`for` belongs to `sum` and `mean`; functions along an index are written `softmax(e over s)`"
            if fn == "avg":
                hint = "`avg` runs over the whole width; the mean over an index is `mean(e for p)`"
            raise SpecError(say.ForInCall(span, fn, hint))
        if len(args) != 1:
            raise SpecError(say.ReduceArguments(span, fn))
        return Reduce(fn, args[0], tail, span)

    def table(self, parts: list[Expr]) -> Expr:
        return Table(tuple(parts), self.span)


def _across(left: Span, right: Span) -> Span:
    """From where ``left`` begins to where ``right`` ends, on the first line."""
    if left.line != right.line:
        length = len(left.source.line(left.line).rstrip()) - left.column + 1
        return Span(left.source, left.line, left.column, max(left.length, length))
    return Span(left.source, left.line, left.column, right.column + right.length - left.column)


def _halfway(rest: Sequence[tuple[str, Any]]) -> int | None:
    """Where to halve a chain: at a ``+``, ``-`` or ``*`` near the middle; never beside an ``@`` or a Gaussian."""
    if any(op == "@" or (isinstance(e, Call) and e.fn == "N") for op, e in rest):
        return None
    middle = len(rest) // 2
    return next((i for i in range(middle, len(rest)) if rest[i][0] in "+-*"), None)
