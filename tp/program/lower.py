"""Network -> Program: a checked spec as a tensor program.

Every definition becomes a Nonlin, preceded by the MatMuls and Moments inside it (``temporaries``); ``schedule`` puts the
instructions of all definitions in order and makes recursions loops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sympy as sp

from tp.errors import Message, SpecError
from tp.network.affine import affine
from tp.network.check import Checked
from tp.network.tree import Call, Define, Expr, Input, Name, Reduce, Table
from tp.network.tree import Range as TreeRange
from tp.network.tree import Weight as TreeWeight
from tp.network.walk import walk
from tp.program.expressions import Global, Lowering, Scope
from tp.program.ir import Data, Domain, Instruction, Loop, Nonlin, Program, Range, Ref, Space, Weight
from tp.program.reads import reads, rename
from tp.program.schedule import Clause, LoopStep, Read, Step, schedule
from tp.program.temporaries import Boundary, Letters, Names, Temporaries

Statement = Input | TreeWeight | Define


def lower(checked: Checked) -> Program:
    """The tensor program of a checked network; :class:`SpecError` for definitions that no order computes."""
    try:
        return _Lower(checked).program()
    except RecursionError:
        raise SpecError("an expression is nested too deeply to be worked out; give its parts names") from None


@dataclass(frozen=True)
class _Place:
    """A statement's left side: the member it declares, the ranges of its indices, its axes."""

    ref: Ref  # without the finite axes
    domain: Domain
    axes: tuple[str, ...]
    scope: Scope


