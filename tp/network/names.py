"""Who is who: the declarations of a network by name, with the values given from outside put in."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from tp.errors import NOWHERE, Diagnostic, Span
from tp.network import faults, limits
from tp.network.diagnostics import locate, nearest
from tp.network.prelude import CONSTANTS, FORMS, PRIMITIVES, builtin_names, prelude
from tp.network.show import number as show_number
from tp.network.tree import (
    Define,
    Dim,
    Expr,
    Function,
    Index,
    Input,
    Let,
    Network,
    Num,
    Statement,
    Table,
    Train,
    Weight,
    Width,
)

Clause = Input | Weight | Define


class Report:
    """What was found wrong so far; the same thing at the same place is said once."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str, int, int], Diagnostic] = {}
        self.lines: dict[tuple[str, str, int, int], list[int]] = {}
        self.more = 0

    def __call__(self, diagnostic: Diagnostic) -> None:
        span = diagnostic.span
        key = (type(diagnostic).__name__, span.source.name, span.line, span.column)
        if isinstance(diagnostic, faults.UndefinedName | faults.UndefinedFunction):
            key = (type(diagnostic).__name__, diagnostic.name, 0, 0)
            self.lines.setdefault(key, []).append(span.line)
        if key not in self.found and self.full:
            self.more += 1
        else:
            self.found.setdefault(key, diagnostic)

    @property
    def full(self) -> bool:
        """Whether further errors are only counted."""
        return len(self.found) >= limits.ERRORS

    def sorted(self) -> list[Diagnostic]:
        """In the order of the text; what concerns no place comes last."""
        said = [self._also(key, d) for key, d in self.found.items()]
        found = sorted(said, key=lambda d: (d.span.line == 0, d.span.line, d.span.column))
        return found + ([faults.MoreErrors(NOWHERE, self.more)] if self.more else [])

    def _also(self, key: tuple[str, str, int, int], d: Diagnostic) -> Diagnostic:
        """An undefined name is reported once, with the other lines it stands on."""
        others = sorted(set(self.lines.get(key, ())) - {d.span.line})
        if not others or not isinstance(d, faults.UndefinedName | faults.UndefinedFunction):
            return d
        shown = ", ".join(map(str, others[:5])) + (", …" if len(others) > 5 else "")
        return replace(d, also=f" (also on line{'s' * (len(others) > 1)} {shown})")


