"""Is a program a program? The checker that follows every pass in the tests.

Types are read off the definitions: every family member is a Matrix between two spaces, a Vector of one space or a
Scalar. Order is checked at sample points of the index ranges (their ends and neighbours: all index expressions are
affine, so a read that comes too early does so at an end of some range): each value read must have been written at an
earlier moment, where the moment of an instruction is its place in the program with the iteration of each loop around.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import sympy as sp

from tp.program.affine import Affine, affine
from tp.program.ir import (
    Domain,
    Instruction,
    Loop,
    MatMul,
    Moment,
    Nonlin,
    Outer,
    OuterNonlin,
    Program,
    Range,
    Ref,
    Simple,
    Space,
    Weight,
)
from tp.program.reads import reads_of

Kind = tuple[Space, ...]
"""``()`` a Scalar, ``(s,)`` a Vector of s, ``(r, c)`` a Matrix."""

_SYMBOLIC = 4  # symbolic constants are this much beyond the largest number among the bounds
_POINTS = 4000  # sample points per instruction, at most


class IllFormed(AssertionError):
    """A pass produced something that is not a program: a fault of the library, never of its input."""


def check_program(program: Program) -> None:
    """Raise :class:`IllFormed` with all that is wrong; return None for a well-formed program."""
    problems = list(dict.fromkeys(_Checker(program).problems()))
    if problems:
        raise IllFormed(f"program {program.name} is ill-formed:\n  " + "\n  ".join(problems))


@dataclass(frozen=True, slots=True)
class _Definition:
    """What writes ``ref`` for all of ``domain``; ``place`` is its position in each block around, ``loops`` those loops."""

    ref: Ref
    domain: Domain
    kind: Kind
    place: tuple[int, ...] = ()
    loops: tuple[Loop, ...] = ()
    source: Simple | None = None

    @property
    def ranges(self) -> Domain:
        return (*(loop.range for loop in self.loops), *self.domain)

    def __str__(self) -> str:
        return f"{self.ref}"


class _Checker:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.constants = self._constants()
        self.forms: dict[sp.Expr, Affine | None] = {}
        self.definitions = list(self._initial()) + list(_instructions(program.body))
        self.by_name: dict[str, list[_Definition]] = {}
        for d in self.definitions:
            self.by_name.setdefault(d.ref.name, []).append(d)

    def _constants(self) -> dict[sp.Symbol, sp.Integer]:
        """Sample values for symbols that stand for numbers: constants, and widths inside bounds."""
        numbers = [int(e) for r in _all_ranges(self.program) for e in (r.lo, r.hi) if isinstance(e, sp.Integer)]
        size = sp.Integer(min(max(numbers, default=1), 12) + _SYMBOLIC)
        return dict.fromkeys(self.program.constants, size)

    def _initial(self) -> Iterator[_Definition]:
        for data in self.program.data:
            yield _Definition(data.ref, data.domain, ())
        for w in self.program.weights:
            yield _Definition(w.ref, w.domain, tuple(s for s in (w.rows, w.cols) if s is not None))

    # ------------------------------------------------------------ all of it

    def problems(self) -> Iterator[str]:
        yield from self._spaces()
        for d in self.definitions:
            yield from self._left_side(d)
        yield from self._defined_twice()
        for w in self.program.weights:
            yield from self._weight(w)
        for data in self.program.data:
            if not 0 <= data.finite_axes <= len(data.domain):
                yield f"{data.ref}: {data.finite_axes} finite axes, but {len(data.domain)} indices"
        for d in self.definitions:
            if d.source is not None:
                yield from self._instruction(d, d.source)
        yield from self._outputs()

    def _spaces(self) -> Iterator[str]:
        names = [s.name for s in self.program.spaces]
        yield from (f"width {n} is declared twice" for n in {n for n in names if names.count(n) > 1})
        used = {s for d in self.definitions for s in d.kind}
        used |= {d.source.space for d in self.definitions if d.source is not None and d.source.space is not None}
        yield from (f"width {s} is used but not declared" for s in sorted(used - {*self.program.spaces}, key=str))
        known = {*names, *map(str, self.program.constants)}
        for s in self.program.spaces:
            if foreign := sorted(str(x) for x in s.size.free_symbols if str(x) not in known):
                yield f"width {s}: its size {s.size} uses {', '.join(foreign)}"

    def _left_side(self, d: _Definition) -> Iterator[str]:
        """Indices bound, once, and every index of the domain on the left (or it would be written repeatedly)."""
        symbols = [r.index for r in d.ranges]
        if len(set(symbols)) != len(symbols):
            yield f"{d}: an index is bound twice in {', '.join(map(str, d.ranges))}"
        yield from self._bound(d, d.ref.free_symbols, symbols)
        missing = [r.index for r in d.ranges if r.index not in d.ref.free_symbols]
        yield from (f"{d} does not carry the index {s}, so it is written repeatedly" for s in missing)
        for k, r in enumerate(d.ranges):
            yield from self._bound(d, r.lo.free_symbols | r.hi.free_symbols, symbols[:k])

    def _bound(self, d: _Definition, used: Iterable[sp.Basic], indices: Iterable[sp.Symbol]) -> Iterator[str]:
        free = {*used} - {*indices} - {*self.program.constants}
        yield from (f"{d}: the index {s} is not bound" for s in sorted(free, key=str))

    def _defined_twice(self) -> Iterator[str]:
        initial = {d.ref.name for d in self.definitions if d.source is None}
        written = {d.ref.name for d in self.definitions if d.source is not None}
        tables = set(self.program.tables)
        yield from (f"{n} is both initial data and computed" for n in sorted(initial & written))
        yield from (f"{n} is both a table and a variable" for n in sorted(tables & (initial | written)))
        for name, clauses in self.by_name.items():
            for a, one in enumerate(clauses):
                for other in clauses[a + 1 :]:
                    if (point := self._common(one, other)) is not None:
                        yield f"{name}{[*point] if point else ''} is defined twice"

    def _common(self, one: _Definition, other: _Definition) -> tuple[int, ...] | None:
        """A member that both write, if one is found at an end of either's ranges."""
        for a, b in ((one, other), (other, one)):
            for point in self._members(a):
                if self._writes(b, point) is not None:
                    return point
        return None

    def _members(self, d: _Definition) -> Iterator[tuple[int, ...]]:
        for at in self._samples(d.ranges):
            if (point := self._point(d.ref.index, at)) is not None:
                yield point

    # ------------------------------------------------------------ instructions

    def _weight(self, w: Weight) -> Iterator[str]:
        if w.rows is None and w.cols is not None:
            yield f"{w.ref}: columns without rows"
        symbols = [r.index for r in w.domain]
        for e in (w.multiplier, w.mean, w.variance, w.rate):
            sizes = {x for s in self.program.spaces for x in s.size.free_symbols}
            yield from self._bound(_Definition(w.ref, w.domain, ()), e.free_symbols - sizes, symbols)
            yield from (f"{w.ref}: {r} in its law is not a constant" for r in _refs(e) if r.name not in self.program.tables)

    def _instruction(self, d: _Definition, ins: Simple) -> Iterator[str]:
        match ins:
            case MatMul():
                yield from self._matmul(d, ins)
            case Nonlin(expr=expr, space=space):
                yield from self._coordinatewise(d, expr, space)
            case Moment(expr=expr, space=space, coeff=coeff):
                yield from self._coordinatewise(d, expr, space)
                yield from (f"{d}: the coefficient reads {r}" for r in _refs(coeff) if r.name not in self.program.tables)
            case OuterNonlin():
                yield from self._outer(d, ins)

    def _matmul(self, d: _Definition, ins: MatMul) -> Iterator[str]:
        if ins.W.name not in self.by_name:
            yield f"{d}: {ins.W} is not defined"
            return
        for kind in self._read(d, ins.W, ()):
            if len(kind) != 2:
                yield f"{d}: {ins.W} is a {_word(kind)}, not a Matrix"
                continue
            rows, cols = reversed(kind) if ins.transpose else kind
            if ins.space != rows:
                yield f"{d}: {ins.W}{'ᵀ' if ins.transpose else ''} gives a Vector of {rows}, not of {ins.space}"
            for x in self._read(d, ins.x, ()):
                if x != (cols,):
                    yield f"{d}: {ins.W}{'ᵀ' if ins.transpose else ''} acts on {cols}, but {ins.x} is a {_word(x)}"
        yield from self._reads(d, ((ins.W, ()), (ins.x, ())))

    def _outer(self, d: _Definition, ins: OuterNonlin) -> Iterator[str]:
        """Outer products of a vector of the rows and one of the columns; nothing else in the entry is a vector."""
        rows, cols = (ins.over, ins.space) if ins.transpose else (ins.space, ins.over)
        inside = {ref for outer in ins.entry.atoms(Outer) for ref in outer.args}
        firsts = {outer.args[0] for outer in ins.entry.atoms(Outer)}
        reads = [*reads_of(ins.entry), (ins.x, ())]
        for ref, ranges in reads:
            for kind in self._read(d, ref, ranges):
                wanted = (ins.over,) if ref == ins.x else (rows,) if ref in firsts else (cols,) if ref in inside else ()
                if kind != wanted and not (ref == ins.x and ref in inside and len(kind) == 1):
                    yield f"{d}: {ref} is a {_word(kind)}, not a {_word(wanted)}, in the entries {rows}×{cols}"
        yield from self._reads(d, reads)

    def _coordinatewise(self, d: _Definition, expr: sp.Expr, space: Space | None) -> Iterator[str]:
        reads = list(reads_of(expr))
        for ref, ranges in reads:
            for kind in self._read(d, ref, ranges):
                if len(kind) == 2:
                    yield f"{d}: the Matrix {ref} stands outside a MatMul"
                elif kind and kind != (space,):
                    yield f"{d}: {ref} is a {_word(kind)} in an expression over {space or 'scalars'}"
        names = {str(x) for s in self.program.spaces for x in s.size.free_symbols}
        bound = [r.index for r in d.ranges]
        yield from self._bound(d, (s for s in expr.free_symbols if str(s) not in names), bound)
        if expr.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
            yield f"{d}: {expr} is not finite"
        yield from self._reads(d, reads)

    def _read(self, d: _Definition, ref: Ref, ranges: Domain) -> set[Kind]:
        """The types of all members a read touches, at sample points."""
        if ref.name in self.program.tables:
            return {()}
        kinds = set()
        for at in self._samples((*d.ranges, *ranges)):
            point = self._point(ref.index, at)
            mapped = None if point is None else self._mapped(ref.name, point)
            if mapped is not None:
                kinds |= {c.kind for c in self.by_name.get(ref.name, ()) if self._writes(c, mapped) is not None}
        return kinds

    def _reads(self, d: _Definition, reads: Iterable[tuple[Ref, Domain]]) -> Iterator[str]:
        """Everything read exists, and was written before."""
        for ref, ranges in reads:
            if ref.name in self.program.tables:
                yield from self._table(d, ref, ranges)
            elif ref.name not in self.by_name:
                yield f"{d}: {ref} is not defined"
            else:
                yield from islice(self._too_early(d, ref, ranges), 1)

    def _table(self, d: _Definition, ref: Ref, ranges: Domain) -> Iterator[str]:
        slots = self.program.tables[ref.name][0]
        if len(slots) != len(ref.index):
            yield f"{d}: the table {ref.name} has {len(slots)} indices, not {len(ref.index)}"
            return
        for at in self._samples((*d.ranges, *ranges)):
            point = self._point(ref.index, at)
            ends = [(self._number(r.lo, {}), self._number(r.hi, {})) for r in slots]
            if point is not None and not all(lo <= p <= hi for p, (lo, hi) in zip(point, ends, strict=True)):
                yield f"{d}: {ref} reads {ref.name}{list(point)}, outside the table"
                return

    def _too_early(self, d: _Definition, ref: Ref, ranges: Domain) -> Iterator[str]:
        for at in self._samples((*d.ranges, *ranges)):
            if (point := self._point(ref.index, at)) is None:
                yield f"{d}: the index of {ref} is not affine"
                return
            mapped = self._mapped(ref.name, point)
            if mapped is None:
                continue  # beyond a zero boundary
            writers = [(c, found) for c in self.by_name[ref.name] if (found := self._writes(c, mapped)) is not None]
            where = f"{ref.name}{list(mapped) if mapped else ''}"
            if not writers:
                yield f"{d}: {ref} reads {where}, which is not defined"
            elif not any(_moment(c, found) < _moment(d, at) for c, found in writers):
                yield f"{d} at {_show(at, d.ranges)} reads {where} before it is computed"

    def _outputs(self) -> Iterator[str]:
        if not self.program.outputs:
            yield "no outputs"
        for ref in self.program.outputs:
            clauses = [c for c in self.by_name.get(ref.name, ()) if len(c.ref.index) == len(ref.index)]
            if not clauses:
                yield f"the output {ref} is not defined"
            yield from (f"the output {c} is a {_word(c.kind)}, not a Scalar" for c in clauses if c.kind)

    # ------------------------------------------------------------ points

    def _form(self, e: sp.Expr) -> Affine | None:
        """``e`` in the indices alone, symbolic constants at their sample values; None when it is not affine."""
        if e not in self.forms:
            form = affine(e)
            for symbol, value in self.constants.items():
                form = form and form.replace(symbol, Affine(int(value)))
            self.forms[e] = form
        return self.forms[e]

    def _number(self, e: sp.Expr, at: Mapping[sp.Symbol, int]) -> int:
        """A bound at indices; 0 where it has no value, which other rules report."""
        form = self._form(e)
        return form.at(at) if form is not None and form.symbols <= at.keys() else 0

    def _point(self, index: tuple[sp.Expr, ...], at: Mapping[sp.Symbol, int]) -> tuple[int, ...] | None:
        """The numbers that index expressions are, or None."""
        forms = [self._form(e) for e in index]
        if any(form is None or not form.symbols <= at.keys() for form in forms):
            return None
        return tuple(form.at(at) for form in forms if form is not None)

    def _samples(self, ranges: Sequence[Range]) -> Iterator[dict[sp.Symbol, int]]:
        """Points at and near the ends of the ranges, symbolic constants included."""
        return islice(self._ends(ranges, {}), _POINTS)

    def _ends(self, ranges: Sequence[Range], at: dict[sp.Symbol, int]) -> Iterator[dict[sp.Symbol, int]]:
        if not ranges:
            yield at
            return
        lo, hi = self._number(ranges[0].lo, at), self._number(ranges[0].hi, at)
        for value in sorted({v for v in (lo, lo + 1, hi - 1, hi) if lo <= v <= hi}):
            yield from self._ends(ranges[1:], {**at, ranges[0].index: value})

    def _mapped(self, name: str, point: tuple[int, ...]) -> tuple[int, ...] | None:
        """The member a boundary maps an index to; None for the zero beyond it."""
        slots = self.program.boundary.get(name, ())
        mapped = []
        for k, p in enumerate(point):
            mode, lo, hi = slots[k] if k < len(slots) else (None, sp.S.Zero, sp.S.Zero)
            low, high = self._number(lo, {}), self._number(hi, {})
            if mode == "circular":
                p = low + (p - low) % (high - low + 1)
            elif mode == "reflect" and high > low:
                q = (p - low) % (2 * (high - low))
                p = low + min(q, 2 * (high - low) - q)
            elif mode == "reflect":
                p = low
            elif mode == "zero" and not low <= p <= high:
                return None
            mapped.append(p)
        return tuple(mapped)

    def _writes(self, d: _Definition, point: tuple[int, ...]) -> dict[sp.Symbol, int] | None:
        """The indices at which ``d`` writes the member at ``point``, or None."""
        if len(point) != len(d.ref.index):
            return None
        at: dict[sp.Symbol, int] = {}
        for slot, p in zip(d.ref.index, point, strict=True):
            form = self._form(slot)
            if form is None or len(form.terms) > 1:
                return None
            if not form.terms:
                if form.const != p:
                    return None
            elif _solve(form, p, at) is None:
                return None
        inside = all(r.index in at and self._number(r.lo, at) <= at[r.index] <= self._number(r.hi, at) for r in d.ranges)
        return at if inside else None


