"""The numbers that constants work out to, exactly where they are rational, and never larger than we can hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from fractions import Fraction
from typing import assert_never

from tp.errors import Diagnostic
from tp.network import faults, limits
from tp.network.tree import Binary, Call, Expr, Name, Neg, Num, Reduce, Table, Transpose

Number = Fraction | float
Lookup = Callable[[Name], Number | None]

FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "sin": math.sin, "cos": math.cos, "tanh": math.tanh,
    "erf": math.erf, "abs": abs,
}  # fmt: skip


class Unworkable(Exception):
    """A constant has no value; ``diagnostic`` says why, unless that has been said."""

    def __init__(self, diagnostic: Diagnostic | None = None) -> None:
        self.diagnostic = diagnostic
        super().__init__()


def evaluate(e: Expr, value: Lookup) -> Number | None:
    """The number that ``e`` is, None where it is no constant or involves a symbol. Raises :class:`Unworkable`."""
    match e:
        case Num(number):
            return number
        case Name(name, ()) if name == "pi":
            return math.pi
        case Name():
            return value(e)
        case Neg(arg):
            inner = evaluate(arg, value)
            return None if inner is None else -inner
        case Binary(op, left, right):
            a, b = evaluate(left, value), evaluate(right, value)
            return _binary(e, op, a, b)
        case Call(fn, args, None):
            return _call(e, fn, [evaluate(a, value) for a in args])
        case Call() | Reduce() | Table() | Transpose():
            return None
        case _:
            assert_never(e)


def _binary(e: Binary, op: str, a: Number | None, b: Number | None) -> Number | None:
    if op == "/" and b == 0:
        raise Unworkable(faults.DivisionByZero(e.right.span))
    if op == "^" and b is not None and a is None and not -limits.EXPONENT <= b <= limits.EXPONENT:
        raise Unworkable(faults.ExponentTooLarge(e.span, limits.EXPONENT))
    if a is None or b is None or op == "@":
        return None
    try:
        return _sized(e, _power(e, a, b) if op == "^" else _arithmetic(op, a, b))
    except OverflowError:
        raise Unworkable(faults.ConstantTooLarge(e.span)) from None


def _arithmetic(op: str, a: Number, b: Number) -> Number:
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case _:
            return a / b


def _power(e: Expr, a: Number, b: Number) -> Number:
    if a == 0 and b < 0:
        raise Unworkable(faults.DivisionByZero(e.span))
    if isinstance(a, Fraction) and isinstance(b, Fraction) and b.denominator == 1:
        bits = max(a.numerator.bit_length(), a.denominator.bit_length())
        if a not in (0, 1, -1) and abs(b) * (bits - 1) > limits.BITS:
            raise Unworkable(faults.ConstantTooLarge(e.span))
        return a ** (int(b) if a not in (1, -1) else int(b) % 2)
    if a < 0:
        raise Unworkable(faults.NotReal(e.span))
    return float(a) ** float(b)


def _call(e: Expr, fn: str, args: list[Number | None]) -> Number | None:
    if fn not in FUNCTIONS or len(args) != 1 or args[0] is None:
        return None
    try:
        if fn == "abs":
            return args[0] if args[0] >= 0 else -args[0]
        return _sized(e, FUNCTIONS[fn](float(args[0])))
    except OverflowError:
        raise Unworkable(faults.ConstantTooLarge(e.span)) from None
    except ValueError:
        raise Unworkable(faults.NotReal(e.span)) from None


def _sized(e: Expr, value: Number) -> Number:
    """``value``, if it is a number that one can hold."""
    if isinstance(value, Fraction):
        large = max(value.numerator.bit_length(), value.denominator.bit_length()) > limits.BITS
    else:
        large = not math.isfinite(value) or abs(value) > 1e300
    if large:
        raise Unworkable(faults.ConstantTooLarge(e.span))
    return value


def sign(e: Expr, value: Lookup, positive: Container[str]) -> int | None:
    """The sign of ``e`` when the names ``positive`` are positive: 1, 0 or -1; None when it depends on more."""
    try:
        number = evaluate(e, value)
    except Unworkable:
        return None
    if number is not None:
        return (number > 0) - (number < 0)
    match e:
        case Name(name):
            return 1 if name in positive else None
        case Neg(arg):
            inner = sign(arg, value, positive)
            return None if inner is None else -inner
        case Binary(op, left, right):
            return _sign(op, sign(left, value, positive), sign(right, value, positive))
        case Call("exp"):
            return 1
        case _:
            return None


def _sign(op: str, a: int | None, b: int | None) -> int | None:
    if op == "^":
        return 1 if a == 1 else None
    if a is None or b is None:
        return None
    if op in "*/":
        return a * b
    if op == "-":
        b = -b
    return a if b in (0, a) else b if a == 0 else None
