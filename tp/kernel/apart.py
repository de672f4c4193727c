"""Arrays that do not overlap, and a compiler that knows it.

A lane loop reads some rows and writes others. numba cannot say that arrays do not overlap, so the loop's vector form stands
behind a comparison of every row that is written with every other, which takes as long as some sixty lanes of arithmetic. But of
the arguments of a function it can: its own parallel loops are compiled with such a flag. So a function's local tables are made
here by one function and given to a second, which has the loops, as arguments; a row of sums is an array of its own there.

The flag goes below numba's interface; a release without it compiles the same text, with the comparisons.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

from tp.kernel.text import ENTRY, LOOPING

PITCH = 584
"""Numbers between the rows of ``held``: more than there are lanes, known to the compiler, and each row on lines of its own."""

FUNCTIONS = ("pairs", "pairs_near", "rows")
"""Those that take most of the time; of the others the shorter compilation counts."""

SUFFIX = "_apart"
"""What the second function's name ends with."""

_TABLE = re.compile(r"    (\w+) = np\.(?:empty|zeros)\(")
_NUMBER = re.compile(r"    [nc]\d+ = [nc]\[\d+\]$")
_SUMS = re.compile(r"    acc = np\.empty\(\((\d+), (\w+)\)\)$")
_HELD = re.compile(r"(    held = np\.empty\(\(\d+, )width(\)\))")
_ROW = re.compile(r"\bacc\[(\d+), z\]")


def apart(text: str) -> str:
    """The module with the loops of every function that has tables in a function of their own, which takes them as arguments."""
    first, *entries = text.split(ENTRY)
    return first + "".join(_parted(entry) for entry in entries)


def _parted(entry: str) -> str:
    """An entry, from its ``def`` on, with what follows it."""
    body, *after = entry.split("\n\n\n", 1)
    head, *lines = body.rstrip("\n").split("\n")
    named = re.fullmatch(r"def (\w+)\((.*)\):", head)
    tables = [line for line in lines if _TABLE.match(line)]
    if named is None or named.group(1) not in FUNCTIONS or not tables:
        return ENTRY + entry
    name, arguments = named.groups()
    numbers = [line for line in lines if _NUMBER.match(line)]
    held = [_HELD.sub(rf"\g<1>{PITCH}\g<2>", line) for line in tables if _HELD.match(line)]
    tables = [line for line in tables if not _HELD.match(line)]
    loops = "\n".join(line for line in lines if not _TABLE.match(line) and line not in numbers)
    tables, loops = _rows_of_sums(tables, loops)
    passed = ", ".join([arguments, *(_TABLE.match(line).group(1) for line in tables)])  # type: ignore[union-attr]
    inner = [f"{LOOPING}def {name}{SUFFIX}({passed}):", *numbers, *held, loops]
    outer = [f"{ENTRY}def {name}({arguments}):", *numbers, *tables, f"    {name}{SUFFIX}({passed})"]
    return "\n\n\n".join(["\n".join(inner), "\n".join(outer), *after])


def _rows_of_sums(tables: list[str], loops: str) -> tuple[list[str], str]:
    """Every row of sums as an array, unless they are passed on together."""
    made = _SUMS.match(tables[-1]) if tables else None
    if made is None or re.search(r"\bacc\b", _ROW.sub("", loops)):
        return tables, loops
    rows = [f"    acc{k} = np.empty({made.group(2)})" for k in range(int(made.group(1)))]
    return [*tables[:-1], *rows], _ROW.sub(r"acc\1[z]", loops)


def tell(module: ModuleType) -> None:
    """Tell the compiler of the functions whose arguments do not overlap."""
    for name, function in vars(module).items():
        compiler: Any = getattr(function, "_compiler", None)
        if SUFFIX in name and hasattr(compiler, "_customize_flags"):
            compiler._customize_flags = _apart


def _apart(flags: Any) -> Any:
    if hasattr(flags, "noalias"):
        flags.noalias = True
    return flags
