"""Nests of loops as numba text: names of what loops run over, variables that are known in a scope, and addresses in tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sympy as sp

from tp.kernel.cells import Axis, Cell, Formula, Spot, Table, greatest, least
from tp.kernel.expressions import index_text
from tp.kernel.lanes import Library
from tp.kernel.order import Code
from tp.kernel.text import Lines
from tp.program.ir import Domain, Range


class Nests:
    """Text of one function's loops, but for what is in them."""

    plan = "pairs"  # whose tables these are: another plan's may have the same names

    def __init__(self, library: Library, tables: dict[str, Table], code: Code) -> None:
        self.library, self.tables, self.code = library, tables, code
        self.out = Lines(depth=2)
        self.names: dict[sp.Basic, str] = {}
        self.ranges: list[Range] = []
        self.memo: list[dict[object, str]] = [{}]
        self.count = 0
        self.used: dict[str, None] = {}

    @contextmanager
    def loops(self, domain: Domain, reverse: bool = False) -> Iterator[None]:
        """Loops over a domain; ranges may use outer ones."""
        if not domain:
            with self.scope():
                yield
            return
        r, rest = domain[0], domain[1:]
        name = self.names[r.index] = self.fresh("x")
        lo, hi = self.index(r.lo), self.index(r.hi)
        if r.hi.is_Integer:
            hi = self.library.numbers.integer(int(r.hi), written=False)
        walk = f"range({hi}, {lo} - 1, -1)" if reverse else f"range({lo}, {hi} + 1)"
        with self.out.block(f"for {name} in {walk}:"):
            self.ranges.append(r)
            with self.scope(), self.loops(rest, reverse):
                yield
            self.ranges.pop()

    @contextmanager
    def scope(self) -> Iterator[None]:
        self.memo.append({})
        yield
        self.memo.pop()

    def known(self, key: object) -> str | None:
        return next((m[key] for m in reversed(self.memo) if key in m), None)

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def remember(self, key: object, text: str, stem: str) -> str:
        found = self.known(key)
        if found is None:
            found = self.memo[-1][key] = self.fresh(stem)
            self.out.add(f"{found} = {text}")
        return found

    # ------------------------------------------------------------ addresses

    def index(self, e: sp.Expr) -> str:
        return index_text(e, lambda s: self.names[s], self.library.numbers.integer)

    def end(self, table: str, axis: int, which: str, value: int) -> str:
        return self.library.end(f"{self.plan}.{table}", axis, which, value)

    @staticmethod
    def minus(a: str, b: str) -> str:
        return a if b == "0" else "0" if a == b else f"{a} - {b}"

    def address(self, cell: Cell) -> list[str]:
        """The slots a read means, boundaries applied."""
        table = self.tables[cell.table]
        return [self.slot(table, k, axis, e) for k, (axis, e) in enumerate(zip(table.axes, cell.index, strict=True))]

    def slot(self, table: Table, k: int, axis: Axis, e: sp.Expr) -> str:
        rolled = self.code.rolled.get(table.name)
        if rolled is not None and rolled[0] == k:
            return f"{self.index(e)} % {rolled[1]}"
        text = self.minus(self.index(e), self.end(table.name, k, "lo", axis.lo))
        if least(e, tuple(self.ranges)) >= axis.lo and greatest(e, tuple(self.ranges)) <= axis.hi:
            return text
        return self.beyond(table, k, axis, text)

    def beyond(self, table: Table, k: int, axis: Axis, text: str) -> str:
        """A slot that may lie out of range, as a variable."""
        size = self.end(table.name, k, "size", axis.hi - axis.lo + 1)
        key = ("slot", axis.mode, size, text)
        found = self.known(key)
        if found is None:
            found = self.memo[-1][key] = self.fresh("a")
            self.out.add(f"{found} = {text}")
            match axis.mode:
                case "zero":
                    self.out.add(f"{found} = {found} if 0 <= {found} < {size} else {size}")
                case "circular":
                    self.out.add(f"{found} = {found} % {size}")
                case "reflect":
                    self.used["reflect"] = None
                    self.out.add(f"{found} = reflect({found}, {size})")
                case _:
                    self.out.add(f"{found} = 0 if {found} < 0 else {found} if {found} < {size} else {size} - 1")
        return found

    def written(self, f: Formula) -> list[str]:
        """The slots a formula writes."""
        table, found = self.tables[f.table], []
        rolled = self.code.rolled.get(table.name)
        for k, (axis, e) in enumerate(zip(table.axes, f.index, strict=True)):
            if rolled is not None and rolled[0] == k:
                found.append(f"{self.index(e)} % {rolled[1]}")
            else:
                found.append(self.minus(self.index(e), self.end(table.name, k, "lo", axis.lo)))
        return found

    def within(self, spot: Spot) -> bool:
        """Whether a spot is on its axis, and not beyond a boundary."""
        e, lo, hi, mode = spot.args
        return str(mode) == "plain" or (least(e, tuple(self.ranges)) >= int(lo) and greatest(e, tuple(self.ranges)) <= int(hi))

    def spot(self, spot: Spot) -> str:
        e, lo, hi, mode = spot.args
        axis = Axis(int(lo), int(hi), str(mode))
        if self.within(spot):
            return self.index(e)
        low, size = self.library.numbers.integer(axis.lo), self.library.numbers.integer(axis.hi - axis.lo + 1)
        text = f"({self.index(e)} - {low})"
        match str(mode):
            case "zero":
                return f"({low} + ({text} if 0 <= {text} < {size} else {size}))"
            case "circular":
                return f"({low} + {text} % {size})"
        self.used["reflect"] = None
        return f"({low} + reflect({text}, {size}))"
