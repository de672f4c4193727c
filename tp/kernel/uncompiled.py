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
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter, process_time
from types import CodeType, ModuleType
from typing import Any, TypeVar

import numpy as np

from tp.kernel import abreast, lanewise, linewise, planewise, scalars, sizes
from tp.kernel.arrays import array_code
from tp.kernel.aside import at_work, is_helped
from tp.kernel.module import digest, is_compiled
from tp.kernel.room import keep_freed
from tp.kernel.straight import Unfit, calling, is_odd_power
from tp.kernel.trees import nodes, placed
from tp.seldom import seldom

T = TypeVar("T")

COMPILING = 0.7
"""Seconds spent without compiled functions before they are made: some part of what that takes, and more for long texts."""

COMPILED = 15_000.0
"""Characters of text for each second of that: for all that a call needs compilers take some three times as long."""

ALONE = 2.0
"""Times as long it takes where no other process has part of it, as on a machine without an idle core."""

LOADING = 0.3
"""Seconds spent without them where they only have to be loaded, and numba with them."""

FIRST = 4
"""Tasks done before it is said how long all take."""

LARGEST = (1 << 25) - (1 << 13)
"""Bytes that stay with the process when they are freed: array code makes and frees what it has at hand all the time. The C
library learns from pieces of up to 32 MiB."""

LONG = 40_000
"""Characters of text that take as long to be made array code as to be loaded."""

IN_PYTHON = 2000
"""Numbers that plain Python has made before array code is there."""

IN_ARRAYS = 1e8
"""Numbers that array code makes in a second, about."""

SEEN = 3.0
"""Times as long it may take in all where it is seen how far it is: as long as to compile it."""

ASKED = 1e-2
"""Seconds after which a loop asks again how long all has taken."""

_spent: dict[str, float] = {}


class Late(Exception):
    """It takes longer than it may."""


def carried_out(text: str, numbers: float, work: Callable[[ModuleType], T]) -> T | None:
    """``work`` on so many numbers with the module of this text, not compiled; None where that is not, or was not, worth it.

    Nor is it where Python has no number, or lanes part where array code has them go together. Other errors are mistakes.
    """
    name = digest(text)
    in_arrays = numbers > IN_PYTHON or best_in_arrays(text)
    left = _patience(text, in_arrays) - _spent.get(name, 0.0)
    if left <= 0.0 or (numbers > sizes.FEW and numbers > most(text)):
        return None
    start = process_time()
    try:
        with seldom():
            made = _lasting(text) if left == math.inf else module(text, left, in_arrays)
        if numbers > sizes.FEW and not made.in_arrays:
            return None
        with np.errstate(all="ignore"):
            return work(made)
    except (Late, ArithmeticError, Unfit):
        return None
    finally:
        _spent[name] = _spent.get(name, 0.0) + process_time() - start


def most(text: str) -> float:
    """Numbers, of all pairs, up to which a module that is not compiled may be sooner done than its compiler."""
    seconds = _patience(text, True) * _seen(text)
    return max(sizes.FEW, IN_ARRAYS * seconds * sizes.FEW / (1 << 17))


def _patience(text: str, in_arrays: bool) -> float:
    """How long calls of a module may take in all before compiled functions would have been the better choice."""
    if best_in_arrays(text):
        return math.inf
    if not is_compiled(text) or at_work(text):
        return max(COMPILING, len(text) / COMPILED) * (1.0 if is_helped() else ALONE)
    if "numba" in sys.modules or (in_arrays and len(text) > LONG):
        return 0.0
    return LOADING


def _seen(text: str) -> float:
    """How many times as long it may take where it tells how far it is."""
    return SEEN if by_rows(text) and not is_compiled(text) else 1.0


@dataclass
class Watch:
    """How long what is not compiled may take, by a clock that stands still while others have the processor, as compilers do."""

    seconds: float
    threads: int = 1
    start: float = field(default_factory=process_time)
    next: float = 0.0

    def spent(self) -> float:
        return (process_time() - self.start) / self.threads

    def range(self, *ends: int) -> range:
        """``range``, which asks that clock only once another one, asked in no time, says that ``ASKED`` has gone by."""
        if (now := perf_counter()) > self.next:
            self.next = now + ASKED
            if self.spent() >= self.seconds:
                raise Late
        return range(*ends)

    def pace(self, done: int, count: int) -> None:
        """So many of so many tasks are done."""
        if done >= FIRST and self.spent() * count > done * self.seconds:
            raise Late


