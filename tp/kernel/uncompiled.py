"""A call of few samples carried out by Python itself: the generated text is Python, and to compile it takes longer than that.

The same functions are run as they stand, on the same arrays, for as long as loading or compiling them would have taken at most;
then they are compiled, and the call starts anew. It does so, too, where Python has no number and a processor has: at overflow, at
a division by zero. Results differ from compiled ones by rounding: there products and sums are fused.
"""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Callable
from functools import lru_cache
from time import perf_counter
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from tp.kernel.module import digest, is_compiled

T = TypeVar("T")

COMPILING = 0.7
"""Seconds spent without compiled functions before they are made: some part of what that takes."""

LOADING = 0.15
"""Seconds spent without them where they only have to be loaded, and numba with them."""

_spent: dict[str, float] = {}


class Late(Exception):
    """It takes longer than it may."""


def carried_out(text: str, work: Callable[[ModuleType], T]) -> T | None:
    """``work`` with the module of this text, not compiled; None where that would not be, or was not, worth it."""
    name = digest(text)
    left = _patience(text) - _spent.get(name, 0.0)
    if left <= 0.0:
        return None
    start = perf_counter()
    try:
        with np.errstate(all="ignore"):
            return work(module(text, start + left))
    except (Late, ArithmeticError, ValueError, TypeError):  # the last two: roots and powers of negative numbers
        return None
    finally:
        _spent[name] = _spent.get(name, 0.0) + perf_counter() - start


def _patience(text: str) -> float:
    """How long calls of a module may take in all before compiled functions would have been the better choice."""
    if not is_compiled(text):
        return COMPILING
    return 0.0 if "numba" in sys.modules else LOADING


def module(text: str, until: float = math.inf) -> ModuleType:
    """The functions of a generated text in plain Python, which raise :class:`Late` when it is late."""

    def watched(*ends: int) -> range:
        if perf_counter() > until:
            raise Late
        return range(*ends)

    found = ModuleType("tp_uncompiled")
    found.__dict__.update(math=_math, np=np, range=watched)
    exec(_code(text), vars(found))  # our own text, or one within the language of such texts
    if hasattr(found, "project"):
        found.__dict__["project"] = project
    return found


@lru_cache(16)
def _code(text: str) -> CodeType:
    """The functions of a module without their decorators."""
    functions: list[ast.stmt] = [f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef)]
    for f in functions:
        assert isinstance(f, ast.FunctionDef)
        f.decorator_list = []
    return compile(ast.Module(functions, []), "<uncompiled>", "exec")


def _sqrt(x: float) -> float:
    """As compiled: not a number below 0, which is what a lane is left at that is computed again."""
    return math.sqrt(x) if x >= 0.0 else math.nan


_math = SimpleNamespace(**{**vars(math), "sqrt": _sqrt})


def project(rows: Any, which: int, out: Any, first: int, terms: int) -> float:
    """:func:`tp.gaussian.hermite.project` for all nodes at a time: there are many, and many terms."""
    x = rows[0]
    before, now = np.zeros(len(x)), np.exp(-0.25 * x * x)
    weight = rows[1] * rows[which]
    square = float(np.sum(weight * now * rows[which]))
    for k in range(terms):
        out[first + k] = weight @ now
        before, now = now, (x * now - math.sqrt(k) * before) * (1.0 / math.sqrt(k + 1.0))
    return square
