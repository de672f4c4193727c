"""Generated text: lines with indentation, and numbers that become run-time parameters.

The text holds no numbers of the network: a variance, a depth, a range is written as a mark, and marks become reads
of the parameter vectors ``c`` (floats) and ``n`` (integers). So a kernel with other numbers is the same text,
and no new compilation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HEAD = '''"""Written by tensor-programs from the equations of a limit: do not edit; another text has another name."""

import math

import numpy as np
from numba import njit

'''

ENTRY = '@njit(cache=True, no_cfunc_wrapper=True, nogil=True, error_model="numpy", fastmath={"contract"})\n'
INNER = "no_cpython_wrapper=True, no_cfunc_wrapper=True"  # called by entries only: nothing to make it callable from elsewhere
EXACT = f'@njit(error_model="numpy", forceinline=True, {INNER})\n'
HELPER = f'@njit(error_model="numpy", forceinline=True, {INNER}, fastmath={{"contract"}})\n'
LOOPING = f'@njit(error_model="numpy", {INNER}, fastmath={{"contract"}})\n'
SUMMING = f'@njit(error_model="numpy", {INNER}, fastmath={{"contract", "reassoc"}})\n'

_MARK = re.compile(r"@([nc])(\d+)@")


class Lines:
    """A block of Python."""

    def __init__(self, depth: int = 1) -> None:
        self.lines: list[str] = []
        self.depth = depth

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """The lines of a compound statement."""
        self.add(head)
        self.depth += 1
        yield
        self.depth -= 1

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass
class Numbers:
    """The numbers behind the marks, in the order in which they stand in the final text.

    Equal integers share a mark, and 0 and 1 are written out: fewer parameters, faster compilation.
    """

    integers: list[int] = field(default_factory=list)
    floats: list[float] = field(default_factory=list)
    _values: list[float] = field(default_factory=list)
    _final: dict[str, str] = field(default_factory=dict)
    _integers: dict[int, str] = field(default_factory=dict)
    _rows: dict[int, str] = field(default_factory=dict)

    def integer(self, value: int, written: bool = True) -> str:
        """Its mark. ``written``: 0 and 1 as they are, which in the end of a loop lets the compiler repeat the body."""
        if written and value in (0, 1):
            return str(value)
        if value not in self._integers:
            self._integers[value] = self._mark("n", int(value))
        return self._integers[value]

    def row(self, value: int) -> str:
        """The mark of a row of a scratch table: no literal, for each of which numba compiles a called function anew."""
        if value not in self._rows:
            self._rows[value] = self._mark("n", int(value))
        return self._rows[value]

    def real(self, value: float) -> str:
        return self._mark("c", float(value))

    def _mark(self, kind: str, value: float) -> str:
        self._values.append(value)
        return f"@{kind}{len(self._values) - 1}@"

    def settle(self, body: str) -> str:
        """``body`` with its marks as local names, which are read from the parameter vectors first."""
        used: list[str] = []

        def name(found: re.Match[str]) -> str:
            mark = found.group(0)
            if mark not in self._final:
                store: list[int] | list[float] = self.integers if found.group(1) == "n" else self.floats
                self._final[mark] = f"{found.group(1)}{len(store)}"
                store.append(self._values[int(found.group(2))])  # type: ignore[arg-type]
            if self._final[mark] not in used:
                used.append(self._final[mark])
            return self._final[mark]

        text = _MARK.sub(name, body)
        return "\n".join([*(f"    {x} = {x[0]}[{x[1:]}]" for x in used), text])
