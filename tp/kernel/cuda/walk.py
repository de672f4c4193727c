"""Who does what of a pair that a block of threads has: loops over lanes, and rows of lanes, shared; waits where they are needed.

Threads lie in rows, as wide as lanes go. A loop over rows of lanes whose turns need nothing of each other is walked in both
directions at once, a loop over lanes alone by all threads in line. All else the threads do alike. Two statements need a wait
between them where one writes what the other uses, unless each number has one thread that does both: the *owner* of a number
is told by the row and the lane that it stands at.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from copy import deepcopy
from dataclasses import dataclass, replace

from tp.kernel.loops import is_stored, taken, target

SYNC = ast.parse("cuda.syncthreads()").body[0]

JOINED = "together"
"""The function that adds up what all threads have, and lets them wait for each other."""


@dataclass(frozen=True, slots=True)
class Use:
    """A table read or written. ``owner`` tells which thread has which number of it; None: any may."""

    table: str
    writes: bool
    owner: tuple[str, ...] | None

    def clashes(self, other: Use) -> bool:
        """Whether one thread may write what another uses."""
        apart = self.table != other.table or not (self.writes or other.writes)
        return not apart and (self.owner is None or self.owner != other.owner)


Uses = frozenset[Use]
NONE: Uses = frozenset()
FIRST = ("first",)


@dataclass(frozen=True, slots=True)
class Around:
    """The loops that threads share around a read: over rows, where that is one of them, and over lanes."""

    rows: ast.For | None = None
    lanes: ast.For | None = None


class Walk:
    """The statements of a pair, and which of their loops go over rows that threads share.

    ``tables`` are what threads see of each other, ``fixed`` the names that keep their value as long as the kernel runs, and
    ``parts`` those of which each thread has a part, or may have one, that are put together later.
    """

    def __init__(self, body: Sequence[ast.stmt], tables: Set[str], fixed: Set[str], parts: Set[str]) -> None:
        self.body, self.tables, self.fixed, self.parts = body, tables, fixed, parts
        self.loads = _loads(body)
        self.nests = {id(x) for s in body for x in ast.walk(s) if isinstance(x, ast.For) and self._shared_rows(x)}

    def statements(self) -> list[ast.stmt]:
        """The statements for a block of threads, which have waited for each other at the end."""
        found, since = self.placed(self.body, NONE)
        return [*found, SYNC] if since else found

    # ------------------------------------------------------------ uses

    def uses(self, s: ast.stmt) -> Uses:
        """The tables that a statement reads and writes; of a loop that holds others, its head alone."""
        if first_only(s):
            found = frozenset(replace(u, owner=FIRST) for u in self._uses(s, Around()))
        elif id(s) in self.nests:
            assert isinstance(s, ast.For)
            found = frozenset(u for x in s.body for u in self._uses(x, Around(rows=s)))
        elif over_lanes(s) or not isinstance(s, (ast.For, ast.If)):
            found = frozenset(self._uses(s, Around()))
        else:
            found = frozenset(self._uses(s.iter if isinstance(s, ast.For) else s.test, Around()))
        return frozenset(u if self._lasts(u.owner) else replace(u, owner=None) for u in found)

    def _uses(self, s: ast.AST, around: Around) -> Iterator[Use]:
        match s:
            case ast.For() if over_lanes(s):
                for each in s.body:
                    yield from self._uses(each, replace(around, lanes=s))
            case ast.Subscript(value=ast.Name(id=name)) if name in self.tables:
                yield Use(name, not isinstance(s.ctx, ast.Load), self._owner(s, around))
                yield from self._uses(s.slice, around)
            case ast.Name(id=name) if name in self.tables:
                yield Use(name, True, None)  # given to a function
            case _:
                for x in ast.iter_child_nodes(s):
                    yield from self._uses(x, around)

    def _owner(self, s: ast.Subscript, around: Around) -> tuple[str, ...] | None:
        """Which thread has a number: lane by lane, and row by row where rows are shared."""
        *at, last = s.slice.elts if isinstance(s.slice, ast.Tuple) else [s.slice]
        if around.lanes is None or (lane := _beside(last, target(around.lanes))) is None:
            return None
        found = lane, ast.unparse(around.lanes.iter)
        if around.rows is None:
            return found
        name, walk = target(around.rows), ast.unparse(around.rows.iter)
        rows = [(str(k), row, walk) for k, e in enumerate(at) if (row := _beside(e, name)) is not None]
        return (*rows[0], *found) if rows else None

    def _lasts(self, owner: tuple[str, ...] | None) -> bool:
        """Whether an owner is the same later on."""
        if owner is None or owner == FIRST:
            return True
        names = {x.id for text in owner for x in ast.walk(ast.parse(text)) if isinstance(x, ast.Name)}
        return names <= self.fixed | {"range"}

    # ------------------------------------------------------------ rows of lanes

    def _shared_rows(self, s: ast.For) -> bool:
        """Whether this is a loop over rows of lanes whose turns threads can share without waiting for each other."""
        if over_lanes(s) or not any(over_lanes(x) for x in s.body) or joins(s):
            return False
        lanes = {id(y) for x in ast.walk(s) if over_lanes(x) for y in ast.walk(x)}
        outside = [x for x in ast.walk(s) if id(x) not in lanes]
        if any(isinstance(x, (ast.Continue, ast.Expr)) or (isinstance(x, ast.Subscript) and is_stored(x)) for x in outside):
            return False
        made = {x.id for x in ast.walk(s) if isinstance(x, ast.Name) and is_stored(x)} - self.parts - {"z"}
        within = _loads([s])
        if made & taken(s.body, {target(s)}) or any(self.loads[name] > within[name] for name in made):
            return False
        uses = [u for x in s.body for u in self._uses(x, Around(rows=s))]
        return not any(a.clashes(b) for k, a in enumerate(uses) for b in uses[k:])

    # ------------------------------------------------------------ waits

    def placed(self, body: Sequence[ast.stmt], since: Uses) -> tuple[list[ast.stmt], Uses]:
        """Statements with waits between them, and what was used since the last one; ``since``: what was used ahead."""
        found: list[ast.stmt] = []
        for s in body:
            uses = self.uses(s)
            if any(a.clashes(b) for a in since for b in uses):
                found.append(SYNC)
                since = NONE
            since |= uses
            match s:
                case ast.For() if not over_lanes(s) and id(s) not in self.nests:
                    inner, since = self.repeated(s.body, since)
                    found.append(ast.For(s.target, s.iter, inner, []))
                case ast.If():
                    (yes, one), (no, two) = self.placed(s.body, since), self.placed(s.orelse, since)
                    found.append(ast.If(s.test, yes, no))
                    since = one | two
                case _:
                    found.append(self.divided(s))
                    since = NONE if joins(s) else since
        return found, since

    def repeated(self, body: Sequence[ast.stmt], since: Uses) -> tuple[list[ast.stmt], Uses]:
        """A loop's body, whose turns follow each other."""
        while True:
            inner, after = self.placed(body, since)
            if after <= since:
                return inner, since
            since |= after

    def divided(self, s: ast.stmt) -> ast.stmt:
        """A statement, of which each thread does its part."""
        if isinstance(s, ast.For) and over_lanes(s):
            return _every(s, s.body, "thread_", "threads_")
        if isinstance(s, ast.For):
            return _every(s, [_Across().visit(deepcopy(x)) for x in s.body], "y_", "high_")
        if first_only(s):
            return ast.If(ast.Compare(ast.Name("thread_", ast.Load()), [ast.Eq()], [ast.Constant(0)]), [s], [])
        return s


