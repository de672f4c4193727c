"""Constants inside lines: none divides by zero or grows beyond bounds, and variances are not negative."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice

from tp.errors import Diagnostic
from tp.network import faults, limits
from tp.network.affine import points
from tp.network.constants import Lookup, Number, Unworkable, evaluate, sign
from tp.network.domains import Domains
from tp.network.lines import Line
from tp.network.names import Report
from tp.network.show import show
from tp.network.tree import Binary, Call, Expr, Name, Weight
from tp.network.values import shown
from tp.network.walk import expressions, walk


def check_numbers(domains: Domains, lines: Sequence[Line], report: Report) -> None:
    """Report constants that have no value, or one that cannot be."""
    for line in lines:
        names = {s.name for s in line.box}
        value = _value(domains, names)
        for e in expressions(line.clause):
            for x in walk(e):
                for fault in _faults(x, value):
                    report(fault)
        if isinstance(line.clause, Weight) and line.clause.variance is not None:
            _variance(domains, line, line.clause.variance, report)


def _value(domains: Domains, indices: set[str], at: Mapping[str, int] | None = None) -> Lookup:
    """The numbers of constants, and of indices where ``at`` says what they are."""

    def value(e: Name) -> Number | None:
        if e.index:
            return None
        if e.name in indices:
            return Fraction(at[e.name]) if at is not None and e.name in at else None
        return domains.numbers.get(e.name)

    return value


LARGE = Fraction(2) ** 40
"""A width beyond any."""


def _at_large_width(domains: Domains, variance: Expr, value: Lookup) -> bool:
    """Whether a variance made of widths and numbers is negative for large widths."""
    widths = domains.d.widths

    def large(e: Name) -> Number | None:
        width = widths.get(e.name) if not e.index else None
        if width is None:
            return value(e)
        return LARGE if width.value is None else evaluate(width.value, large)

    try:
        number = evaluate(variance, large)
    except (Unworkable, RecursionError):
        return False
    return number is not None and number < 0


def _faults(x: Expr, value: Lookup) -> Iterator[Diagnostic]:
    try:
        if isinstance(x, Call) or (isinstance(x, Binary) and x.op in "^/*"):
            evaluate(x, value)
    except Unworkable as problem:
        if problem.diagnostic is not None:
            yield problem.diagnostic
        return
    if isinstance(x, Call) and x.fn == "hermite" and x.args:
        order = evaluate(x.args[0], value)
        if order is not None and (order != int(order) or not 0 <= order <= limits.EXPONENT):
            yield faults.NotWhole(x.args[0].span, show(x.args[0]), shown(order), f" in 0..{limits.EXPONENT}")


def _variance(domains: Domains, line: Line, variance: Expr, report: Report) -> None:
    indices = {s.name for s in line.box}
    positive = {n for n in (*domains.d.widths, *domains.d.dims, *domains.d.lets) if n not in indices}
    box = list(line.box)
    ends: list[dict[str, int]] = [{}]
    if indices and not any((s.lo.names | s.hi.names) - indices for s in box):

        def pick(name: str, lo: int, hi: int) -> Sequence[int]:
            return sorted({lo, hi}) if lo <= hi else []

        ends = list(islice(points(box, pick), 64))
    for at in ends:
        value = _value(domains, indices, at)
        try:
            number = evaluate(variance, value)
        except Unworkable:
            return
        wide = number is None and sign(variance, value, positive) is None and _at_large_width(domains, variance, value)
        if (number is not None and number < 0) or wide or (number is None and sign(variance, value, positive) == -1):
            text = "negative" + " for large widths" * bool(wide) if number is None else shown(number)
            report(faults.NegativeVariance(variance.span, show(variance), text))
            return
