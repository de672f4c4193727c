"""Which single members of families with fresh weights meet: ``avg(q[1]*r)``, where ``r = tanh(q[2])``.

What meets in an average, or before one matrix, is correlated if it descends from the same members of weights, so these need
representatives of their own, however many definitions are between. A product with a matrix descends from that matrix alone.
Descent is followed by the number of a member, or by the index that it is read at; around a loop it is that of any member.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import sympy as sp

from tp.program.ir import Domain, MatMul, Moment, Nonlin, Plain, Ref, Weight

Place = int | tuple[str, int, int] | None  # a number, an index, its factor and what is added to that, or any of a circle
Node = tuple[str, tuple[Place, ...]]
Found = dict[str, set[Place]]  # by the name of an index: at which places families that descend from fresh weights are read


@dataclass(frozen=True, slots=True)
class Clause:
    """A definition of a vector: its own places, and what it is made of."""

    out: tuple[Place, ...]
    reads: tuple[Node, ...]


@dataclass
class Descent:
    """The vectors of a program, back to the weights that they are made of."""

    program: Sequence[tuple[Plain, Domain]]
    weights: Sequence[Weight]
    clauses: dict[str, list[Clause]] = field(default_factory=dict)
    fresh: dict[str, set[int]] = field(default_factory=dict)  # slots in which members differ by a weight
    descends: set[str] = field(default_factory=set)  # families that are made of fresh weights at all
    places: dict[sp.Expr, Place] = field(default_factory=dict)
    around: dict[str, set[str]] = field(default_factory=dict)  # families in a circle with this one
    steps: dict[Node, tuple[list[tuple[str, Place]], list[Node]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for w in self.weights:
            own = tuple(self.place(e) for e in w.ref.index)
            self.clauses.setdefault(w.ref.name, []).append(Clause(own, ()))
            self.fresh.setdefault(w.ref.name, set()).update(_indices(own))
        for ins, _ in self.program:
            if isinstance(ins, MatMul) or (isinstance(ins, Nonlin) and ins.space is not None):
                refs = [ins.W] if isinstance(ins, MatMul) else ins.expr.atoms(Ref)
                clause = Clause(tuple(map(self.place, ins.out.index)), tuple(map(self.node, refs)))
                self.clauses.setdefault(ins.out.name, []).append(clause)
        self._differ()
        self._circles()

    def place(self, e: sp.Expr) -> Place:
        """What an index expression is."""
        if e not in self.places:
            symbols = e.free_symbols
            found: Place = int(e) if e.is_Integer else None
            if len(symbols) == 1:
                (symbol,) = symbols
                times = sp.expand(e).coeff(symbol)
                more = sp.expand(e - times * symbol)
                if times.is_Integer and more.is_Integer:
                    found = symbol.name.rstrip("_*'"), int(times), int(more)
            self.places[e] = found
        return self.places[e]

    def node(self, ref: Ref) -> Node:
        """A read."""
        return ref.name, tuple(map(self.place, ref.index))

    def _differ(self) -> None:
        """Slots of all families in which members differ by a weight, however far back."""
        self.descends = {name for name, slots in self.fresh.items() if slots}
        grown = True
        while grown:
            grown = False
            for name, clauses in self.clauses.items():
                if name not in self.descends and any(r in self.descends for c in clauses for r, _ in c.reads):
                    self.descends.add(name)
                    grown = True
                known = self.fresh.setdefault(name, set())
                for clause in clauses:
                    names = {
                        e[0] for read, at in clause.reads for k in self.fresh.get(read, ())
                        if isinstance(e := at[k] if k < len(at) else None, tuple)
                    }  # fmt: skip
                    new = {k for k, e in enumerate(clause.out) if isinstance(e, tuple) and e[0] in names} - known
                    known |= new
                    grown = grown or bool(new)

    def _circles(self) -> None:
        """Families that a family is made of and that are made of it."""
        reads = {name: {r for c in clauses for r, _ in c.reads if r in self.descends} for name, clauses in self.clauses.items()}
        below: dict[str, set[str]] = {}
        for name in reads:
            seen: set[str] = set()
            front = list(reads[name])
            while front:
                at = front.pop()
                if at not in seen:
                    seen.add(at)
                    front += reads.get(at, ())
            below[name] = seen
        self.around = {name: {r for r in seen if name in below.get(r, ())} for name, seen in below.items()}

    def met(self, refs: Iterable[Ref]) -> Found:
        """The places of all members with fresh weights that ``refs`` descend from, by the name of their index."""
        front = [self.node(r) for r in refs if r.name in self.descends]
        seen: set[Node] = set()
        found: Found = {}
        while front:
            node = front.pop()
            if node in seen:
                continue
            seen.add(node)
            own, more = self._step(node)
            front += more
            for name, at in own:
                found.setdefault(name, set()).add(at)
        return found

    def _step(self, node: Node) -> tuple[list[tuple[str, Place]], list[Node]]:
        """The places of a member itself, and what it is made of."""
        if node not in self.steps:
            name, at = node
            own: list[tuple[str, Place]] = []
            more: list[Node] = []
            for clause in self.clauses.get(name, ()):
                pairs = list(zip(clause.out, at, strict=False))
                if len(clause.out) != len(at) or any(isinstance(e, int) and isinstance(x, int) and e != x for e, x in pairs):
                    continue
                known = {e[0]: _read((e[0], 1, -e[2]), x) for e, x in pairs if isinstance(e, tuple)}
                own += [(e[0], known[e[0]]) for k, e in enumerate(clause.out) if k in self.fresh[name] and isinstance(e, tuple)]
                for read, places in clause.reads:
                    if read in self.descends:
                        circle = read in self.around[name]
                        more.append((read, tuple(_at(e, known, circle) for e in places)))
            self.steps[node] = own, more
        return self.steps[node]

    def meetings(self) -> Iterator[Found]:
        """What meets in every average, and before every matrix."""
        before: dict[tuple[str, bool], set[Ref]] = {}
        for ins, _ in self.program:
            if isinstance(ins, Moment):
                yield self.met(ins.expr.atoms(Ref))
            elif isinstance(ins, MatMul):
                before.setdefault((ins.W.name, ins.transpose), set()).add(ins.x)
        for refs in before.values():
            yield self.met(refs)

    def renamed(self) -> Iterator[tuple[str, str, int]]:
        """Indices of two names for the same members: what is read at one is, ``k`` further, a weight of the other.

        ``q[b]`` of a family over a, and the weight ``Q[b+1]``.
        """
        found: dict[tuple[str, str, int], None] = {}
        clauses = [(name, read) for name, of in self.clauses.items() for c in of for read in c.reads]
        clauses += [("", self.node(r)) for ins, _ in self.program if isinstance(ins, Moment) for r in ins.expr.atoms(Ref)]
        declared = {w.ref.name for w in self.weights}
        for _, (read, at) in clauses:
            for k in (k for k in sorted(self.fresh.get(read, ())) if k < len(at)):
                e = at[k]
                if not isinstance(e, tuple):
                    continue
                slots = (c.out[k] for c in self.clauses[read] if len(c.out) == len(at))
                for name in {own[0] for own in slots if isinstance(own, tuple)}:
                    if e[1] == 1 and read in declared and e != (name, 1, 0):
                        found[e[0], name, e[2]] = None
                    if e[1:] == (1, 0) and e[0] != name:
                        found[name, e[0], 0] = None
        yield from found


def _indices(places: Iterable[Place]) -> Iterator[int]:
    """The slots of an index, but for the coordinates of a finite axis, which are alike."""
    return (k for k, e in enumerate(places) if isinstance(e, tuple) and not e[0].startswith("j_"))


def _at(e: Place, known: dict[str, Place], circle: bool) -> Place:
    """Where a clause reads whose indices are ``known``; a step of a circle leads to any member."""
    if not isinstance(e, tuple) or e[0] not in known:
        return e  # a number, or the index of a sum
    return None if circle and e[1:] != (1, 0) else _read(e, known[e[0]])


def _read(e: tuple[str, int, int], at: Place) -> Place:
    """The index expression ``e`` where its index is ``at``."""
    _, times, more = e
    if at is None:
        return None
    return times * at + more if isinstance(at, int) else (at[0], times * at[1], times * at[2] + more)
