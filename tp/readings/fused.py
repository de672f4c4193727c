"""Expressions of vectors as compiled loops: one pass over the nodes for each, whatever it is made of.

A step's expressions differ in the members they read far more than in form: a form is compiled once, to a function of row
numbers, and kept on disk under the hash of its text. The text has no numbers and no names but ours. Functions without branches
(:mod:`tp.gaussian.branchless`) become vector instructions; an expression that needs another function is left to NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.gaussian import branchless, scalars
from tp.gaussian.codegen import sources_of
from tp.kernel.module import load
from tp.kernel.text import Lines
from tp.readings.elementwise import TABLE
from tp.readings.indexing import Key
from tp.readings.passes import ENTRY, SUMMED
from tp.readings.tape import Leaf, Tape, added, extreme, multiplied, raised

Array = NDArray[np.float64]
Places = NDArray[np.intp]
OURS = {
    "exp": branchless.exp,
    "tanh": branchless.tanh,
    "sigmoid": branchless.sigmoid,
    "silu": branchless.silu,
    "erf": branchless.erf,
    "gelu": branchless.gelu,
    "normal_cdf": branchless.normal_cdf,
    "normal_pdf": branchless.normal_pdf,
    "relu": scalars.relu,
    "step": scalars.step,
    "sign": scalars.sign,
    "leaky_relu": scalars.leaky_relu,
}
KNOWN: dict[Any, Any] = {TABLE[name].value: function for name, function in OURS.items()}
HELPER = '@njit(error_model="numpy", forceinline=True, fastmath={"contract"})\n'
HEAD = '''"""Written by tensor-programs from an expression: do not edit; another text has another name."""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


@intrinsic
def power_of_two(typing, k):
    def bits(context, builder, signature, args):
        shifted = builder.fadd(args[0], ir.Constant(ir.DoubleType(), 6755399441055744.0 + 1023.0))
        exponent = builder.shl(builder.bitcast(shifted, ir.IntType(64)), ir.Constant(ir.IntType(64), 52))
        return builder.bitcast(exponent, ir.DoubleType())

    return types.float64(types.float64), bits


'''
LARGEST = 8
"""The largest whole power that is written as a product."""


@dataclass(frozen=True, slots=True)
class Form:
    """The text of an expression in coordinates ``v0``, … of vectors and numbers ``s0``, …, with the functions that it calls."""

    lines: tuple[str, ...]
    value: str
    vectors: int
    numbers: int
    calls: tuple[Callable[..., Any], ...]

    def written(self) -> Callable[..., None]:
        """(table, out, leaves, numbers, count): the values in the rows ``out``, for every row of ``leaves``."""
        return self._function("write", ENTRY, "table, out, leaves, numbers, count", f"o[j] = {self.value}")

    def averaged(self) -> Callable[..., None]:
        """(table, out, leaves, numbers, count): the sums of the values over the nodes in the array ``out``."""
        return self._function("total", SUMMED, "table, out, leaves, numbers, count", f"total += {self.value}")

    def _function(self, name: str, decorator: str, arguments: str, last: str) -> Callable[..., None]:
        sums, text = name == "total", Lines(0)
        with text.block(f"def {name}({arguments}):"), text.block("for m in range(len(out)):"):
            text.add("total = 0.0" if sums else "o = table[out[m], :count]")
            for k in range(self.vectors):
                text.add(f"a{k} = table[leaves[m, {k}], :count]")
            self._loop(text, "count", [f"a{k}[j]" for k in range(self.vectors)], last)
            if sums:
                text.add("out[m] = total")
        return self._loaded(name, decorator, text)

    def integrated(self, dimensions: int) -> Callable[..., None]:
        """(root, x, w, numbers, out): Σ_j w_j · value at the vectors root[m] @ x[:, j], for every case m in ``out``."""
        text, every = Lines(0), range(dimensions)
        with text.block("def integral(root, x, w, numbers, out):"), text.block("for m in range(len(out)):"):
            for k in range(self.vectors):
                for d in every:
                    text.add(f"r{k}_{d} = root[m, {k}, {d}]")
            for d in every:
                text.add(f"x{d} = x[{d}]")
            text.add("total = 0.0")
            vectors = [" + ".join(f"r{k}_{d} * x{d}[j]" for d in every) or "0.0" for k in range(self.vectors)]
            self._loop(text, "len(w)", vectors, f"total += w[j] * ({self.value})")
            text.add("out[m] = total")
        return self._loaded("integral", SUMMED, text)

    def _loop(self, text: Lines, count: str, vectors: Sequence[str], last: str) -> None:
        for k in range(self.numbers):
            text.add(f"s{k} = numbers[m, {k}]")
        with text.block(f"for j in range({count}):"):
            for line in (*(f"v{k} = {vector}" for k, vector in enumerate(vectors)), *self.lines, last):
                text.add(line)

    def _loaded(self, name: str, decorator: str, text: Lines) -> Callable[..., None]:
        helpers = [HELPER + source for called, source in sources_of(*self.calls) if called != "power_of_two"]
        found: Callable[..., None] = getattr(load(HEAD + "\n\n\n".join([*helpers, decorator + str(text)]) + "\n"), name)
        return found


@dataclass(frozen=True, slots=True)
class Shaped:
    """A tape's form, the vectors that it reads, and the places of the numbers: leaves, constants and what is made from them."""

    form: Form
    keys: tuple[Key, ...]
    numbers: tuple[int, ...]


