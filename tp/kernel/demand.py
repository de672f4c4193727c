"""What has to be computed: from the entries wanted, by matching reads against left sides, to formulas over tables.

An equation is a template over two members of families. A read says which of their index slots coincide; slots that
coincide in all reads share one axis of the table, and the equation is specialised to them: a flatten readout
asks only for equal positions, so no pair of positions is ever computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import sympy as sp

from tp.errors import NOWHERE, LimitError, Message, at_line
from tp.gaussian.expectation import Expectation
from tp.kernel.cells import Axis, Cell, Formula, Spot, Table, hull, parts
from tp.kernel.expectations import normal
from tp.kernel.plan import Key as Key
from tp.kernel.plan import Tied as Tied
from tp.kernel.prepare import Clause, System
from tp.limit.equations import Entry, I, J, Value, Z
from tp.program.ir import Domain, Range, Ref


@dataclass(frozen=True, slots=True)
class Want:
    """A table to be filled from outside: ``name[index] = expr`` for all of ``domain``."""

    name: str
    index: tuple[sp.Expr, ...]
    domain: Domain
    expr: sp.Expr


@dataclass
class Plan:
    """Formulas in no order, their tables, and what is read from outside."""

    formulas: list[Formula] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    inputs: dict[str, tuple[Key, Tied]] = field(default_factory=dict)
    sites: dict[str, tuple[Key, Tied]] = field(default_factory=dict)


class Demand:
    """One demand analysis. ``single``: one sample (j is i); else a pair, whose one-sample reads are ``sites``."""

    def __init__(self, system: System, single: bool) -> None:
        self.system, self.single = system, single
        self.tied: dict[tuple[str, Key], Tied] = {}
        self.names: dict[tuple[str, Key], str] = {}

    def plan(self, wants: Iterable[Want]) -> Plan:
        """Formulas for what is wanted and, transitively, all it reads."""
        wants = list(wants)
        for want in wants:
            self._scan(want.expr)
        scanned: dict[Key, Tied] = {}
        while True:
            new = [key for (role, key), tied in self.tied.items() if role == "local" and scanned.get(key) != tied]
            if not new:
                return self._plan(wants)
            for key in new:
                scanned[key] = self.tied["local", key]
                for clause in self.clauses(key):
                    self._scan(clause.rhs)

    # ------------------------------------------------------------ reads

    def _scan(self, expr: sp.Expr) -> None:
        for atom in parts(expr, Entry, Value):
            role, key, a, b = self.where(atom)
            pattern = ties(a, b)
            known = self.tied.get((role, key))
            self.tied[role, key] = pattern if known is None else tuple(p for p in known if p in pattern)

    def where(self, atom: Entry | Value) -> tuple[str, Key, Ref, Ref | None]:
        """Role, table and members that a read means."""
        if isinstance(atom, Value):
            kind = atom.kind_name
            role = "site" if not self.single else "data" if kind == "data" else "local"
            return role, Key(kind, atom.a.name), atom.a, None
        a, b, s, t = atom.a, atom.b, atom.s, atom.t
        kind = atom.kind_name
        if s == t:
            swap = not self._given(kind, a.name, b.name) and self._given(kind, b.name, a.name)
            a, b = (b, a) if swap else (a, b)
            role = "site" if not self.single else "gram" if kind == "Gram" else "local"
            return role, Key(kind, a.name, b.name), a, b
        if (s, t) == (J, I):
            a, b = b, a
        if kind == "Gram":
            return "gram", Key(kind, a.name, b.name), a, b
        if self._given(kind, a.name, b.name) or not self._given(kind, b.name, a.name):
            return "local", Key(kind, a.name, b.name), a, b
        return "local", Key(kind, b.name, a.name, True), b, a

    def _given(self, kind: str, a: str, b: str) -> bool:
        return (kind, a, b) in self.system.clauses

    # ------------------------------------------------------------ specialised equations

    def clauses(self, key: Key) -> list[Clause]:
        """The equations of a table, with tied slots made one and the samples put in place."""
        names = (key.kind, key.a, key.b) if key.b else (key.kind, key.a)
        found = self.system.clauses.get(names, [])
        if not found:
            what = f"{key.kind}[{key.a}, {key.b}]" if key.b else f"{key.kind}[{key.a}]"
            raise LimitError(Message(NOWHERE, f"no equation gives {what}", "", "incomplete limit"))
        samples: dict[sp.Basic, sp.Basic] = {J: I} if self.single else {I: J, J: I} if key.flip else {}
        special = (specialise(c, self.tied["local", key]) for c in found)
        return [replace(c, rhs=c.rhs.xreplace(samples)) for c in special if c is not None]

    # ------------------------------------------------------------ formulas

    def _plan(self, wants: list[Want]) -> Plan:
        plan = Plan()
        counts: dict[str, int] = {}
        for role, key in self.tied:
            stem = f"{'flip' if key.flip else ''}{key.kind}" if role == "local" else f"{role}_"
            counts[stem] = counts.get(stem, 0) + 1
            name = self.names[role, key] = f"{stem}{counts[stem]}"
            if role in ("site", "gram", "data"):
                (plan.sites if role == "site" else plan.inputs)[name] = (key, self.tied[role, key])
            plan.tables[name] = Table(name, self._axes(role, key), role)
        for want in wants:
            plan.formulas.append(Formula(want.name, want.index, want.domain, self.cells(want.expr)))
            axes = tuple(_extent(e, want.domain) for e in want.index)
            plan.tables[want.name] = Table(want.name, _joined(plan.tables.get(want.name), axes), "out")
        for role, key in self.tied:
            if role == "local":
                for c in self.clauses(key):
                    index = self.slots(c.a, c.b, self.tied[role, key])
                    with at_line(c.span):
                        plan.formulas.append(Formula(self.names[role, key], index, c.domain, self.cells(c.rhs)))
        for name in dict.fromkeys(c.table for f in plan.formulas for c in parts(f.rhs, Cell) if c.side == "-"):
            domain, _ = self.system.limit.program.tables[name[6:]]
            plan.tables[name] = Table(name, tuple(Axis(int(r.lo), int(r.hi)) for r in domain), "const")
        return plan

    def _axes(self, role: str, key: Key) -> tuple[Axis, ...]:
        """Extents: the hull of what the clauses define, and the declared range where there is a boundary."""
        tied = self.tied[role, key]
        axes: tuple[Axis, ...] | None = None
        for c in self.clauses(key) if role == "local" else self.defining(key, tied):
            axes = _joined_axes(axes, tuple(_extent(e, c.domain) for e in self.slots(c.a, c.b, tied)))
        assert axes is not None
        declared = [(key.a, k) for k in range(self.arity(key.a))]
        if key.b:
            declared += [(key.b, j) for j in range(self.arity(key.b)) if j not in {j for _, j in tied}]
        if key.kind == "data":
            declared = [(key.a, k) for k in range(len(axes))]
        return tuple(_with_edge(axis, self.system.edge(*slot)) for axis, slot in zip(axes, declared, strict=True))

    def arity(self, name: str) -> int:
        """How many index slots a family has."""
        for clauses in self.system.clauses.values():
            for c in clauses:
                for ref in (c.a, c.b):
                    if ref is not None and ref.name == name:
                        return len(ref.index)
        data = next(d for d in self.system.limit.program.data if d.ref.name == name)
        return len(data.ref.index) - 1

    def defining(self, key: Key, tied: Tied) -> list[Clause]:
        """The left sides of a table of one sample: equations, or all of an input."""
        names = (key.kind, key.a, key.b) if key.b else (key.kind, key.a)
        if names in self.system.clauses:
            special = (specialise(c, tied) for c in self.system.clauses[names])
            return [c for c in special if c is not None]
        inputs = {d.ref.name: d for d in self.system.limit.program.data}
        if key.a not in inputs:
            raise LimitError(Message(NOWHERE, f"no equation gives {key.kind}[{key.a}]", "", "incomplete limit"))
        one = inputs[key.a]
        if key.kind == "data":
            return [Clause(key.kind, one.ref, None, one.domain, sp.S.Zero)]
        count = len(one.ref.index) - 1
        a = Ref(one.ref.args[0], *one.ref.index[:count])
        two = inputs[key.b]
        primes = {r.index: sp.Symbol(f"{r.index}'", integer=True) for r in two.domain}
        b = Ref(two.ref.args[0], *(e.xreplace(primes) for e in two.ref.index[:-1]))
        theirs = tuple(Range(primes[r.index], r.lo, r.hi) for r in two.domain[: len(b.index)])
        found = specialise(Clause(key.kind, a, b, one.domain[:count] + theirs, sp.S.Zero), tied)
        return [] if found is None else [found]

    @staticmethod
    def slots(a: Ref, b: Ref | None, tied: Tied) -> tuple[sp.Expr, ...]:
        """The index of a table: all of the first member's, and of the second's what is not tied."""
        shared = {j for _, j in tied}
        return a.index + (tuple(e for j, e in enumerate(b.index) if j not in shared) if b is not None else ())

    def cells(self, expr: sp.Expr) -> sp.Expr:
        """``expr`` with entries and values as cells and expectations in normal form."""
        if isinstance(expr, (Entry, Value)):
            role, key, a, b = self.where(expr)
            index = self.slots(a, b, self.tied[role, key])
            return Cell(self.names[role, key], self._side(role, expr), *index)
        if isinstance(expr, Expectation):
            return normal(expr, self.cells, self.spots)
        if isinstance(expr, Ref):
            return Cell(f"const_{expr.name}", "-", *expr.index)
        if not expr.args:
            return expr
        return expr.func(*(self.cells(a) if isinstance(a, sp.Basic) else a for a in expr.args))

    def _side(self, role: str, atom: Entry | Value) -> str:
        if self.single:
            return "s"
        return ("i" if atom.s == I else "j") if role == "site" else "ij"

    def spots(self, z: Z) -> tuple[Spot, ...]:
        found = []
        for slot, e in enumerate(z.a.index):
            mode, lo, hi = self.system.edge(z.a.name, slot)
            found.append(Spot(e, sp.Integer(lo or 0), sp.Integer(hi or 0), sp.Symbol(mode or "plain")))
        return tuple(found)


def ties(a: Ref, b: Ref | None) -> Tied:
    """The slots of two members that have the same index."""
    if b is None:
        return ()
    found: list[tuple[int, int]] = []
    for j, f in enumerate(b.index):
        for k in [j] if a.name == b.name else range(len(a.index)):
            if k not in {x for x, _ in found} and sp.expand(a.index[k] - f) == 0:
                found.append((k, j))
                break
    return tuple(found)


def specialise(clause: Clause, tied: Tied) -> Clause | None:
    """The equation at tied slots; None where it defines no such entries."""
    a, b, domain = clause.a, clause.b, clause.domain
    if b is None:
        return clause
    swap: dict[sp.Basic, sp.Basic] = {}
    for k, j in tied:
        e, f = a.index[k].xreplace(swap), b.index[j].xreplace(swap)
        if e == f:
            continue
        ranges = {r.index: r for r in domain}
        if f in ranges:
            old, new = f, e
        elif e in ranges:
            old, new = e, f
        else:
            return None
        r = ranges[old]
        if new in ranges:
            other = ranges[new]
            merged = Range(other.index, _meet(sp.Max, other.lo, r.lo), _meet(sp.Min, other.hi, r.hi))
            domain = tuple(merged if x is other else x for x in domain if x is not r)
        else:
            lo, hi = hull(r, tuple(x for x in domain if x is not r))
            if not lo <= int(new) <= hi:
                return None
            domain = tuple(x for x in domain if x is not r)
        swap = {key: value.xreplace({old: new}) for key, value in swap.items()} | {old: new}
        domain = tuple(Range(x.index, x.lo.xreplace(swap), x.hi.xreplace(swap)) for x in domain)
    if any(hull(r, domain[:k])[0] > hull(r, domain[:k])[1] for k, r in enumerate(domain)):
        return None
    return Clause(clause.kind, a.xreplace(swap), b.xreplace(swap), domain, clause.rhs.xreplace(swap), clause.span)


def _meet(choose: Callable[..., sp.Expr], a: sp.Expr, b: sp.Expr) -> sp.Expr:
    return a if a == b else choose(a, b)


def _extent(e: sp.Expr, domain: Domain) -> Axis:
    for k, r in enumerate(domain):
        if r.index == e:
            return Axis(*hull(r, domain[:k]))
    if isinstance(e, sp.Integer):
        return Axis(int(e), int(e))
    raise LimitError(Message(NOWHERE, f"`{e}` stands on a left side", "", "unsupported equation"))


def _joined_axes(known: tuple[Axis, ...] | None, new: tuple[Axis, ...]) -> tuple[Axis, ...]:
    if known is None:
        return new
    return tuple(Axis(min(a.lo, b.lo), max(a.hi, b.hi), a.mode) for a, b in zip(known, new, strict=True))


def _joined(known: Table | None, new: tuple[Axis, ...]) -> tuple[Axis, ...]:
    return new if known is None else _joined_axes(known.axes, new)


def _with_edge(axis: Axis, edge: tuple[str | None, int | None, int | None]) -> Axis:
    mode, lo, hi = edge
    if mode is None or lo is None or hi is None:
        return axis
    return Axis(min(lo, axis.lo), max(hi, axis.hi), mode)
