"""A generated module for the CPU → the same equations for a CUDA device.

A thread is a lane loop of length one. Statements stay as they are; only what surrounds them changes: the two loops over the
pairs of a block become one walk over pairs with the grid's stride, a local table becomes a column of a table that all
threads share (or a thread's own, where its size is a small constant), and helpers become device functions. So whatever the
generator covers is covered here, and both devices compute one formula.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from tp.errors import NOWHERE, DeviceError, Message

ENTRY = "pairs"

ROBUST = "exact"
"""The entry, where there is one, whose formulas hold for all pairs; the CPU comes to it for the rows that need it."""

OWN = 64
"""Numbers of a table that a thread may keep for itself."""

HEAD = '''"""Written by tensor-programs from the equations of a limit: do not edit; another text has another name."""

import math

import numpy as np
from numba import cuda

'''


@dataclass(frozen=True, slots=True)
class Table:
    """A local table of the entry: its sizes but for the lanes, as expressions in the integer parameters."""

    name: str
    sizes: tuple[ast.expr, ...]
    zero: bool

    @property
    def own(self) -> bool:
        """Whether it is small enough, and known to be, for a thread's own memory."""
        known = [s.value for s in self.sizes if isinstance(s, ast.Constant) and isinstance(s.value, int)]
        return len(known) == len(self.sizes) and prod(known) <= OWN and not self.zero


def device_text(text: str) -> str:
    """The module for the device: helpers, ``scratch(n)`` (the sizes of shared tables) and the kernel ``pairs``."""
    functions = {f.name: f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef)}
    entry = functions[host_entry(functions)]
    needed = _reachable(functions, entry)
    helpers = [_helper(f) for name, f in functions.items() if name in needed]
    return HEAD + "\n\n\n".join([*helpers, *_entry(entry)]) + "\n"


def host_entry(functions: Container[str]) -> str:
    """Which function of the CPU's module the device's kernel is made of."""
    return ROBUST if ROBUST in functions else ENTRY


def _reachable(functions: dict[str, ast.FunctionDef], entry: ast.FunctionDef) -> set[str]:
    """The functions that the entry calls, or that these call."""
    found: set[str] = set()
    front = [entry]
    while front:
        names = {x.id for x in ast.walk(front.pop()) if isinstance(x, ast.Name)} & functions.keys()
        front += [functions[name] for name in names - found]
        found |= names
    return found


def _helper(function: ast.FunctionDef) -> str:
    function.decorator_list = []
    return "@cuda.jit(device=True)\n" + ast.unparse(function)


# ---------------------------------------------------------------- the entry


def _entry(function: ast.FunctionDef) -> list[str]:
    """``scratch`` and the kernel."""
    head = [s for s in function.body if not isinstance(s, ast.For)]
    loops = [s for s in function.body if isinstance(s, ast.For)]
    tables = [t for s in head if (t := _table(s)) is not None]
    numbers = [s for s in head if _table(s) is None]
    if len(loops) != 1 or not all(isinstance(s, ast.Assign) for s in numbers):
        raise _uncovered("its pairs are not one loop")
    body = list(_pair(loops[0]))
    shared = [t for t in tables if not t.own]
    arguments = [a.arg for a in function.args.args if a.arg not in ("width", "hard")]
    sizes = ", ".join("(" + "".join(f"{ast.unparse(s)}, " for s in t.sizes) + ")" for t in shared)
    integers = [s for s in numbers if not any(isinstance(x, ast.Name) and x.id == "c" for x in ast.walk(s))]
    scratch = ["def scratch(n):", *_lines(integers, 1), f"    return ({sizes}{',' if shared else ''})"]
    kernel = [
        "@cuda.jit",
        f"def {ENTRY}({', '.join([*arguments, *(f'{t.name}_all' for t in shared)])}):",
        *_lines(numbers, 1),
        "    lane_ = cuda.grid(1)",
        *(f"    {_column(t)}" for t in tables),
        "    columns_ = j1 - j0",
        "    for pair_ in range(lane_, (i1 - i0) * columns_, cuda.gridsize(1)):",
        "        i = i0 + pair_ // columns_",
        "        at = j0 + pair_ % columns_",
        "        if upper and at <= i:",
        "            continue",
        "        b = 1",
        *_lines(body, 2),
    ]
    return ["\n".join(scratch), "\n".join(kernel)]


def _table(statement: ast.stmt) -> Table | None:
    """The table that ``name = np.empty((sizes…, width))`` makes, if that is what a statement does."""
    match statement:
        case ast.Assign(
            targets=[ast.Name(id=name)],
            value=ast.Call(
                func=ast.Attribute(value=ast.Name(id="np"), attr="empty" | "zeros" as how),
                args=[ast.Tuple(elts=[*_, ast.Name(id="width")]) | ast.Name(id="width") as shape],
                keywords=[],
            ),
        ):
            return Table(name, tuple(shape.elts[:-1]) if isinstance(shape, ast.Tuple) else (), how == "zeros")
    return None


def _column(table: Table) -> str:
    """A thread's part of a table: as many lanes as it has, one."""
    if table.own:
        return f"{table.name} = cuda.local.array(({', '.join([*map(ast.unparse, table.sizes), '1'])},), np.float64)"
    return f"{table.name} = {table.name}_all[{', '.join([*(':' for _ in table.sizes), 'lane_:lane_ + 1'])}]"


def _pair(rows: ast.For) -> Iterator[ast.stmt]:
    """What is done for one pair: the loop over columns with its bounds left out, and what precedes it for a row."""
    if not (isinstance(rows.target, ast.Name) and rows.target.id == "i"):
        raise _uncovered("its pairs are not a loop over rows")
    columns = rows.body[-1]
    if not (isinstance(columns, ast.For) and isinstance(columns.target, ast.Name) and columns.target.id == "at"):
        raise _uncovered("its pairs are not a loop over columns")
    yield from (s for s in rows.body[:-1] if not (isinstance(s, ast.If) and isinstance(s.body[0], ast.Continue)))  # of rows
    for statement in columns.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "b":
            continue
        if any(isinstance(x, ast.Name) and x.id == "width" for x in ast.walk(statement)):
            raise _uncovered("it counts lanes")
        yield statement


def _lines(statements: Sequence[ast.stmt], depth: int) -> list[str]:
    return ["    " * depth + line for s in statements for line in ast.unparse(s).splitlines()]


def _uncovered(reason: str) -> DeviceError:
    return DeviceError(
        Message(
            NOWHERE,
            f"this kernel is not covered on CUDA devices: {reason}",
            'use device="cpu"',
            "not on this device",
            "use --device cpu",
        )
    )
