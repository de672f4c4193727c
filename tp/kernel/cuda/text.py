"""A generated module for the CPU → the same equations for a CUDA device.

A thread is a lane loop of length one. Statements stay as they are; only what surrounds them changes: the two loops over the
pairs of a block become one walk over pairs with the grid's stride, a local table becomes a column of a table that all
threads share (or a thread's own, where its size is a small constant), and helpers become device functions. So whatever the
generator covers is covered here, and both devices compute one formula.

As on the CPU, ``pairs`` computes in easy forms and in the kernel's precision. A thread whose pair they miss puts it on a
list, and ``exact``, launched next, goes through the list in double precision, inner products included.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from tp.errors import NOWHERE, DeviceError, Message
from tp.kernel.cuda.rows import LIMITED, TOGETHER, entry_text
from tp.kernel.single import single

ENTRIES = ("rows", "pairs", "exact")
"""Functions of a module for the CPU that kernels are made of, in the order of their launches."""

OWN = 64
"""Numbers of a table that a thread may keep for itself."""

HEAD = '''"""Written by tensor-programs from the equations of a limit: do not edit; another text has another name."""

import math

import numpy as np
from numba import config, cuda

'''

DETERMINANT = """def determinant(q1, c, q2):
    r = c * c
    d = cuda.fma(q1, q2, -r) - cuda.fma(c, c, -r)
    return 0.0 if d < 0.0 else d"""
"""q1 q2 − c² to 1.5 units in the last place (Kahan; Jeannerod, Louvet & Muller 2013).

It takes the place of the CPU's, which splits numbers and is wrong where a compiler fuses products and sums, as the one for
devices does and is not to be told otherwise.
"""

PRODUCTS = """@cuda.jit(device=True)
def products(one, two, out, i, j, lane):
    for s in range(one.shape[0]):
        for m in range(one.shape[2]):
            for t in range(two.shape[1]):
                total = 0.0
                for c in range(one.shape[3]):
                    total += float(one[s, i, m, c]) * float(two[s, t, j, c])
                out[s, m, t, lane] = total"""
"""Inner products of samples i and j, in double precision, as a lane of [shared, mine, theirs, lane]."""


@dataclass(frozen=True, slots=True)
class Table:
    """A local table of an entry: its sizes but for the lanes, as expressions in the integer parameters, and its type."""

    name: str
    sizes: tuple[ast.expr, ...]
    zero: bool
    type: str

    @property
    def own(self) -> bool:
        """Whether it is small enough, and known to be, for a thread's own memory."""
        known = [s.value for s in self.sizes if isinstance(s, ast.Constant) and isinstance(s.value, int)]
        return len(known) == len(self.sizes) and prod(known) <= OWN and not self.zero


def device_text(text: str, grams: Collection[str], in_single: bool = False) -> str:
    """The module for the device: helpers, the kernels, and by kernel ``…_tables(n)``, the sizes of tables that threads share.

    ``pairs(n, c, first, last, columns, upper, hard, found, arrays…, tables…)`` is for a panel, rows first…last of all pairs, of
    whose inner products alone there is a table: ``upper``, only columns after the row; what easy forms miss goes to the list
    ``hard`` of ``found[0]`` entries, counted within the panel. ``exact``, where there is one, is for the
    pairs on the list. ``rows``, in the place of ``pairs``, takes the same and more: there a block of threads has a pair, or a
    part of one, and tables are [blocks, numbers]; see :mod:`tp.kernel.cuda.rows`. For each inner product of ``exact``, which
    ``grams`` names, that takes three arrays more: the samples, [shared, i, mine, c] and [shared, theirs, j, c], and room for a
    lane's products, [shared, mine, theirs, lanes].
    """
    fused = _with_determinant(text)
    functions = _functions(single(fused) if in_single else fused)
    entries = [functions[name] for name in ENTRIES if name in functions]
    made = []
    for entry in entries:
        if "rows" in functions:
            real = "float32" if in_single and entry.name != "exact" else "float64"
            made += entry_text(entry, _uncovered("its rows of lanes are not what threads can share"), real)
        else:
            made += _entry(entry, [a.arg for a in entry.args.args if a.arg in grams])
    own = {name: f for name, f in functions.items() if name not in ENTRIES}
    needed = _reachable(own, ast.parse("\n\n".join(made)).body)
    if needed & {"waves", "together"}:
        raise _uncovered("an expectation over three or four correlated Gaussians takes tables of a size that is known late")
    helpers = [_helper(f) for name, f in own.items() if name in needed]
    return HEAD + "\n\n\n".join([*helpers, *([LIMITED, TOGETHER] if "rows" in functions else [PRODUCTS]), *made]) + "\n"


def _functions(text: str) -> dict[str, ast.FunctionDef]:
    return {f.name: f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef)}


def _with_determinant(text: str) -> str:
    tree = ast.parse(text)
    (ours,) = ast.parse(DETERMINANT).body
    tree.body = [ours if isinstance(s, ast.FunctionDef) and s.name == "determinant" else s for s in tree.body]
    return ast.unparse(tree)


