"""The text of a tree: ``parse(show(network)) == network``."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import assert_never

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
from tp.network.walk import walk

SUM, TERM, FACTOR, POWER, ATOM = range(5)
"""How tightly an expression binds."""

LEVEL = {"+": SUM, "-": SUM, "*": TERM, "/": TERM, "@": TERM, "^": POWER}


def show(node: Network | Statement | Expr | Range) -> str:
    """The text of a network, a statement, an expression or a range."""
    if isinstance(node, Network):
        return "\n".join([f"network {node.name}", *(f"  {show_statement(s)}" for s in node.statements)]) + "\n"
    if isinstance(node, Range):
        return show_range(node)
    if isinstance(node, Statement):
        return show_statement(node)
    return show_expr(node)


# ---------------------------------------------------------------- statements


def show_statement(node: Statement) -> str:
    """One line."""
    match node:
        case Width(name, value) | Dim(name, value):
            word = "width" if isinstance(node, Width) else "dim"
            return f"{word} {name}" + (f" = {show_expr(value)}" if value is not None else "")
        case Let(name, value, index):
            head = f"let {name}[{', '.join(index)}]" if index else f"let {name}"
            return head + (f" = {show_expr(value)}" if value is not None else "")
        case Function(name, params, body, over=over):
            along = f" over {over}" if over else ""
            return f"let {name}({', '.join(params)}{along}) = {show_expr(body)}"
        case Index(names, lo, hi, boundary):
            tail = f" boundary {boundary}" if boundary else ""
            return f"index {', '.join(names)} in {tight(lo)}..{tight(hi)}{tail}"
        case Input(name, index, axes, ranges):
            return f"input {_indexed(name, index)} : [{', '.join(axes)}]{_for(ranges)}"
        case Weight():
            return _weight(node)
        case Define(name, index, body, ranges, output):
            return f"{'output ' if output else ''}{_indexed(name, index)} = {show_expr(body)}{_for(ranges)}"
        case Train(optimizer, options):
            return ", ".join([f"train {optimizer}", *(f"{key} = {show_expr(e)}" for key, e in options)])
        case _:
            assert_never(node)


def _weight(w: Weight) -> str:
    head = f"{'frozen ' if w.frozen else ''}weight {_indexed(w.name, w.index)} : [{', '.join(w.axes)}]"
    if w.variance is None:
        value = show_expr(w.mean)
    else:
        value = f"N({show_expr(w.mean)}, {show_expr(w.variance)})"
        if w.multiplier is not None:
            value = f"{show_expr(w.multiplier, TERM)} * {value}"
    rate = f", lr {show_expr(w.rate)}" if w.rate is not None else ""
    return f"{head} {'~' if w.short else '='} {value}{rate}{_for(w.ranges)}"


def _indexed(name: str, index: Sequence[Expr]) -> str:
    return f"{name}[{', '.join(map(tight, index))}]" if index else name


def tight(e: Expr) -> str:
    """An index or a bound, ``l-1`` without spaces."""
    text = show_expr(e)
    return text.replace(" ", "") if all(isinstance(x, Num | Name | Neg | Binary) for x in walk(e)) else text


def show_range(r: Range) -> str:
    """``k in -1..1``, or ``k``."""
    if r.lo is None or r.hi is None:
        return r.index
    return f"{r.index} in {tight(r.lo)}..{tight(r.hi)}"


def _for(ranges: Sequence[Range]) -> str:
    return f" for {', '.join(map(show_range, ranges))}" if ranges else ""


# ---------------------------------------------------------------- expressions


def show_expr(e: Expr, level: int = SUM) -> str:
    """The text of ``e``, in brackets where it binds more loosely than ``level``."""
    text, own = _show(e)
    return f"({text})" if own < level else text


def _show(e: Expr) -> tuple[str, int]:
    match e:
        case Num():
            return number(e)
        case Name(name, index):
            return _indexed(name, index), ATOM
        case Neg(arg):
            return f"-{show_expr(arg, FACTOR)}", FACTOR
        case Binary("^", left, right):
            return f"{show_expr(left, ATOM)}^{show_expr(right, FACTOR)}", POWER
        case Binary():
            return _chain(e)
        case Transpose(arg):
            return f"{show_expr(arg, ATOM)}.T", ATOM
        case Call(fn, args, over):
            along = f" over {show_range(over)}" if over else ""
            return f"{fn}({', '.join(map(show_expr, args))}{along})", ATOM
        case Reduce(kind, body, ranges):
            return f"{kind}({show_expr(body)}{_for(ranges)})", ATOM
        case Table(rows):
            return f"[{', '.join(map(show_expr, rows))}]", ATOM
        case _:
            assert_never(e)


def _chain(e: Binary) -> tuple[str, int]:
    """A left-leaning chain of one level. A long one keeps its left part in brackets, as the parser would regroup it."""
    level = LEVEL[e.op]
    parts: list[str] = []
    rest: Expr = e
    while isinstance(rest, Binary) and LEVEL[rest.op] == level and len(parts) < limits.CHAIN - 1:
        gap = " " if level == SUM or rest.op == "@" else ""
        parts.append(f"{gap}{rest.op}{gap}{show_expr(rest.right, level + 1)}")
        rest = rest.left
    regrouped = isinstance(rest, Binary) and LEVEL[rest.op] == level
    start = show_expr(rest, ATOM if regrouped else level)
    return start + "".join(reversed(parts)), level


def number(e: Num) -> tuple[str, int]:
    """A number as it was written, else as a decimal, else as a fraction."""
    if e.text and _value(e.text) == e.value:
        return e.text, ATOM
    if e.value < 0:
        return f"-{number(Num(-e.value))[0]}", FACTOR
    if e.value.denominator == 1:
        return str(e.value.numerator), ATOM
    return decimal(e.value) or (f"{e.value.numerator}/{e.value.denominator}", TERM)


def decimal(value: Fraction) -> tuple[str, int] | None:
    """A finite decimal, such as 3/8 = 0.375."""
    places, rest = 0, value.denominator
    for p in (2, 5):
        count = 0
        while rest % p == 0:
            rest, count = rest // p, count + 1
        places = max(places, count)
    if rest != 1 or places > 30:
        return None
    digits = str(value.numerator * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}", ATOM


def _value(text: str) -> Fraction | None:
    try:
        return Fraction(text)
    except ValueError:
        return None