class _Across(ast.NodeTransformer):
    def visit_For(self, node: ast.For) -> ast.stmt:
        if over_lanes(node):
            return _every(node, node.body, "x_", "wide_")
        node.body = [self.visit(x) for x in node.body]
        return node


def _every(loop: ast.For, body: list[ast.stmt], first: str, step: str) -> ast.For:
    """The loop, of which a thread has the turns from its own number on, as many apart as there are threads."""
    assert isinstance(loop.iter, ast.Call)
    at = [ast.unparse(a) for a in loop.iter.args]
    start, stop, by = ("0", at[0], "1") if len(at) == 1 else (*at, "1")[:3]
    from_here = first if (start, by) == ("0", "1") else f"{start} + {first}" if by == "1" else f"{start} + {by} * {first}"
    turns = ast.parse(f"range({from_here}, {stop}, {step if by == '1' else f'{by} * {step}'})", mode="eval").body
    return ast.For(loop.target, turns, body, [])


def over_lanes(x: ast.AST) -> bool:
    """Whether this is a loop whose turns do not need each other: over lanes, or one that fills places with a number."""
    match x:
        case ast.For(target=ast.Name(id="z")):
            return True
        case ast.For(body=body):
            return all(isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Subscript) and _number(s.value) for s in body)
    return False


def joins(s: ast.AST) -> bool:
    """Whether all threads wait for each other within a statement."""
    return any(isinstance(x, ast.Name) and x.id == JOINED for x in ast.walk(s))


def first_only(s: ast.AST) -> bool:
    """Whether a statement that stands alone is for one thread: it writes a number that others see."""
    match s:
        case ast.Assign(targets=[ast.Subscript()]) | ast.AugAssign(target=ast.Subscript()):
            return True
    return False


def _number(x: ast.expr) -> bool:
    return isinstance(x, ast.Constant) or (isinstance(x, ast.Call) and isinstance(x.args[0], ast.Constant))


def _loads(body: Sequence[ast.stmt]) -> Counter[str]:
    """How often names are read."""
    return Counter(x.id for s in body for x in ast.walk(s) if isinstance(x, ast.Name) and not is_stored(x))


def _beside(e: ast.expr, name: str) -> str | None:
    """How far an index lies from a loop's, where it runs along with that."""
    match e:
        case ast.Name(id=x) if x == name:
            return "0"
        case ast.BinOp(left=rest, op=ast.Add(), right=ast.Name(id=x)) | ast.BinOp(left=ast.Name(id=x), op=ast.Add(), right=rest):
            if x == name and not any(isinstance(y, ast.Name) and y.id == name for y in ast.walk(rest)):
                return ast.unparse(rest)
    return None


__all__ = ["JOINED", "SYNC", "Walk", "joins", "over_lanes"]
