"""Rows of lanes on the device: a block of threads has a pair of samples, and its threads share every loop over lanes.

What lies between such loops, which row is meant and what boundaries make of it, all threads do alike. They wait for each
other after every loop over lanes, and wherever one of them reads or writes a number that others see.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from tp.errors import DeviceError

SYNC = ast.parse("cuda.syncthreads()").body[0]

LISTED = ast.parse(
    "if cuda.syncthreads_or(1 if missed else 0) and thread_ == 0:\n    hard[cuda.atomic.add(found, 0, 1)] = pair_"
).body[0]

Walk = tuple[str, ...]


def entry_text(function: ast.FunctionDef, uncovered: DeviceError) -> list[str]:
    """``…_tables`` and the kernel of ``rows`` or ``exact``; tables are those of :func:`tp.kernel.cuda.text.device_text`."""
    *head, loop = function.body
    tables = {t[0]: t[1] for s in head if (t := _table(s)) is not None}
    numbers = [s for s in head if _table(s) is None]
    if not isinstance(loop, ast.For) or not all(isinstance(s, ast.Assign) for s in numbers):
        raise uncovered
    pair = _Pair(set(tables), loop.body)
    if pair.leaking():
        raise uncovered
    integers = [s for s in numbers if not any(isinstance(x, ast.Name) and x.id == "c" for x in ast.walk(s))]
    arrays = [a.arg for a in function.args.args[5:]]  # after n, c, work, same, hard
    given = ["n", "c", "first", "last", "columns", "upper", "hard", "found", *arrays, *(f"{t}_all" for t in tables)]
    return [
        "\n".join([f"def {function.name}_tables(n):", *_lines(integers, 1), f"    return ({', '.join([*tables.values(), ''])})"]),
        "\n".join(
            [
                "@cuda.jit(cache=True)",
                f"def {function.name}({', '.join(given)}):",
                *_lines(numbers, 1),
                "    same, thread_ = (False, cuda.threadIdx.x)",
                *(f"    {t} = {t}_all[cuda.blockIdx.x]" for t in tables),
                *(_listed() if function.name == "exact" else _all_pairs()),
                "        row, col = (i, j)",
                *_lines(list(pair.steps(loop.body)), 2),
            ]
        ),
    ]


def _all_pairs() -> list[str]:
    return [
        "    for pair_ in range(cuda.blockIdx.x, (last - first) * columns, cuda.gridDim.x):",
        "        i, j = (first + pair_ // columns, pair_ % columns)",
        "        if upper and j <= i:",
        "            continue",
    ]


def _listed() -> list[str]:
    return [
        "    for turn_ in range(cuda.blockIdx.x, found[0], cuda.gridDim.x):",
        "        pair_ = hard[turn_]",
        "        i, j = (first + pair_ // columns, pair_ % columns)",
    ]


def _table(statement: ast.stmt) -> tuple[str, str] | None:
    """Name and sizes of the table that a statement makes."""
    match statement:
        case ast.Assign(
            targets=[ast.Name(id=name)],
            value=ast.Call(func=ast.Attribute(value=ast.Name(id="np"), attr="empty" | "zeros"), args=[ast.Tuple() as sizes, *_]),
        ):
            return name, ast.unparse(sizes)
    return None


class _Pair:
    """What is done for a pair: ``shared`` are the names of tables, and of rows of them, that all threads see."""

    def __init__(self, tables: set[str], body: Sequence[ast.stmt]) -> None:
        self.body = body
        self.shared = tables | {name for s in body for x in ast.walk(s) if (name := _view(x, tables)) is not None}

    def leaking(self) -> set[str]:
        """Numbers of one lane that are read outside of its loop; counts of misses may be."""
        loops = [x for s in self.body for x in ast.walk(s) if _over_lanes(x)]
        inside = {id(x) for loop in loops for x in ast.walk(loop)}
        misses = {id(x) for s in self.body for m in ast.walk(s) if _counts(m) for x in ast.walk(m)}
        outside = [x for s in self.body for x in ast.walk(s) if id(x) not in inside | misses]
        made = {x.id for loop in loops for x in ast.walk(loop) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)}
        return made & {x.id for x in outside if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)}

    def steps(self, body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
        """The statements for a block of threads."""
        for s in body:
            match s:
                case ast.For() if _over_lanes(s):
                    yield _taken_in_turn(s)
                    yield SYNC
                case ast.For() | ast.If():
                    if not (isinstance(s, ast.If) and isinstance(s.body[0], ast.Continue)):  # of pairs that are not hard
                        s.body, s.orelse = list(self.steps(s.body)), list(self.steps(s.orelse))
                        yield s
                case ast.Assign(targets=[ast.Tuple()]) if "work" in ast.unparse(s):
                    pass  # the pair, which is known here
                case ast.AugAssign(target=ast.Subscript(value=ast.Name(id="hard"))):
                    yield LISTED
                case ast.Assign(targets=[ast.Subscript()]) | ast.AugAssign(target=ast.Subscript()):
                    first = ast.parse("if thread_ == 0:\n    pass").body[0]
                    assert isinstance(first, ast.If)
                    first.body = [s]
                    yield from (SYNC, first, SYNC)
                case _:
                    yield s
                    if self.reads(s):
                        yield SYNC

    def reads(self, s: ast.stmt) -> bool:
        """Whether a statement reads numbers that others write; to say which row is meant is to read none."""
        return _view(s, self.shared) is None and any(isinstance(x, ast.Name) and x.id in self.shared for x in ast.walk(s))


def _view(x: ast.AST, shared: set[str]) -> str | None:
    """The name of a row of a table, where that is what a statement gives."""
    match x:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript(value=ast.Name(id=table), slice=index)) if (
            table in shared
        ):
            return name if any(isinstance(k, ast.Slice) for k in ast.walk(index)) else None
    return None


def _over_lanes(x: ast.AST) -> bool:
    """Whether this is a loop whose turns do not need each other: over lanes, or one that fills places with a number."""
    match x:
        case ast.For(target=ast.Name(id="z")):
            return True
        case ast.For(body=body):
            return all(isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Subscript) and _number(s.value) for s in body)
    return False


def _number(x: ast.expr) -> bool:
    return isinstance(x, ast.Constant) or (isinstance(x, ast.Call) and isinstance(x.args[0], ast.Constant))


def _counts(x: ast.AST) -> bool:
    return isinstance(x, ast.AugAssign) and isinstance(x.target, ast.Name) and x.target.id == "missed"


def _taken_in_turn(loop: ast.For) -> ast.For:
    """The loop, of which each thread has the turns from its own number on, as many apart as there are threads."""
    assert isinstance(loop.iter, ast.Call)
    at = [ast.unparse(a) for a in loop.iter.args]
    start, stop, step = ("0", at[0], "1") if len(at) == 1 else (*at, "1")[:3]
    first = "thread_" if (start, step) == ("0", "1") else f"{start} + {step} * thread_"
    turns = ast.parse(f"range({first}, {stop}, {step} * cuda.blockDim.x)", mode="eval").body
    return ast.For(loop.target, turns, loop.body, loop.orelse)


def _lines(statements: Sequence[ast.stmt], depth: int) -> list[str]:
    module = ast.fix_missing_locations(ast.Module(list(statements), []))
    return ["    " * depth + line for line in ast.unparse(module).splitlines()]