def module(text: str, seconds: float = math.inf, in_arrays: bool = True) -> ModuleType:
    """The functions of a generated text in plain Python, or as array code where it fits; they raise :class:`Late` when it is.

    It says whether it is ``in_arrays``, and by which ``watch``.
    """
    watch = Watch(seconds)
    found = ModuleType("tp_uncompiled")
    code, repeated = _code(text)
    found.__dict__.update(math=scalars.MATH, np=np, range=watch.range, short=range, in_arrays=False, watch=watch)
    found.__dict__.update(scalars.WHOLE, power_=scalars.power)
    exec(code, vars(found))  # our own text, or one within the language of such texts
    found.__dict__.update({name: twin for name, twin in TWINS.items() if hasattr(found, name)})
    found.__dict__.update({name: lru_cache(1 << 14)(getattr(found, name)) for name in repeated})
    if in_arrays:
        with suppress(Unfit):
            if by_rows(text):
                found.__dict__.update(abreast.functions(text, vars(found)))
                watch.seconds *= _seen(text)
            else:
                _with_lanes(found, text, watch.range, repeated)
            found.__dict__["in_arrays"] = True
            keep_freed(LARGEST, LARGEST)
    return found


@lru_cache(16)
def _lasting(text: str) -> ModuleType:
    """The module of a text that no compiler makes faster."""
    return module(text)


def _with_lanes(found: ModuleType, text: str, watched: Callable[..., range], repeated: AbstractSet[str]) -> None:
    """The functions of a module that have lanes, as array code, and integrals with all nodes at a time."""
    code, entries, straight, names = array_code(text)
    inside = lanewise.scope(watched)
    exec(code, inside)
    integrals = linewise.functions(text, vars(found), inside)
    found.__dict__.update({name: lru_cache(1 << 14)(f) if name in repeated else f for name, f in integrals.items()})
    twins = lanewise.TWINS | planewise.ABREAST
    for name, function in vars(found).items():
        if name in names and name not in entries:
            straightened = inside[name] if name in straight else None
            inside[name] = lanewise.lanewise(function, twins.get(name, straightened))
    found.__dict__.update({name: planewise.at_step(inside[planewise.values(name)]) for name in names if planewise.values(name)})
    inside |= dict.fromkeys(names & {"mehler_rows", "mehler_rows_single"}, lanewise.mehler_rows)
    ignoring = np.errstate(all="ignore")  # a side of a condition is computed where it is not taken, too
    found.__dict__.update({name: ignoring(inside[name]) for name in entries})


def best_in_arrays(text: str) -> bool:
    """Whether no compiler makes it faster: products of matrices sum functions of two Gaussians of a sample, see ``planewise``."""
    return "\ndef together(" in text and not by_rows(text)


def by_rows(text: str) -> bool:
    """Whether positions are the lanes of a text."""
    return "\ndef rows(" in text


@lru_cache(16)
def _code(text: str) -> tuple[CodeType, frozenset[str]]:
    """The functions of a module without their decorators, and those that are integrals of numbers, asked for again and again."""
    functions = [f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef)]
    repeated = set()
    for k, f in enumerate(functions):
        f.decorator_list = []
        inside = [*nodes(f)]
        if any(map(is_odd_power, inside)):
            functions[k] = _Powers().visit(f)
        for x in inside:
            if isinstance(x, ast.For) and isinstance(x.iter, ast.Call) and all(isinstance(a, ast.Constant) for a in x.iter.args):
                x.iter.func = ast.Name("short", ast.Load())  # nothing to watch
        places = {ast.unparse(x.value) for x in inside if isinstance(x, (ast.Subscript, ast.Attribute))}
        if any(isinstance(x, ast.While) for x in inside) and places.isdisjoint(a.arg for a in f.args.args):
            repeated.add(f.name)
    tree = placed(ast.Module([*functions], []))
    return compile(tree, "<uncompiled>", "exec"), frozenset(repeated)


class _Powers(ast.NodeTransformer):
    """Powers as :func:`tp.kernel.scalars.power` has them."""

    def visit_BinOp(self, x: ast.BinOp) -> ast.expr:
        odd = is_odd_power(x)
        self.generic_visit(x)
        return calling("power_", x.left, x.right) if odd else x


TWINS: dict[str, Callable[..., Any]] = {**linewise.TWINS, **planewise.ALONE}
"""What takes a place of its own in modules that are not compiled."""
