"""A program as a table of clauses: which instruction defines a variable at an index.

The limit reads a program by name and index, loops or not: a loop is a set of clauses that use earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import sympy as sp

from tp.errors import NOWHERE, LimitError, Message, Span
from tp.program.ir import Domain, Instruction, Loop, MatMul, Moment, Nonlin, Program, Ref, Softmax, Space, Sum, Weight, spelled
from tp.program.parts import within
from tp.program.reads import plain
from tp.program.replace import replaced


@dataclass(frozen=True, slots=True)
class Clause:
    """One instruction with the ranges of its loops: ``ins`` for all indices in ``domain``."""

    ins: MatMul | Nonlin | Moment
    domain: Domain

    @property
    def out(self) -> Ref:
        return self.ins.out

    @property
    def expr(self) -> sp.Expr:
        """What a Nonlin or a Moment computes with; a MatMul has a vector instead."""
        assert not isinstance(self.ins, MatMul)
        return self.ins.expr


def flatten(body: tuple[Instruction, ...], outer: Domain = ()) -> Iterator[Clause]:
    """The instructions with the ranges of the loops around them."""
    for ins in body:
        if isinstance(ins, Loop):
            yield from flatten(ins.body, (*outer, ins.range))
        else:
            bound = {r.index for r in ins.domain}
            used = ins.out.free_symbols
            yield Clause(
                plain(ins, "a symbolic limit"), (*(r for r in outer if r.index not in bound and r.index in used), *ins.domain)
            )


def at(expr: sp.Basic, binding: dict[sp.Symbol, sp.Expr]) -> sp.Basic:
    """``expr`` with index symbols replaced all at once; an index that a sum binds is renamed before it could capture one."""
    if not binding:
        return expr
    if not expr.has(sp.Sum, Softmax):  # nothing is bound
        return replaced(expr, {s: sp.sympify(e, strict=True) for s, e in binding.items()})
    captured = set().union(*(sp.sympify(e).free_symbols for e in binding.values()))
    return _free_of(expr, captured).subs(binding, simultaneous=True)


def _free_of(expr: sp.Basic, names: set[sp.Basic]) -> sp.Basic:
    """``expr`` with no sum that binds one of ``names``."""
    if not expr.has(sp.Sum):
        return expr
    args = [_free_of(a, names) for a in expr.args]
    if not isinstance(expr, sp.Sum):
        return expr.func(*args)
    body, limits = args[0], [tuple(limit) for limit in args[1:]]
    taken = names | body.atoms(sp.Symbol)
    for k, (index, lo, hi) in enumerate(limits):
        if index in names:
            new = fresh(index, taken)
            taken.add(new)
            body = body.subs(index, new)
            limits[:k] = [(i, a.subs(index, new), b.subs(index, new)) for i, a, b in limits[:k]]
            limits[k] = (new, lo, hi)
    return Sum(body, *limits)


def fresh(symbol: sp.Symbol, taken: set[sp.Basic]) -> sp.Symbol:
    """``symbol`` with primes until it is new."""
    name = symbol.name
    while sp.Symbol(name, integer=True) in taken:
        name += "'"
    return sp.Symbol(name, integer=True)


def provably(difference: sp.Expr, sign: int) -> bool:
    """Whether an index difference is known to be > 0 (sign 1) or < 0 (sign -1) without knowing symbols."""
    value = sp.expand(difference)
    if value.is_number:
        return bool(value > 0) if sign > 0 else bool(value < 0)
    known = value.is_positive if sign > 0 else value.is_negative
    return bool(known)


@dataclass
class Families:
    """Look-up of a program's families: clauses, weights, spaces, kinds of names."""

    program: Program
    clauses: dict[str, list[Clause]] = field(default_factory=dict)
    weights: dict[str, list[Weight]] = field(default_factory=dict)
    data: frozenset[str] = frozenset()
    sizes: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for clause in flatten(self.program.body):
            self.clauses.setdefault(clause.out.name, []).append(clause)
        for weight in self.program.weights:
            self.weights.setdefault(weight.ref.name, []).append(weight)
        self.data = frozenset(d.ref.name for d in self.program.data)
        self.sizes = {s: space.size for space in self.program.spaces for s in (_symbol(space.name),) if s != space.size}

    def space(self, name: str, arity: int | None = None) -> Space | None:
        """The width axis a name lives on; None for scalars, data, tables and constants."""
        if name in self.clauses:
            ins = self.clauses[name][0].ins
            return None if isinstance(ins, Moment) else ins.space
        for weight in self.weights.get(name, ()):
            if weight.cols is None and (arity is None or len(weight.ref.index) == arity):
                return weight.rows
        return None

    def is_vector(self, ref: Ref) -> bool:
        return self.space(ref.name, len(ref.index)) is not None

    def is_scalar(self, ref: Ref) -> bool:
        """A scalar the program computes, or a scalar weight."""
        return (ref.name in self.clauses or ref.name in self.weights) and not self.is_vector(ref)

    def vectors(self, expr: sp.Basic) -> list[Ref]:
        """The vector refs in ``expr``, in a fixed order."""
        return sorted((r for r in within(expr, Ref) if self.is_vector(r)), key=spelled)

    def weight(self, ref: Ref, matrix: bool = False) -> Weight:
        """The declaration that covers ``ref``."""
        found = [
            w for w in self.weights.get(ref.name, ()) if (w.cols is not None) == matrix and len(w.ref.index) == len(ref.index)
        ]
        for weight in found:
            if match(weight.ref, weight.domain, ref) is not None:
                return weight
        raise LimitError(Message(NOWHERE, f"no declaration of the weight `{ref}` covers this index", "", "unknown weight"))

    def binding(self, weight: Weight, ref: Ref) -> dict[sp.Symbol, sp.Expr]:
        found = match(weight.ref, weight.domain, ref)
        assert found is not None
        return found

    def covering(self, ref: Ref) -> list[tuple[Clause, dict[sp.Symbol, sp.Expr]]]:
        """All clauses that may define ``ref``, each with its index binding."""
        found = []
        for clause in self.clauses.get(ref.name, ()):
            binding = match(clause.out, clause.domain, ref)
            if binding is not None:
                found.append((clause, binding))
        return found

    def defining(self, name: str) -> list[Clause]:
        """The clauses of a family; a vector of initial data is defined by itself."""
        if name in self.clauses:
            return self.clauses[name]
        return [Clause(Nonlin(w.ref, w.ref, w.rows, w.domain, w.span), w.domain) for w in self.weights[name] if w.cols is None]

    def boundary(self, name: str, slot: int) -> tuple[str | None, sp.Expr, sp.Expr] | None:
        slots = self.program.boundary.get(name, ())
        return slots[slot] if slot < len(slots) else None

    def span(self, name: str) -> Span:
        for clause in self.clauses.get(name, ()):
            return clause.ins.span
        for weight in self.weights.get(name, ()):
            return weight.span
        return NOWHERE

    def recursion(self, name: str) -> Span:
        """Where a family reads itself; where it does so by way of others, its last clause."""
        clauses = self.clauses.get(name, ())
        own = [c for c in clauses if not isinstance(c.ins, MatMul) and any(r.name == name for r in c.expr.atoms(Ref))]
        return (own or [*clauses])[-1].ins.span if clauses else self.span(name)

    def natural(self, expr: sp.Expr) -> sp.Expr:
        """``expr`` with every width written in the free widths."""
        return expr.xreplace(self.sizes) if self.sizes else expr


def _symbol(name: str) -> sp.Symbol:
    return sp.Symbol(name, positive=True, integer=True)


def match(pattern: Ref, domain: Domain, ref: Ref) -> dict[sp.Symbol, sp.Expr] | None:
    """The binding of ``pattern``'s indices that gives ``ref``; None when provably none does."""
    if pattern.name != ref.name or len(pattern.index) != len(ref.index):
        return None
    ranges = {r.index: r for r in domain}
    binding: dict[sp.Symbol, sp.Expr] = {}
    for slot, value in zip(pattern.index, ref.index, strict=True):
        if slot in ranges:
            if provably(value - ranges[slot].hi, 1) or provably(ranges[slot].lo - value, 1):
                return None
            binding[slot] = value
        elif provably(slot - value, 1) or provably(slot - value, -1):
            return None
    return binding