# ---------------------------------------------------------------- reading instructions


def _instructions(
    body: Sequence[Instruction], place: tuple[int, ...] = (), loops: tuple[Loop, ...] = ()
) -> Iterator[_Definition]:
    for k, ins in enumerate(body):
        match ins:
            case Loop():
                yield from _instructions(ins.body, (*place, k), (*loops, ins))
            case Moment():
                yield _Definition(ins.out, ins.domain, (), (*place, k), loops, ins)
            case MatMul() | Nonlin() | OuterNonlin():
                kind = () if ins.space is None else (ins.space,)
                yield _Definition(ins.out, ins.domain, kind, (*place, k), loops, ins)


def _all_ranges(program: Program) -> Iterator[Range]:
    for data in program.data:
        yield from data.domain
    for weight in program.weights:
        yield from weight.domain
    for d in _instructions(program.body):
        yield from d.ranges


def _moment(d: _Definition, at: Mapping[sp.Symbol, int]) -> tuple[int, ...]:
    """When ``d`` is executed at these indices: positions and iterations, outermost first; initial data at the start."""
    if not d.place:
        return ()
    moment = [d.place[0]]
    for loop, position in zip(d.loops, d.place[1:], strict=True):
        iteration = at[loop.range.index]
        moment += [-iteration if loop.reverse else iteration, position]
    return tuple(moment)


def _refs(expr: sp.Expr) -> set[Ref]:
    return expr.atoms(Ref) if isinstance(expr, sp.Basic) else set()


def _solve(form: Affine, value: int, at: dict[sp.Symbol, int]) -> int | None:
    """Enter the index at which ``c · index + const`` is ``value``; None when there is none."""
    ((symbol, c),) = form.terms
    index, rest = divmod(value - form.const, c)
    return None if rest or at.setdefault(symbol, index) != index else index


def _show(at: Mapping[sp.Symbol, int], ranges: Domain) -> str:
    return ", ".join(f"{r.index}={at[r.index]}" for r in ranges) or "its place"


def _word(kind: Kind) -> str:
    if not kind:
        return "Scalar"
    return f"Vector of {kind[0]}" if len(kind) == 1 else f"Matrix {kind[0]}×{kind[1]}"
