"""Rows of lanes on the device: a block of threads has a pair of samples, or a part of one.

The threads share loops as :mod:`tp.kernel.cuda.walk` says. A table that is only added to and then added up is a number of each
thread. Where pairs are few, the turns of the loop over offsets go to several blocks, if all that is left of a turn is such
sums: the last block that is done adds up what the blocks have, always in the same order, and makes the results.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from tp.errors import DeviceError
from tp.kernel.cuda.fold import folded
from tp.kernel.cuda.walk import JOINED, Walk, joins, over_lanes

THREADS = {"float32": 1024, "float64": 512}
"""Threads of a block at most, by what they work in."""

REGISTERS = 1 << 16
"""Of a block, which its threads share: the text says how many each may take, so that no launch asks for more."""

LIMITED = """def limited(count):
    return {} if config.ENABLE_CUDASIM else {"max_registers": count}"""

TOGETHER = f"""@cuda.jit(device=True)
def {JOINED}(own, room, thread, threads):
    room[thread] = own
    step = 1
    while 2 * step < threads:
        step *= 2
    cuda.syncthreads()
    while step > 0:
        if thread < step and thread + step < threads:
            room[thread] += room[thread + step]
        step //= 2
        cuda.syncthreads()
    found = room[0]
    cuda.syncthreads()
    return found"""
"""The sum of what the threads of a block have, pairs of threads first."""

LISTED = "if cuda.syncthreads_or(1 if missed else 0) and thread_ == 0:\n    hard[cuda.atomic.add(found, 0, 1)] = pair_"


def entry_text(function: ast.FunctionDef, uncovered: DeviceError, real: str) -> list[str]:
    """``…_tables``, ``…_turns`` and the kernel of ``rows`` or ``exact`` in the precision ``real``.

    Tables are those of :func:`tp.kernel.cuda.text.device_text`, each flat. ``…_turns(n)`` is how many rows of lanes there are
    at once, among how many blocks a pair can be shared, and how many numbers a block then leaves for the last one. A launch
    takes, after the tables, room for these, [pairs, numbers, parts], a counter for each pair, which is 0, and the parts.
    """
    *head, loop = function.body
    tables = {t[0]: t[1] for s in head if (t := _table(s)) is not None}
    numbers = [s for s in head if _table(s) is None]
    if not isinstance(loop, ast.For) or not all(isinstance(s, ast.Assign) for s in numbers):
        raise uncovered
    integers = [s for s in numbers if not any(isinstance(x, ast.Name) and x.id == "c" for x in ast.walk(s))]
    pair = _Pair(loop.body, tables, {x.id for s in numbers for x in ast.walk(s) if isinstance(x, ast.Name)}, f"np.{real}(0.0)")
    if pair.leaking() or pair.whole_tables():
        raise uncovered
    kept = {t: s for t, s in tables.items() if t in _names(pair.body)}
    arrays = [a.arg for a in function.args.args[5:]]  # after n, c, work, same, hard
    given = ["n", "c", "first", "last", "columns", "upper", "hard", "found", *arrays, *(f"{t}_all" for t in kept)]
    given += ["sums_", "done_", "parts"]
    sizes = "".join(f"({', '.join(map(ast.unparse, s))},), " for s in kept.values())
    return [
        "\n".join([f"def {function.name}_tables(n):", *_lines(integers, 1), f"    return ({sizes})"]),
        "\n".join([f"def {function.name}_turns(n):", *_lines(integers, 1), f"    return {', '.join(pair.turns())}"]),
        "\n".join(
            [
                f"@cuda.jit(cache=True, **limited({REGISTERS // THREADS[real]}))",
                f"def {function.name}({', '.join(given)}):",
                *_lines(numbers, 1),
                f"    room = cuda.shared.array({THREADS[real]}, np.{real})",
                "    came_ = cuda.shared.array(1, np.int32)",
                "    x_, y_, wide_, high_ = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockDim.x, cuda.blockDim.y",
                "    thread_, threads_ = y_ * wide_ + x_, wide_ * high_",
                *(f"    {t} = {t}_all[cuda.blockIdx.x]" for t in kept),
                *(_listed() if function.name == "exact" else _all_pairs()),
                "        row, col, missed = (i, j, 0)",
                *_lines(pair.statements(), 2),
            ]
        ),
    ]


def _all_pairs() -> list[str]:
    return [
        "    for turn_ in range(cuda.blockIdx.x, (last - first) * columns * parts, cuda.gridDim.x):",
        "        pair_, part_ = (turn_ // parts, turn_ % parts)",
        "        i, j = (first + pair_ // columns, pair_ % columns)",
        "        if upper and j <= i:",
        "            continue",
    ]


def _listed() -> list[str]:
    return [
        "    for turn_ in range(cuda.blockIdx.x, found[0] * parts, cuda.gridDim.x):",
        "        pair_, part_ = (hard[turn_ // parts], turn_ % parts)",
        "        i, j = (first + pair_ // columns, pair_ % columns)",
    ]


def _table(statement: ast.stmt) -> tuple[str, list[ast.expr]] | None:
    """Name and sizes of the table that a statement makes."""
    match statement:
        case ast.Assign(
            targets=[ast.Name(id=name)],
            value=ast.Call(func=ast.Attribute(value=ast.Name(id="np"), attr="empty" | "zeros"), args=[ast.Tuple(elts=sizes), *_]),
        ):
            return name, sizes
    return None


@dataclass(frozen=True, slots=True)
class View:
    """A row of a table: its other indices, and where it begins and ends."""

    table: str
    at: tuple[ast.expr, ...]
    start: ast.expr
    stop: ast.expr
    rest: tuple[ast.expr, ...] = ()


class _Pair:
    """What is done for a pair. ``sums`` are the tables that become numbers of each thread."""

    def __init__(self, body: Sequence[ast.stmt], tables: dict[str, list[ast.expr]], fixed: set[str], zero: str) -> None:
        self.tables, self.fixed, self.zero = tables, fixed, zero
        self.body = folded([s for s in body if not _of_the_walk(s)], {"same": False})
        self.views = {s.targets[0].id: v for b in self.body for s in ast.walk(b) if (v := _view(s)) is not None}  # type: ignore
        self.sums = self._sums()
        self.body = [y for s in self.body for y in _Plain(self).block([s])]
        self.parts = {"missed", *(f"own_{t}" for t in self.sums), *(x for x in _stored(self.body) if x.startswith("own_"))}
        self.split = self._split()

    def leaking(self) -> set[str]:
        """Numbers of one lane that are read outside of its loop; counts of misses may be."""
        loops = [x for s in self.body for x in ast.walk(s) if over_lanes(x)]
        inside = {id(x) for loop in loops for x in ast.walk(loop)}
        misses = {id(x) for s in self.body for m in ast.walk(s) if _counts(m) for x in ast.walk(m)}
        outside = [x for s in self.body for x in ast.walk(s) if id(x) not in inside | misses]
        made = {x.id for loop in loops for x in ast.walk(loop) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)}
        return made & {x.id for x in outside if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)} - self.parts

    def whole_tables(self) -> bool:
        """Whether a table is used but for its numbers and rows: here each is flat."""
        nodes = [x for s in self.body for x in ast.walk(s)]
        places = [
            x for x in nodes if isinstance(x, ast.Subscript) and isinstance(x.value, ast.Name) and x.value.id in self.tables
        ]
        return len(places) < sum(isinstance(x, ast.Name) and x.id in self.tables for x in nodes)

    # ------------------------------------------------------------ sums

    def _sums(self) -> set[str]:
        """Tables of lanes that are cleared, added to lane by lane, and added up as a whole: nothing else."""
        found = {t for t, sizes in self.tables.items() if len(sizes) == 1}
        allowed = set[int]()
        for s in (x for b in self.body for x in ast.walk(b)):
            match s:
                case ast.For(target=ast.Name(id="z"), body=body):
                    allowed |= {id(x.targets[0].value) for x in body if self._clears(x)}  # type: ignore[attr-defined]
                    allowed |= {id(x.target.value) for x in body if _adds(x)}  # type: ignore[attr-defined]
                case ast.AugAssign(
                    op=ast.Add(), value=ast.Call(func=ast.Name(id="total" | "total_single"), args=[ast.Name(id=row)])
                ):
                    if row in self.views and self._whole(self.views[row]):
                        allowed.add(id(s.value.args[0]))  # type: ignore[attr-defined]
                case ast.Assign() if _view(s) is not None:
                    allowed.add(id(s.value.value))  # type: ignore[attr-defined]
        for x in (x for b in self.body for x in ast.walk(b)):
            if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load) and id(x) not in allowed:
                found -= {self.views[x.id].table if x.id in self.views else x.id}
        return found & {v.table for v in self.views.values()}

    def _clears(self, s: ast.stmt) -> bool:
        match s:
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(), slice=ast.Name(id="z"))], value=value):
                return self._zero(value)
        return False

    def _zero(self, value: ast.expr) -> bool:
        return ast.unparse(value) in (self.zero, "0.0")

    def _whole(self, view: View) -> bool:
        sizes = self.tables.get(view.table, [])
        return [ast.unparse(view.start), *map(ast.unparse, [view.stop] * len(sizes))] == ["0", *map(ast.unparse, sizes)]

    # ------------------------------------------------------------ parts of a pair

    def _split(self) -> ast.For | None:
        """The loop over offsets whose turns leave nothing but sums, where all that is ahead of it is to clear these."""
        k = next((k for k, s in enumerate(self.body) if isinstance(s, ast.For) and not over_lanes(s)), None)
        if k is None or not self.sums:
            return None
        loop, ahead, after = self.body[k], self.body[:k], self.body[k + 1 :]
        assert isinstance(loop, ast.For)
        one_plane = isinstance(loop.target, ast.Name) and loop.target.id.startswith("d")
        clear = all(isinstance(s, ast.Assign) and self._zero(s.value) for s in ahead)
        left = (_stored([loop]) | (_names([loop]) & self.tables.keys())) - self.parts - {"z"}
        return loop if one_plane and clear and not left & _names([*ahead, *after]) else None

    def turns(self) -> list[str]:
        """By the integers alone: rows of lanes at once, parts of a pair, numbers that a part leaves."""
        shared = self.walk().nests
        nests = [x for s in self.body for x in ast.walk(s) if id(x) in shared]
        rows = [_length(x) for x in nests if isinstance(x, ast.For) and _names([x.iter]) <= self.fixed | {"range"}]
        parts = _length(self.split) if self.split is not None else "1"
        return [f"max(1, 1, {', '.join(dict.fromkeys(rows))})", f"max(1, {parts})", str(len(self.sums) + 1)]

    def walk(self) -> Walk:
        return Walk(self.body, self.tables.keys() - self.sums, self.fixed, self.parts)

    def statements(self) -> list[ast.stmt]:
        """The statements for a block of threads."""
        if self.split is not None:
            assert isinstance(self.split.iter, ast.Call)
            start, stop, step = (*self.split.iter.args, ast.Constant(1))[:3]
            texts = [ast.unparse(x) for x in (start, stop, step)]
            range_ = f"range({texts[0]} + {texts[2]} * part_, {texts[1]}, {texts[2]} * parts)"
            self.split.iter = ast.parse(range_, mode="eval").body
            at = self.body.index(self.split) + 1
            self.body[at:at] = ast.parse(f"{JOINED}()").body
        found = []
        for s in self.walk().statements():
            found += self._gathered() if isinstance(s, ast.Expr) and joins(s) else [s]
        return [_Flat(self.tables).visit(s) for s in found]

    def _gathered(self) -> list[ast.stmt]:
        """The sums of all blocks that have a part of the pair, in the last of them to come here."""
        own = [f"own_{t}" for t in sorted(self.sums)]
        lines = [
            "if parts > 1:",
            *(f"    {x} = {JOINED}({x}, room, thread_, threads_)" for x in own),
            "    missed = cuda.syncthreads_or(1 if missed else 0)",
            f"    at_ = pair_ * {len(own) + 1} * parts",
            "    if thread_ == 0:",
            *(f"        sums_[at_ + {k} * parts + part_] = {x}" for k, x in enumerate([*own, "missed"])),
            "        cuda.threadfence()",
            "        came_[0] = cuda.atomic.add(done_, pair_, 1)",
            "    cuda.syncthreads()",
            "    if came_[0] + 1 < parts:",
            "        continue",
            "    cuda.threadfence()",
            *(f"    {x} = {self.zero}" for x in own),
            "    missed = 0",
            "    for p_ in range(thread_, parts, threads_):",
            *(f"        {x} += sums_[at_ + {k} * parts + p_]" for k, x in enumerate(own)),
            f"        missed += 1 if sums_[at_ + {len(own)} * parts + p_] > 0 else 0",
            "    if thread_ == 0:",
            "        done_[pair_] = 0",
        ]
        text = "\n".join(["for _ in turns:", *("    " + line for line in lines)])
        (loop,) = ast.parse(text).body
        assert isinstance(loop, ast.For)
        return loop.body


class _Plain(ast.NodeTransformer):
    """Rows of tables become places in them, sums numbers of each thread, and what ends a pair what it is on the device."""

    def __init__(self, pair: _Pair) -> None:
        self.pair, self.fresh = pair, count(1)

    def block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for s in body:
            made = self.visit(s)
            found += made if isinstance(made, list) else [] if made is None else [made]
        return found

    def visit_For(self, node: ast.For) -> ast.stmt | list[ast.stmt] | None:
        node.body = self.block(node.body)
        cleared = [s for s in node.body if isinstance(s, ast.Assign) and _own(s.targets[0])]
        if over_lanes(node) and cleared:
            rest = [s for s in node.body if s not in cleared]
            return [*cleared, *([ast.For(node.target, node.iter, rest, [])] if rest else [])]
        return node if node.body else None

    def visit_If(self, node: ast.If) -> ast.stmt:
        node.test = self.visit(node.test)
        node.body, node.orelse = self.block(node.body) or [ast.Pass()], self.block(node.orelse)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.stmt | None:
        if _view(node) is not None and node.targets[0].id in self.pair.views:  # type: ignore[attr-defined]
            return None
        made = self.generic_visit(node)
        assert isinstance(made, ast.Assign)
        return made

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt | list[ast.stmt]:
        match node:
            case ast.AugAssign(target=ast.Subscript(value=ast.Name(id="hard"))):
                return ast.parse(LISTED).body
            case ast.AugAssign(op=ast.Add(), value=ast.Call(func=ast.Name(id="total" | "total_single"), args=[ast.Name(id=row)])):
                if row in self.pair.views:
                    return self._total(ast.unparse(node.target), self.pair.views[row])
        made = self.generic_visit(node)
        assert isinstance(made, ast.AugAssign)
        return made

    def _total(self, target: str, view: View) -> list[ast.stmt]:
        if view.table in self.pair.sums:
            return ast.parse(f"{target} += {JOINED}(own_{view.table}, room, thread_, threads_)").body
        own = f"own_{next(self.fresh)}"
        size = (
            f"{ast.unparse(view.stop)} - ({ast.unparse(view.start)})"
            if ast.unparse(view.start) != "0"
            else ast.unparse(view.stop)
        )
        place = _place(view, ast.Name("z", ast.Load()), ast.Load())
        lines = [
            f"{own} = {self.pair.zero}",
            f"for z in range({size}):\n    {own} += {ast.unparse(place)}",
            f"{target} += {JOINED}({own}, room, thread_, threads_)",
        ]
        return ast.parse("\n".join(lines)).body

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        node.slice = self.visit(node.slice)
        match node.value:
            case ast.Name(id=name) if name in self.pair.views:
                view = self.pair.views[name]
                return (
                    ast.Name(f"own_{view.table}", node.ctx)
                    if view.table in self.pair.sums
                    else _place(view, node.slice, node.ctx)
                )
            case ast.Name(id=name) if name in self.pair.sums:
                return ast.Name(f"own_{name}", node.ctx)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.pair.views or not isinstance(node.ctx, ast.Load):
            return node
        view = self.pair.views[node.id]
        return _place(view, ast.Slice(view.start, view.stop), node.ctx)


class _Flat(ast.NodeTransformer):
    """Places of tables as numbers: each table is one row."""

    def __init__(self, tables: dict[str, list[ast.expr]]) -> None:
        self.tables = tables

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        made = self.generic_visit(node)
        assert isinstance(made, ast.Subscript)
        if isinstance(made.value, ast.Name) and made.value.id in self.tables and isinstance(made.slice, ast.Tuple):
            *at, last = made.slice.elts
            row: ast.expr | None = None
            for size, e in zip(self.tables[made.value.id], at, strict=False):
                row = e if row is None else ast.BinOp(ast.BinOp(row, ast.Mult(), size), ast.Add(), e)
                row = None if isinstance(row, ast.Constant) and row.value == 0 else row
            assert row is None or len(at) + 1 == len(self.tables[made.value.id])
            begin = row and ast.BinOp(row, ast.Mult(), self.tables[made.value.id][-1])
            made.slice = last if begin is None else _beyond(begin, last)
        return made


def _place(view: View, at: ast.expr, ctx: ast.expr_context) -> ast.Subscript:
    """A place in a row, or the row where ``at`` is its slice."""
    first, *more = at.elts if isinstance(at, ast.Tuple) else [at]
    if not isinstance(at, ast.Slice) and not (isinstance(view.start, ast.Constant) and view.start.value == 0):
        first = ast.BinOp(view.start, ast.Add(), first)
    every = [*view.at, first, *view.rest, *more]
    return ast.Subscript(ast.Name(view.table, ast.Load()), ast.Tuple(every, ast.Load()) if len(every) > 1 else first, ctx)


def _beyond(begin: ast.expr, e: ast.expr) -> ast.expr:
    if isinstance(e, ast.Slice) and e.lower is not None and e.upper is not None:
        return ast.Slice(ast.BinOp(begin, ast.Add(), e.lower), ast.BinOp(begin, ast.Add(), e.upper))
    return ast.BinOp(begin, ast.Add(), e)


def _view(s: ast.AST) -> View | None:
    """The row of a table that a statement gives a name."""
    match s:
        case ast.Assign(targets=[ast.Name()], value=ast.Subscript(value=ast.Name(id=table), slice=index)):
            every = index.elts if isinstance(index, ast.Tuple) else [index]
            at = [k for k, e in enumerate(every) if isinstance(e, ast.Slice)]
            if len(at) == 1 and isinstance(part := every[at[0]], ast.Slice) and part.lower is not None and part.upper is not None:
                return View(table, tuple(every[: at[0]]), part.lower, part.upper, tuple(every[at[0] + 1 :]))
    return None


def _adds(s: ast.stmt) -> bool:
    match s:
        case ast.AugAssign(target=ast.Subscript(value=ast.Name(), slice=ast.Name(id="z")), op=ast.Add()):
            return True
    return False


def _of_the_walk(s: ast.stmt) -> bool:
    """Whether a statement says which pair it is, or leaves out those that are not hard: both are known here."""
    match s:
        case ast.Assign(targets=[ast.Tuple()]):
            return "work" in _names([s])
        case ast.If(body=[ast.Continue()]):
            return True
        case ast.Assign(targets=[ast.Name(id="missed")]):
            return True
    return False


def _own(x: ast.expr) -> bool:
    return isinstance(x, ast.Name) and x.id.startswith("own_")


def _counts(x: ast.AST) -> bool:
    return isinstance(x, ast.AugAssign) and isinstance(x.target, ast.Name) and x.target.id == "missed"


def _names(nodes: Sequence[ast.AST]) -> set[str]:
    return {x.id for node in nodes for x in ast.walk(node) if isinstance(x, ast.Name)}


def _stored(nodes: Sequence[ast.AST]) -> set[str]:
    return {x.id for node in nodes for x in ast.walk(node) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)}


def _length(loop: ast.For) -> str:
    """How many turns."""
    assert isinstance(loop.iter, ast.Call)
    at = [ast.unparse(a) for a in loop.iter.args]
    start, stop, step = ("0", at[0], "1") if len(at) == 1 else (*at, "1")[:3]
    return f"-(({start} - ({stop})) // ({step}))"


def _lines(statements: Sequence[ast.stmt], depth: int) -> list[str]:
    module = ast.fix_missing_locations(ast.Module(list(statements), []))
    return ["    " * depth + line for line in ast.unparse(module).splitlines()]