class _Lower:
    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self.spaces: dict[str, Space] = {}
        self.constants: dict[str, sp.Expr] = {}
        self.tables: dict[str, tuple[Any, ...]] = {}
        self.dims: dict[str, sp.Expr] = {}
        self.boundary: Boundary = {}
        self.letters: Letters = {name: _letters(clauses) for name, clauses in checked.families.items()}
        self.names = Names([*checked.families, *checked.lets, *checked.widths, *checked.dims, *checked.indices])
        self.world = Global(self.spaces, self.dims, self.constants, self.tables, checked.axes, _indices(checked))
        self._numbers()

    def program(self) -> Program:
        for name in self.checked.families:
            self._boundary(name)
        data = tuple(self._data(c) for c in self._statements(Input))
        weights = tuple(self._weight(c) for c in self._statements(TreeWeight))
        clauses = [clause for c in self._statements(Define) for clause in self._clauses(c)]
        return Program(
            self.checked.network.name,
            tuple(self.spaces.values()),
            data,
            weights,
            tuple(_instruction(step) for step in schedule(clauses, self.boundary)),
            tuple(self._output(name) for name in self.checked.outputs),
            self.boundary,
            tuple(e for e in (*self.constants.values(), *self.dims.values()) if e.is_Symbol),
            self.tables,
            temps=frozenset(str(clause.name) for clause in clauses) - self.checked.families.keys(),
            training=self.checked.train,
        )

    def _lowering(self) -> Lowering:
        return Lowering(self.world, Temporaries(self.names, self.boundary, self.letters))

    def _statements(self, kind: type[Any]) -> Iterator[Any]:
        """Statements of a kind, as written."""
        yield from (s for s in self.checked.network.statements if isinstance(s, kind))

    # ------------------------------------------------------------ numbers

    def _numbers(self) -> None:
        """Widths, dims, lets and tables; those without a value are symbols."""
        scope, lowering = Scope(), self._lowering()
        for name in self.checked.widths:
            self.spaces[name] = Space(name, sp.Symbol(name, integer=True, positive=True))
        for name, dim in self.checked.dims.items():
            symbol = sp.Symbol(name, integer=True, positive=True)
            self.dims[name] = symbol if dim.value is None else lowering.index(dim.value, scope)
        for name, let in self.checked.lets.items():
            if let.index:
                self.tables[name] = self._table(let.index, let.value, lowering)
            elif let.value is None:
                counts = {"integer": True} if name in self.checked.lowest else {}
                self.constants[name] = sp.Symbol(name, positive=True, **counts)
            else:
                self.constants[name] = lowering.scalar(let.value, scope)
        for name, width in self.checked.widths.items():
            if width.value is not None:
                self.spaces[name] = Space(name, lowering.scalar(width.value, scope))

    def _table(self, index: tuple[str, ...], value: Expr | None, lowering: Lowering) -> tuple[Any, ...]:
        ranges = []
        for name in index:
            declared = self.checked.indices[name]
            lo, hi = (lowering.index(e, Scope()) for e in (declared.lo, declared.hi))
            ranges.append(Range(sp.Symbol(name, integer=True), lo, hi))
        return tuple(ranges), None if value is None else self._rows(value, lowering)

    def _rows(self, value: Expr, lowering: Lowering) -> Any:
        if isinstance(value, Table):
            return tuple(self._rows(row, lowering) for row in value.rows)
        return lowering.scalar(value, Scope())

    # ------------------------------------------------------------ families

    def _place(self, c: Statement, axes: tuple[str, ...]) -> tuple[_Place, Lowering]:
        """The left side of a statement, and what lowers its right side."""
        scope, domain, lowering = Scope(), [], self._lowering()
        for r in self.checked.ranges(c):
            lo, hi = lowering.ends(r, scope)
            symbol = lowering.temporaries.bind(r.index, lo, hi, scope.used)
            scope = scope.bind(r.index, symbol)
            domain.append(Range(symbol, lo, hi))
        ref = Ref(c.name, *(lowering.index(i, scope) for i in c.index))
        return _Place(ref, tuple(domain), axes, scope), lowering

    def _coordinates(self, place: _Place, lowering: Lowering) -> tuple[tuple[sp.Symbol, ...], Domain]:
        """An index for each finite axis, with its range."""
        symbols: list[sp.Symbol] = []
        for axis in place.axes:
            if axis not in self.spaces:
                symbols.append(lowering.coordinate(axis, symbols))
        return tuple(symbols), tuple(lowering.temporaries.ranges[s] for s in symbols)

    def _data(self, c: Input) -> Data:
        place, lowering = self._place(c, c.axes)
        symbols, ranges = self._coordinates(place, lowering)
        written = {r.index: r for r in self.checked.ranges(c)}
        extents = [self._followed(written[i.name]) if isinstance(i, Name) and i.name in written else ("", 0) for i in c.index]
        sizes = (*extents, *((axis, 0) for axis in place.axes if axis not in self.spaces))
        return Data(Ref(c.name, *place.ref.index, *symbols), (*place.domain, *ranges), len(symbols), c.span, sizes)

    def _followed(self, r: TreeRange) -> tuple[str, int]:
        """The constant that the extent of a range follows one for one, and by how much it is larger."""
        lo, hi = (None if e is None else affine(e, lambda name: None) for e in (r.lo, r.hi))
        if lo is None or hi is None:
            return "", 0
        extent = hi - lo
        names = [name for name, c in extent.terms if c == 1 and name in {*self.checked.lets, *self.checked.dims}]
        return (names[0], -int(extent.const) - 1) if len(names) == len(extent.terms) == 1 and extent.whole else ("", 0)

    def _weight(self, c: TreeWeight) -> Weight:
        place, lowering = self._place(c, c.axes)
        symbols, ranges = self._coordinates(place, lowering)
        widths = [self.spaces[a] for a in c.axes if a in self.spaces]
        rows, cols = (*widths, None, None)[:2]

        def number(e: Expr | None, default: sp.Expr) -> sp.Expr:
            return default if e is None else lowering.scalar(e, place.scope)

        mean = number(c.mean, sp.S.Zero)
        if cols is not None and mean != 0:
            reason = f"the entries of `{c.name}` have a mean, and the limits know only centred matrices between widths"
            remedy = (
                f"write N(0, …), and for `{c.name} @ h` then `{c.name} @ h + {cols.size}*mean*avg(h)` with the mean of an entry"
            )
            raise SpecError(Message(c.span, reason, remedy, "matrix with a mean"))
        return Weight(
            Ref(c.name, *place.ref.index, *symbols),
            (*place.domain, *ranges),
            rows,
            cols,
            number(c.multiplier, sp.S.One),
            mean,
            number(c.variance, sp.S.Zero),
            number(c.rate, sp.S.One),
            c.short and c.variance is not None,  # a constant start has no variance to read a parametrization off
            c.frozen,
            bool(symbols) and len(c.axes) == 2 and c.axes[0] not in self.spaces,
            c.span,
        )

    def _boundary(self, name: str) -> None:
        """What an index beyond the family's range means, slot by slot."""
        modes = self.checked.boundary(name)
        if any(modes):
            lowering = self._lowering()
            hull = [(lowering.index(lo, Scope()), lowering.index(hi, Scope())) for lo, hi in self.checked.hull(name)]
            self.boundary[name] = tuple((mode, *ends) for mode, ends in zip(modes, hull, strict=True))

    # ------------------------------------------------------------ definitions

    def _clauses(self, c: Define) -> Iterator[Clause]:
        """The instructions of a definition, as nodes to be ordered."""
        place, lowering = self._place(c, self.checked.family_axes(c.name, c))
        symbols, ranges = self._coordinates(place, lowering)
        lowering.coordinates += symbols
        value = lowering.value(c.body, place.scope)
        expr = value.at(symbols if value.axes else ())
        out, domain = Ref(c.name, *place.ref.index, *symbols), (*place.domain, *ranges)
        space = next((self.spaces[a] for a in place.axes if a in self.spaces), None)
        for ins in lowering.temporaries.finish(Nonlin(out, expr, space, domain, c.span)):
            found = tuple(Read(r.name, r.index, bound) for r, bound in reads(ins))
            yield Clause(ins.out.name, ins.out.index, ins.domain, found, ins, span=ins.span)

    def _output(self, name: str) -> Ref:
        """The output's family, with an index wherever one of its clauses has one."""
        refs = []
        for c in self.checked.families[name]:
            place, lowering = self._place(c, self.checked.family_axes(name, c))
            refs.append((*place.ref.index, *self._coordinates(place, lowering)[0]))
        index = [next((e for e in slot if e.is_Symbol), slot[0]) for slot in zip(*refs, strict=True)]
        for k, slot in enumerate(zip(*refs, strict=True)):
            if not index[k].is_Symbol and len(set(slot)) > 1:
                index[k] = sp.Symbol(f"i{k + 1}", integer=True)
        return Ref(name, *index)


def _indices(checked: Checked) -> frozenset[sp.Symbol]:
    """All indices that a spec names, declared or in a range."""
    names = set(checked.indices)
    for clause in (c for family in checked.families.values() for c in family):
        names |= {r.index for r in checked.ranges(clause)}
        for e in walk(clause.body) if isinstance(clause, Define) else ():
            match e:
                case Reduce(ranges=ranges):
                    names |= {r.index for r in ranges}
                case Call(over=over) if over is not None:
                    names.add(over.index)
    return frozenset(sp.Symbol(name, integer=True) for name in names)


def _letters(clauses: Iterable[Statement]) -> tuple[str | None, ...]:
    """The indices on the left side, slot by slot, in the first clause that has one there."""
    slots = zip(*(c.index for c in clauses), strict=True)
    return tuple(next((e.name for e in slot if isinstance(e, Name)), None) for slot in slots)


def _instruction(step: Step) -> Instruction:
    if isinstance(step, LoopStep):
        return Loop(step.range, tuple(_instruction(s) for s in step.body), step.reverse)
    return rename(step.payload, dict(step.renaming), step.domain)