@dataclass
class Declarations:
    """The statements of a network by kind and name."""

    network: Network
    widths: dict[str, Width] = field(default_factory=dict)
    dims: dict[str, Dim] = field(default_factory=dict)
    lets: dict[str, Let] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=lambda: dict(prelude()))
    indices: dict[str, Index] = field(default_factory=dict)
    families: dict[str, tuple[Clause, ...]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    train: Train | None = None
    order: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def kind(self, name: str) -> tuple[str, Span] | None:
        """What ``name`` stands for, in words, and where it was declared."""
        tables: tuple[tuple[str, Mapping[str, Statement]], ...] = (
            ("a width", self.widths), ("a dim", self.dims), ("a constant", self.lets), ("an index", self.indices),
            ("a function", self.functions),
        )  # fmt: skip
        for kind, table in tables:
            if name in table:
                return kind, table[name].span
        if name in self.families:
            clause = self.families[name][0]
            word = {Input: "an input", Weight: "a weight", Define: "a variable"}[type(clause)]
            return word, clause.span
        return None

    def names(self) -> Iterator[str]:
        """Everything that can stand in an expression."""
        for table in (self.families, self.lets, self.indices, self.dims, self.widths):
            yield from table
        yield from CONSTANTS

    def callables(self) -> Iterator[str]:
        """Everything that can be called."""
        yield from (*self.functions, *PRIMITIVES, *FORMS)

    def clauses(self) -> Iterator[Clause]:
        """All clauses, family by family."""
        for family in self.families.values():
            yield from family


def declare(network: Network, overrides: Mapping[str, Any], report: Report) -> Declarations:
    """The declarations of ``network``; says what is declared twice or under a name that is taken."""
    d = Declarations(network)
    taken = builtin_names()
    for position, s in enumerate(network.statements):
        if isinstance(s, Train):
            if d.train is not None:
                report(faults.GivenTwice(s.span, "`train`"))
            d.train = d.train or s
            continue
        for name in s.names if isinstance(s, Index) else (s.name,):
            if name in prelude() and d.functions.get(name) is prelude()[name]:
                del d.functions[name]  # the spec has its own
            if name in taken:
                report(faults.BuiltinName(locate(s.span, name), name))
            elif (known := d.kind(name)) and not (name in d.families and type(d.families[name][0]) is type(s)):
                report(faults.DefinedTwice(locate(s.span, name), name, known[0], known[1].line))
            else:
                _enter(d, name, s)
                d.order.setdefault(name, position)
    _override(d, overrides, report)
    return d


def _enter(d: Declarations, name: str, s: Statement) -> None:
    match s:
        case Width():
            d.widths[name] = s
        case Dim():
            d.dims[name] = s
        case Let():
            d.lets[name] = s
        case Function():
            d.functions[name] = s
        case Index():
            d.indices[name] = s
        case Input() | Weight() | Define():
            d.families[name] = (*d.families.get(name, ()), s)
            if isinstance(s, Define) and s.output and name not in d.outputs:
                d.outputs = (*d.outputs, name)
        case Train():
            pass


# ---------------------------------------------------------------- values from outside


def _settable(d: Declarations) -> str:
    names = [f"`{n}`" for n in (*d.lets, *d.dims)]
    return f"it has {', '.join(names)}" if names else "it has no lets and dims"


def _override(d: Declarations, overrides: Mapping[str, Any], report: Report) -> None:
    for name, value in overrides.items():
        table: dict[str, Any] = d.dims if name in d.dims else d.lets
        if name not in table:
            known = d.kind(name)
            hint = (
                f"`{name}` is {known[0]}; lets and dims can be set"
                if known
                else nearest(name, (*d.lets, *d.dims)) or _settable(d)
            )
            report(faults.UnknownOverride(NOWHERE, name, hint))
            continue
        given = _given(name, value, bool(table is d.lets and d.lets[name].index), table[name].span)
        if isinstance(given, Diagnostic):
            report(given)
        else:
            table[name] = replace(table[name], value=given)


def _given(name: str, value: Any, indexed: bool, span: Span) -> Expr | Diagnostic | None:
    """A value from Python as a tree: a number, a table of numbers, or None to leave a symbol."""
    if value is None:
        return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    wanted = "a table, nested lists of numbers" if indexed else "a finite number, or None for a symbol"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if not indexed:
            return faults.BadOverride(NOWHERE, name, "a list", f"it is {wanted}")
        rows = tuple(_given(name, v, indexed=isinstance(v, Sequence) or hasattr(v, "tolist"), span=span) for v in value)
        bad = next((r for r in rows if r is None or isinstance(r, Diagnostic)), rows)
        if bad is not rows or not rows:
            return bad if isinstance(bad, Diagnostic) else faults.BadOverride(NOWHERE, name, "that", f"it is {wanted}")
        return Table(tuple(r for r in rows if isinstance(r, Num | Table)), span)
    fraction = _fraction(value)
    if fraction is None or indexed:
        shown = "so large a number" if isinstance(value, int) and abs(value) >> limits.BITS else repr(value)
        shown = shown if len(shown) < 40 else f"a {type(value).__name__}"
        return faults.BadOverride(NOWHERE, name, shown, f"it is {wanted}")
    text = show_number(Num(fraction))[0]
    return Num(fraction, text, span)


def _fraction(value: Any) -> Fraction | None:
    """The exact number a Python number is written as: 0.1 is 1/10."""
    if isinstance(value, bool):
        return None
    if isinstance(value, numbers.Rational):
        exact = Fraction(int(value.numerator), int(value.denominator))
        return exact if max(abs(exact.numerator), exact.denominator).bit_length() <= limits.BITS else None
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return Fraction(repr(float(value)))
    return None