def shaped(tape: Tape) -> Shaped | None:
    """None where it calls a function that is left to NumPy."""
    code = tuple((place, function, arguments) for place, function, arguments, _ in tape.code)
    found = form_of(code, [place for place, leaf in tape.leaves if leaf.wide], tape.out)
    return None if found is None else Shaped(found[0], tape.keys, found[1])


Code = Sequence[tuple[int, Callable[..., Any], tuple[int, ...]]]


def form_of(code: Code, vectors: Sequence[int], out: int) -> tuple[Form, tuple[int, ...]] | None:
    """The form of a list of operations, and the places of the numbers in it; ``vectors`` are the places of vectors."""
    wide = {place: f"v{k}" for k, place in enumerate(vectors)}
    numbers: dict[int, str] = {}
    lines: list[str] = []
    calls: dict[Callable[..., Any], None] = {}

    def name(place: int) -> str:
        return wide[place] if place in wide else numbers.setdefault(place, f"s{len(numbers)}")

    for place, function, arguments in code:
        if not any(k in wide for k in arguments):
            continue
        text = _text(function, [name(k) for k in arguments], calls)
        if text is None:
            return None
        wide[place] = f"t{len(lines)}"
        lines.append(f"{wide[place]} = {text}")
    value = name(out)
    return Form(tuple(lines), value, len(vectors), len(numbers), tuple(calls)), tuple(numbers)


def _text(function: Any, args: list[str], calls: dict[Callable[..., Any], None]) -> str | None:
    if function in (np.add, added):
        return " + ".join(args)
    if function in (np.multiply, multiplied):
        return " * ".join(args)
    if function is np.abs:
        return f"abs({args[0]})"
    if isinstance(function, partial) and function.func is raised:
        return _raised(args[0], *function.args)
    if isinstance(function, partial) and function.func is extreme:
        pick = scalars.larger if function.args[0] is np.maximum else scalars.smaller
        calls[pick] = None
        return _folded(pick.__name__, args)
    if function in KNOWN:
        calls[KNOWN[function]] = None
        return f"{KNOWN[function].__name__}({', '.join(args)})"
    return None


def _raised(base: str, exponent: float) -> str | None:
    if abs(exponent) == 0.5:
        return f"math.sqrt({base})" if exponent > 0 else f"1.0 / math.sqrt({base})"
    if exponent != int(exponent) or not 0 < abs(exponent) <= LARGEST:
        return None
    product = " * ".join([base] * abs(int(exponent)))
    return product if exponent > 0 else f"1.0 / ({product})"


def _folded(name: str, args: list[str]) -> str:
    text = args[0]
    for arg in args[1:]:
        text = f"{name}({text}, {arg})"
    return text


@dataclass(frozen=True, slots=True)
class Together:
    """Members of a step of one form: which they are, and the rows of the vectors that each reads."""

    which: Places
    function: Callable[..., None]
    leaves: Places
    tapes: tuple[Tape, ...]
    numbers: tuple[tuple[int, ...], ...]

    def given(self, read: Callable[[Leaf], Any]) -> Array:
        """[members, numbers]"""
        rows = [tape.values(places, read) for tape, places in zip(self.tapes, self.numbers, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(len(self.tapes), -1)


def together(tapes: Sequence[Tape], row: Callable[[Key], int], averaged: bool) -> tuple[tuple[Together, ...], tuple[int, ...]]:
    """The tapes by form, and those that are left to NumPy."""
    found: dict[Form, list[tuple[int, Shaped]]] = {}
    left = []
    for k, tape in enumerate(tapes):
        shape = shaped(tape)
        if shape is None:
            left.append(k)
        else:
            found.setdefault(shape.form, []).append((k, shape))
    groups = []
    for form, members in found.items():
        which = np.array([k for k, _ in members], np.intp)
        leaves = np.array([[row(key) for key in shape.keys] for _, shape in members], np.intp).reshape(len(members), -1)
        function = form.averaged() if averaged else form.written()
        groups.append(Together(which, function, leaves, tuple(tapes[k] for k in which), tuple(s.numbers for _, s in members)))
    return tuple(groups), tuple(left)
