"""A generated function of one pair at a time, positions as lanes, as a function of many pairs: its statements.

See :mod:`tp.kernel.abreast` for what they mean, and :mod:`tp.kernel.turns` for loops of which all turns are one statement.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from tp.kernel.atonce import SKIPPED, Blocks, flags
from tp.kernel.loops import carried, stored
from tp.kernel.straight import Unfit, calling
from tp.kernel.trees import copied, nodes
from tp.kernel.turns import SAME, Turns, apart_from_same, is_count, is_innermost, is_row, of_others

PAIRS = "range(work.shape[0])"
SAMPLES = "range(start, stop)"


class Pairwise(Blocks):
    """A function of one pair at a time, for all that are given."""

    def __init__(self) -> None:
        self.first: ast.expr | None = None
        """The first lane of the loop at hand; ``None`` outside of loops over lanes."""
        self.stop: ast.expr = ast.Constant(0)
        self.flags: set[str] = set()
        self.tables: dict[str, str] = {}
        """Of which tables rows are, by name."""

    def function(self, f: ast.FunctionDef) -> ast.FunctionDef:
        f.decorator_list = []
        samples = all(a.arg != "hard" for a in f.args.args)
        pairs = "pairs = stop - start" if samples else "pairs = hard.shape[-1]"
        f.body = [*ast.parse(pairs).body, *self.block(f.body)]
        return f

    # statements

    def visit_For(self, s: ast.For) -> Any:
        if isinstance(s.target, ast.Name) and s.target.id == "z" and self.first is None:
            return self.lanes(s)
        if ast.unparse(s.iter) in (PAIRS, SAMPLES):
            s.iter = calling("range", ast.Constant(1))
        if self.first is None and (at_once := self.together(s)) is not None:
            return at_once
        s.iter = self.visit(s.iter)
        s.body = self.block(s.body)
        return s

    def together(self, s: ast.For) -> list[ast.stmt] | None:
        """All turns of a loop at once, where they can be and pairs are not of a sample with itself."""
        if not is_innermost(s):
            return None
        try:
            made = _AllTurns(self, others := of_others(copied(s))).loop(others)
        except Unfit:
            return None
        if apart_from_same(s):
            return made
        each = ast.For(s.target, self.visit(s.iter), self.block(s.body), [])
        return [ast.If(ast.Name(SAME, ast.Load()), [each], made)]

    def lanes(self, s: ast.For) -> list[ast.stmt]:
        """A loop over lanes: none, for all of them at once."""
        assert isinstance(s.iter, ast.Call)
        self.flags |= flags(s.body)
        if left := carried(s) - flags(s.body):
            raise Unfit(f"{left} are carried from lane to lane")
        places = [(ast.unparse(x.value), x.ctx) for x in nodes(s) if isinstance(x, ast.Subscript)]
        read, written = ({n for n, ctx in places if isinstance(ctx, kind)} for kind in (ast.Load, ast.Store))
        if read & written:
            raise Unfit(f"{read & written} are read and written in one loop")
        *start, stop = [self.visit(a) for a in s.iter.args]
        if len(start) > 1:
            raise Unfit(ast.unparse(s.iter))
        self.first, self.stop = start[0] if start else ast.Constant(0), stop
        found = self.block(s.body)
        self.first = None
        return found

    def visit_If(self, s: ast.If) -> ast.If | None:
        if isinstance(s.body[0], ast.Continue) and ast.unparse(s) == SKIPPED_PAIR:
            return None
        if self.first is not None:
            raise Unfit("a condition in a loop over lanes")
        flag = isinstance(s.test, ast.Name) and s.test.id in self.flags
        s.test = calling("any_", s.test) if flag else calling("alike_", self.visit(s.test))
        s.body, s.orelse = self.block(s.body) or [ast.Pass()], self.block(s.orelse)
        return s

    def visit_While(self, s: ast.While) -> Any:
        raise Unfit("while")

    def visit_Assign(self, s: ast.Assign) -> ast.Assign:
        match s:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.IfExp(test=test)) if self.first and flags([s]):
                s.value = calling("missing", ast.Name(name, ast.Load()), self.visit(test))
                return s
            case ast.Assign(value=ast.Call(func=ast.Attribute(attr="empty" | "zeros"), args=[shape, *_])):
                sizes = shape.elts if isinstance(shape, ast.Tuple) else [shape]
                shape = ast.Tuple([*sizes, ast.Name("pairs", ast.Load())], ast.Load())
                assert isinstance(s.value, ast.Call)
                s.value.args[0] = shape
                return s
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript(value=ast.Name(id=table)) as row) if is_row(row):
                self.tables[name] = self.tables.get(table, table)
        s.value = self.visit(s.value)
        s.targets = [self.visit(t) for t in s.targets]
        return s

    def visit_AugAssign(self, s: ast.AugAssign) -> ast.stmt:
        """What is added to a name is not added to the array it stood for, which may have other names."""
        value = self.visit(s.value)
        if isinstance(s.target, ast.Name):
            return ast.Assign([s.target], ast.BinOp(ast.Name(s.target.id, ast.Load()), s.op, value))
        return ast.AugAssign(self.visit(s.target), s.op, value)

    # places

    def visit_Subscript(self, e: ast.Subscript) -> ast.expr:
        *before, last = e.slice.elts if isinstance(e.slice, ast.Tuple) else [e.slice]
        if any(_has_lane(x) for x in before) or not _has_lane(last):
            if any(_has_lane(x) for x in (*before, e.value)):
                raise Unfit(ast.unparse(e))
            return e
        along = self.along(last)
        return ast.Subscript(e.value, ast.Tuple([*before, along], ast.Load()) if before else along, e.ctx)

    def along(self, x: ast.expr) -> ast.expr:
        """The lanes of the loop at hand, where one has ``x``."""
        assert self.first is not None
        if isinstance(x, ast.Name):
            return ast.Slice(self.first, self.stop)
        text, one = ast.unparse(x), ast.unparse(self.first)
        first, second = (re.sub(r"\bz\b", lane, text) for lane in (f"({one})", f"({one} + 1)"))
        count = f"({ast.unparse(self.stop)}) - ({one})"
        return ast.parse(f"span({first}, {second}, {count})", mode="eval").body


class _AllTurns(Pairwise):
    """A loop around loops over lanes, for all its turns at once: see :mod:`tp.kernel.turns`."""

    def __init__(self, around: Pairwise, loop: ast.For) -> None:
        super().__init__()
        self.flags, self.tables = around.flags, around.tables
        self.turns = Turns(loop, self.tables)
        self.made = stored(loop.body)
        self.lanes_: ast.expr = ast.Constant(1)
        """How many lanes loops over lanes have, as far as it is known before the loop."""

    def loop(self, s: ast.For) -> list[ast.stmt]:
        assert isinstance(s.iter, ast.Call)
        *start, stop = [self.visit(a) for a in s.iter.args]
        if len(start) > 1:
            raise Unfit(ast.unparse(s.iter))
        body = self.block(s.body)
        first = ast.parse(f"{self.turns.first} = {self.turns.name}[0]").body
        ends = start[0] if start else ast.Constant(0), stop, self.lanes_, ast.Name("pairs", ast.Load())
        return [ast.For(s.target, calling("turns", *ends), [*first, *body], [])]

    def lanes(self, s: ast.For) -> list[ast.stmt]:
        if self.turns.depends(s.iter):
            raise Unfit(ast.unparse(s.iter))
        found = super().lanes(s)
        if not any(isinstance(x, ast.Name) and x.id in self.made for x in nodes(self.stop)):
            self.lanes_ = self.stop
        return found

    def visit_If(self, s: ast.If) -> ast.If | None:
        if self.turns.depends(s.test):
            raise Unfit(ast.unparse(s.test))
        return super().visit_If(s)

    def visit_Assign(self, s: ast.Assign) -> ast.Assign:
        (target,) = s.targets
        turns = self.turns
        if isinstance(target, ast.Subscript):
            self.own(target)
            turns.number(s.value)
        elif isinstance(s.value, ast.Subscript) and is_row(s.value):
            name = ast.unparse(target)
            if turns.depends(s.value):
                turns.rows.add(name)
                turns.copies |= {name} if self.copied(s.value) else set()
        elif not flags([s]):
            turns.named(s.targets, s.value)
        return super().visit_Assign(s)

    def visit_AugAssign(self, s: ast.AugAssign) -> ast.stmt:
        if isinstance(s.target, ast.Name):
            if not is_count(s):
                self.turns.named([s.target], s.value)
            return super().visit_AugAssign(s)
        self.turns.number(s.value)
        if self.turns.depends(s.target):
            self.own(s.target)
        elif isinstance(s.op, ast.Add) and self.turns.depends(s.value):
            return ast.AugAssign(self.visit(s.target), s.op, calling("over_turns", self.visit(s.value)))
        else:
            raise Unfit(ast.unparse(s))
        return super().visit_AugAssign(s)

    def own(self, place: ast.expr) -> None:
        """Raises :class:`Unfit` where what is set there is not a turn's own."""
        assert isinstance(place, ast.Subscript)
        one_copy = ast.unparse(place.value) in self.turns.copies or self.copied(place)
        if not self.turns.depends(place) or one_copy or self.first is None:
            raise Unfit(ast.unparse(place))

    def copied(self, e: ast.Subscript) -> bool:
        at = e.slice.elts if isinstance(e.slice, ast.Tuple) else [e.slice]
        return any(map(self.turns.depends, at)) and self.turns.parts(at, at)[1]

    def visit_Subscript(self, e: ast.Subscript) -> ast.expr:
        *before, last = e.slice.elts if isinstance(e.slice, ast.Tuple) else [e.slice]
        row, turns = turned(e.value, self.turns), self.turns
        if not row and not any(map(turns.depends, (*before, last))):
            return super().visit_Subscript(e)
        if row:
            if before or not _has_lane(last) or turns.depends(last):
                raise Unfit(ast.unparse(e))
            return ast.Subscript(e.value, ast.Tuple([ast.Slice(), self.along(last)], ast.Load()), e.ctx)
        if any(map(_has_lane, before)):
            raise Unfit(ast.unparse(e))
        if _has_lane(last) or isinstance(last, ast.Slice):
            if turns.depends(last):
                raise Unfit(ast.unparse(e))
            at, _ = turns.parts(before, [self.visit(x) for x in before])
            return ast.Subscript(e.value, ast.Tuple([*at, self.along(last) if _has_lane(last) else last], ast.Load()), e.ctx)
        at, _ = turns.parts([*before, last], [self.visit(x) for x in (*before, last)])
        number = ast.Subscript(e.value, ast.Tuple(at, ast.Load()), ast.Load())
        return ast.Subscript(number, ast.Tuple([ast.Slice(), ast.Constant(None)], ast.Load()), e.ctx)


def turned(x: ast.expr, turns: Turns) -> bool:
    """Whether a name is that of a row that each turn has."""
    return isinstance(x, ast.Name) and x.id in turns.rows


SKIPPED_PAIR = SKIPPED.replace("[i - i0]", "[w]")


def _has_lane(x: ast.expr) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "z" for n in nodes(x))