def _reachable(functions: dict[str, ast.FunctionDef], entries: Sequence[ast.stmt]) -> set[str]:
    """The functions that the entries call, or that these call."""
    found: set[str] = set()
    front: list[ast.stmt] = [*entries]
    while front:
        names = {x.id for x in ast.walk(front.pop()) if isinstance(x, ast.Name)} & functions.keys()
        front += [functions[name] for name in names - found]
        found |= names
    return found


def _helper(function: ast.FunctionDef) -> str:
    function.decorator_list = []
    return "@cuda.jit(device=True)\n" + ast.unparse(function)


def _names(*nodes: ast.AST) -> set[str]:
    return {x.id for node in nodes for x in ast.walk(node) if isinstance(x, ast.Name)}


# ---------------------------------------------------------------- an entry


def _entry(function: ast.FunctionDef, grams: Sequence[str]) -> list[str]:
    """``…_tables`` and the kernel."""
    head = [s for s in function.body if not isinstance(s, ast.For)]
    loops = [s for s in function.body if isinstance(s, ast.For)]
    tables = [t for s in head if (t := _table(s)) is not None]
    numbers = [s for s in head if _table(s) is None]
    if len(loops) != 1 or not all(isinstance(s, ast.Assign) and "np" not in _names(s) for s in numbers):
        raise _uncovered("its pairs are not one loop")
    body = list(_pair(loops[0]))
    shared = [t for t in tables if not t.own]
    sizes = ", ".join("(" + "".join(f"{ast.unparse(s)}, " for s in t.sizes) + ")" for t in shared)
    integers = [s for s in numbers if not any(isinstance(x, ast.Name) and x.id == "c" for x in ast.walk(s))]
    arrays = [a.arg for a in function.args.args[9:]]  # after n, c, i0, i1, j0, j1, upper, width, hard
    exact = function.name == "exact"
    more = [f"{g}_{part}" for g in grams for part in ("one", "two", "lanes")] if exact else []
    given = ["n", "c", "first", "last", "columns", "upper", "hard", "found", *arrays, *(f"{t.name}_all" for t in shared), *more]
    return [
        "\n".join([f"def {function.name}_tables(n):", *_lines(integers, 1), f"    return ({sizes}{',' if shared else ''})"]),
        "\n".join(
            [
                "@cuda.jit(cache=True)",
                f"def {function.name}({', '.join(given)}):",
                *_lines(numbers, 1),
                "    lane_ = (cuda.blockIdx.y * cuda.gridDim.x + cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x",
                *(f"    {_column(t)}" for t in tables),
                "    b = 1",
                *(_listed(grams) if exact else _all_pairs()),
                *_lines(body, 2 if exact else 3),
            ]
        ),
    ]


def _all_pairs() -> list[str]:
    """The walk over all pairs of a panel: rows down the grid, columns along it."""
    return [
        "    i0, j0 = (first, 0)",
        "    begin_, step_ = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x, cuda.gridDim.x * cuda.blockDim.x)",
        "    for i in range(first + cuda.blockIdx.y, last, cuda.gridDim.y):",
        "        for at in range(begin_, columns, step_):",
        "            if upper and at <= i:",
        "                continue",
    ]


def _listed(grams: Sequence[str]) -> list[str]:
    """The walk over the list. A thread's inner products are a block of one row, of which it has the column ``lane_``."""
    return [
        "    for turn_ in range(lane_, found[0], cuda.gridDim.x * cuda.gridDim.y * cuda.blockDim.x):",
        "        pair_ = hard[turn_]",
        "        i, at = (first + pair_ // columns, pair_ % columns)",
        *(f"        products({g}_one, {g}_two, {g}_lanes, i, at, lane_)" for g in grams),
        "        i0, j0 = (i, at - lane_)",
    ]


def _table(statement: ast.stmt) -> Table | None:
    """The table that ``name = np.empty((sizes…, width))`` makes, if that is what a statement does."""
    match statement:
        case ast.Assign(
            targets=[ast.Name(id=name)],
            value=ast.Call(
                func=ast.Attribute(value=ast.Name(id="np"), attr="empty" | "zeros" as how),
                args=[ast.Tuple(elts=[*_, ast.Name(id="width")]) | ast.Name(id="width") as shape, *kind],
                keywords=[],
            ),
        ):
            sizes = tuple(shape.elts[:-1]) if isinstance(shape, ast.Tuple) else ()
            return Table(name, sizes, how == "zeros", ast.unparse(kind[0]) if kind else "np.float64")
    return None


def _column(table: Table) -> str:
    """A thread's part of a table: as many lanes as it has, one."""
    if table.own:
        return f"{table.name} = cuda.local.array(({', '.join([*map(ast.unparse, table.sizes), '1'])},), {table.type})"
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
        if isinstance(statement, ast.AugAssign) and ast.unparse(statement.target) == "hard[i - i0]":
            yield from ast.parse("if missed:\n    hard[cuda.atomic.add(found, 0, 1)] = (i - first) * columns + at").body
        else:
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
