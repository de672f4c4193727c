"""What generated text calls, in plain Python: where a processor has no number, or one that Python has not, :class:`NoNumber`.

Python tells of a logarithm of -1 by ``ValueError``, as of a mistake, and takes a root of -1 for a complex number. Here both are
told apart from mistakes, which are nobody's to catch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class NoNumber(ArithmeticError):
    """There is no such number, or none but for a processor."""


def power(base: Any, exponent: Any) -> Any:
    """``**``, which is real."""
    found = base**exponent
    if type(found) is complex:
        raise NoNumber(f"{base} ** {exponent}")
    return found


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, *more: Any) -> Any:
        try:
            return function(x, *more)
        except ValueError as error:  # of a number, but not one that the function takes
            raise NoNumber(f"{function.__name__} of {x}") from error

    return call


def sqrt(x: float) -> float:
    """As compiled: not a number below 0, which is what a lane is left at that is computed again."""
    return math.sqrt(x) if x >= 0.0 else math.nan


PARTLY = (
    *("log", "log1p", "sin", "cos", "tan", "asin", "acos", "acosh", "atanh", "gamma", "lgamma", "pow", "fmod"),
    *("floor", "ceil", "trunc"),
)
"""Functions of ``math`` that do not take every number."""

MATH = SimpleNamespace(**{**vars(math), "sqrt": sqrt, **{name: _told(getattr(math, name)) for name in PARTLY}})
"""``math``, as generated text has it."""

WHOLE = {"int": _told(int), "round": _told(round)}
"""What makes whole numbers."""
