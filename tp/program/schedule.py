"""Clauses of families, in an order in which each reads only what was computed before; recursions become loops.

Clauses define values ``name[index]`` for all indices in a domain and read others. They are nodes of a graph with an
edge where one may define what another reads. Strongly connected components in topological order give straight-line
code; a component with a cycle becomes a loop over one index of each of its clauses, chosen such that every read
inside the component is at the same or an earlier value of it (all later: the loop runs downwards). Within one
iteration that index is a constant, the earlier reads fall away, and the rest is ordered in the same manner.

Ranges may be symbolic, so a loop stays a loop for ``l in 2..L`` with a symbolic ``L``. Where the clauses of a loop
have different ranges, the loop is cut into stretches on which the same clauses are active.

Source: Allen & Kennedy 1987, *Automatic translation of Fortran programs to vector form* (``codegen``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count, pairwise
from typing import Any

import sympy as sp

from tp.components import components
from tp.errors import NOWHERE, Message, Span, SpecError
from tp.program.affine import Affine, affine, extremes, highest, lowest
from tp.program.ir import Domain, Range

Boundary = Mapping[Any, tuple[tuple[str | None, sp.Expr, sp.Expr], ...]]
"""As ``Program.boundary``: per name and slot the mode and the range."""


@dataclass(frozen=True, slots=True)
class Read:
    """``name[index]``, where ``index`` may use the clause's indices and those of ``ranges`` (of sums around it)."""

    name: Hashable
    index: tuple[sp.Expr, ...]
    ranges: Domain = ()


@dataclass(frozen=True, slots=True)
class Clause:
    """``name[index] = … reads …`` for all of ``domain``.

    ``payload`` is the caller's. What scheduling did to the indices (a loop's common symbol, a value in a stretch of
    one iteration) is in ``renaming``, to be applied to the payload.
    """

    name: Hashable
    index: tuple[sp.Expr, ...]
    domain: Domain
    reads: tuple[Read, ...]
    payload: Any = None
    renaming: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class LoopStep:
    """``body`` for every value of ``range``, upwards, or downwards when ``reverse``."""

    range: Range
    body: tuple[Step, ...]
    reverse: bool = False


Step = Clause | LoopStep


def schedule(clauses: Sequence[Clause], boundary: Boundary | None = None) -> tuple[Step, ...]:
    """The clauses in an executable order; ties keep the given order. :class:`SpecError` for a cycle without an index."""
    return _order(tuple(clauses), (), boundary or {})


def _order(clauses: Sequence[Clause], context: Domain, boundary: Boundary) -> tuple[Step, ...]:
    """``codegen``: components in topological order, cyclic ones as loops. ``context`` are the loops around."""
    graph = _Graph(clauses, context, boundary)
    steps: list[Step] = []
    for component in graph.components():
        if len(component) == 1 and component[0] not in graph.readers[component[0]]:
            steps.append(clauses[component[0]])
        else:
            steps += _loops(graph, component)
    return tuple(steps)


# ---------------------------------------------------------------- the graph


@dataclass(frozen=True, slots=True)
class _Edge:
    """``reader`` reads, at slots ``at``, what ``definer`` may define; a slot is None where nothing is known."""

    definer: int
    reader: int
    at: tuple[Affine | None, ...]
    ranges: Domain


class _Graph:
    """The clauses, who may read whom, and the ranges of loops around."""

    def __init__(self, clauses: Sequence[Clause], context: Domain, boundary: Boundary) -> None:
        self.clauses, self.context, self.boundary = clauses, context, boundary
        self.left = [tuple(affine(e) for e in c.index) for c in clauses]
        self.edges: list[_Edge] = list(self._find_edges())
        self.readers: list[set[int]] = [set() for _ in clauses]
        for edge in self.edges:
            self.readers[edge.definer].add(edge.reader)

    def _find_edges(self) -> Iterator[_Edge]:
        points: dict[tuple[Hashable, tuple[int, ...]], list[int]] = {}  # defined at numbers: found by look-up
        families: dict[tuple[Hashable, int], list[int]] = {}
        for a, clause in enumerate(self.clauses):
            point = _point(self.left[a])
            if point is None:
                families.setdefault((clause.name, len(clause.index)), []).append(a)
            else:
                points.setdefault((clause.name, point), []).append(a)
                families.setdefault((clause.name, -len(clause.index)), []).append(a)
        for b, clause in enumerate(self.clauses):
            for read in clause.reads:
                edge_at = self._slots(read, clause)
                point = _point(edge_at)
                ranges = (*self.context, *clause.domain, *read.ranges)
                size = len(read.index)
                near = points.get((read.name, point), []) if point is not None else families.get((read.name, -size), [])
                for a in {*families.get((read.name, size), []), *near}:
                    if self._meets(a, edge_at, ranges):
                        yield _Edge(a, b, edge_at, ranges)

    def _slots(self, read: Read, clause: Clause) -> tuple[Affine | None, ...]:
        """The read's slots; None where a boundary maps the index elsewhere (circular, reflect)."""
        ranges = (*self.context, *clause.domain, *read.ranges)
        modes = self.boundary.get(read.name, ())
        slots = []
        for k, e in enumerate(read.index):
            slot = affine(e)
            mode, lo, hi = modes[k] if k < len(modes) else (None, None, None)
            if slot is not None and mode in ("circular", "reflect") and not inside(slot, lo, hi, ranges):
                slot = None
            slots.append(slot)
        return tuple(slots)

    def _meets(self, a: int, at: tuple[Affine | None, ...], ranges: Domain) -> bool:
        """May a read ``at`` touch what clause ``a`` defines? False only when that is proved impossible."""
        definer = self.clauses[a]
        fresh = {r.index: sp.Symbol(f"{r.index}@", integer=True) for r in definer.domain}
        own = tuple(_rename_range(r, fresh) for r in definer.domain)
        for slot, left in zip(at, self.left[a], strict=True):
            if slot is None or left is None:
                continue
            distance = slot - left.rename(fresh)
            if lowest(distance, (*ranges, *own)) > 0 or highest(distance, (*ranges, *own)) < 0:
                return False
        return True

    def at_least(self, a: Affine, b: Affine) -> bool:
        """Whether a ≥ b in every turn of the loops around, when symbolic constants are large."""
        if (ends := extremes(a - b, self.context)) is None:
            return False
        least, _ = ends
        return all(c > 0 for _, c in least.terms) if least.terms else least.const >= 0

    def components(self) -> list[list[int]]:
        """Strongly connected components, definers before readers, ties in the given order."""
        groups = {c: sorted(group) for c, group in enumerate(components(range(len(self.readers)), self.readers.__getitem__))}
        component = {a: c for c, group in groups.items() for a in group}
        waiting = dict.fromkeys(groups, 0)
        later: dict[int, set[int]] = {c: set() for c in groups}
        for edge in self.edges:
            c, d = component[edge.definer], component[edge.reader]
            if c != d and d not in later[c]:
                later[c].add(d)
                waiting[d] += 1
        ready = [(groups[c][0], c) for c in groups if not waiting[c]]
        ready.sort()
        ordered = []
        while ready:
            _, c = heappop(ready)
            ordered.append(groups[c])
            for d in later[c]:
                waiting[d] -= 1
                if not waiting[d]:
                    heappush(ready, (groups[d][0], d))
        return ordered


def _point(slots: tuple[Affine | None, ...]) -> tuple[int, ...] | None:
    """The numbers that all slots are, or None."""
    return tuple(s.const for s in slots if s) if all(s is not None and not s.terms for s in slots) else None


def inside(slot: Affine, lo: sp.Expr, hi: sp.Expr, ranges: Domain) -> bool:
    """Whether index arithmetic shows that ``slot`` stays in lo..hi over all of ``ranges``."""
    low, high = affine(lo), affine(hi)
    if low is None or high is None:
        return False
    return lowest(slot - low, ranges) >= 0 and highest(slot - high, ranges) <= 0


def _rename_range(r: Range, names: Mapping[sp.Symbol, sp.Expr]) -> Range:
    index = names.get(r.index, r.index)
    return Range(index if isinstance(index, sp.Symbol) else r.index, r.lo.xreplace(names), r.hi.xreplace(names))


# ---------------------------------------------------------------- loops


def _loops(graph: _Graph, component: list[int]) -> tuple[Step, ...]:
    """A cyclic component as loops over one slot of each clause, cut where clauses begin or end."""
    choice, reverse = _choose(graph, component)
    spans = {a: _extent(graph, a, choice[a]) for a in component}
    symbol = _loop_symbol(graph, component, choice)
    steps: list[Step] = []
    cuts = _sorted_cuts(graph, component, {end for lo, hi in spans.values() for end in (lo, hi + Affine(1))})
    stretches = list(pairwise(cuts))
    for lo, after in reversed(stretches) if reverse else stretches:
        hi = after - Affine(1)
        active = [a for a in component if graph.at_least(lo, spans[a][0]) and graph.at_least(spans[a][1], hi)]
        if not active:
            continue
        if lo == hi:  # one iteration: no loop
            body = [_fix(graph.clauses[a], choice[a], lo.expr()) for a in active]
            steps += _order(body, graph.context, graph.boundary)
            continue
        loop = Range(symbol, lo.expr(), hi.expr())
        body = [_fix(graph.clauses[a], choice[a], symbol) for a in active]
        steps.append(LoopStep(loop, _order(body, (*graph.context, loop), graph.boundary), reverse))
    return tuple(steps)


def _choose(graph: _Graph, component: list[int]) -> tuple[dict[int, int], bool]:
    """A slot per clause such that all reads inside are at no later (or all at no earlier) values of it."""
    members = set(component)
    inside = [e for e in graph.edges if e.definer in members and e.reader in members]
    best: tuple[int, dict[int, int], bool] | None = None
    for reverse in (False, True):
        for slot in _candidates(graph, component[0]):
            choice = _assign(graph, inside, {component[0]: slot}, reverse)
            if choice is None or all(_index_of(graph, a, k) is None for a, k in choice.items()):
                continue
            carried = sum(_bound(graph, e, choice, reverse) < 0 for e in inside)
            if best is None or carried > best[0]:
                best = carried, choice, reverse
    if best is None:
        raise SpecError(_cycle(graph, component))
    return best[1], best[2]


def _assign(graph: _Graph, edges: list[_Edge], start: dict[int, int], reverse: bool) -> dict[int, int] | None:
    """Extend the choice ``start`` to the whole component along its edges, depth first."""
    stack = [(next(iter(start)), start)]
    while stack:
        newest, choice = stack.pop()
        known = [e for e in edges if newest in (e.definer, e.reader) and e.definer in choice and e.reader in choice]
        if any(_bound(graph, e, choice, reverse) > 0 for e in known):
            continue
        half_chosen = [e for e in edges if (e.definer in choice) != (e.reader in choice)]
        if not half_chosen:
            return choice
        clause = min(e.reader if e.definer in choice else e.definer for e in half_chosen)
        stack += [(clause, {**choice, clause: slot}) for slot in reversed(list(_candidates(graph, clause)))]
    return None


def _candidates(graph: _Graph, a: int) -> Iterator[int]:
    """Slots one may loop over: a number, or one index plus a number, with a range that knows no other index."""
    own = {r.index: r for r in graph.clauses[a].domain}
    for k, slot in enumerate(graph.left[a]):
        if slot is None:
            continue
        indices = [s for s in slot.symbols if s in own]
        if not indices or (len(indices) == 1 and slot.coefficient(indices[0]) == 1 and not _depends(own[indices[0]], own)):
            yield k


def _depends(r: Range, own: Mapping[sp.Symbol, Range]) -> bool:
    ends = affine(r.lo), affine(r.hi)
    return any(end is None or end.symbols & own.keys() for end in ends)


def _index_of(graph: _Graph, a: int, slot: int) -> Range | None:
    """The range of the index at a slot; None for a number."""
    left = graph.left[a][slot]
    return next((r for r in graph.clauses[a].domain if left and left.coefficient(r.index)), None)


def _bound(graph: _Graph, edge: _Edge, choice: Mapping[int, int], reverse: bool) -> float:
    """How much later than the reader (earlier, when ``reverse``) the value read may be."""
    at, now = edge.at[choice[edge.definer]], graph.left[edge.reader][choice[edge.reader]]
    if at is None or now is None:
        return float("inf")
    return -lowest(at - now, edge.ranges) if reverse else highest(at - now, edge.ranges)


def _extent(graph: _Graph, a: int, slot: int) -> tuple[Affine, Affine]:
    """First and last value of a clause's slot."""
    left, r = graph.left[a][slot], _index_of(graph, a, slot)
    assert left is not None
    if r is None:
        return left, left
    lo, hi = affine(r.lo), affine(r.hi)
    assert lo is not None and hi is not None
    return left.replace(r.index, lo), left.replace(r.index, hi)


def _sorted_cuts(graph: _Graph, component: list[int], cuts: set[Affine]) -> list[Affine]:
    """Ends of ranges in increasing order; a symbolic constant counts as large, an index of a loop around as any of its range."""
    for a in cuts:
        for b in cuts:
            if a != b and not graph.at_least(a, b) and not graph.at_least(b, a):
                names = ", ".join(f"`{a.expr()}`" for a in sorted(cuts, key=lambda c: str(c.expr())))
                raise SpecError(
                    Message(
                        graph.clauses[component[0]].span,
                        f"{_names(graph, component)} depend on each other over ranges whose ends {names} have no known order",
                        "give numbers to the symbols in these ranges",
                        "ranges that cannot be ordered",
                    )
                )
    return sorted(cuts, key=lambda a: sum(graph.at_least(a, b) for b in cuts))


def _loop_symbol(graph: _Graph, component: list[int], choice: Mapping[int, int]) -> sp.Symbol:
    """One symbol for the loop: a clause's own, unless another clause uses it for something else."""
    chosen = {a: r.index for a in component if (r := _index_of(graph, a, choice[a])) is not None}
    for symbol in chosen.values():
        if not any(symbol in _symbols(graph.clauses[a]) - {chosen.get(a)} for a in component):
            return symbol
    used = {str(s) for a in component for s in _symbols(graph.clauses[a])}
    stem = str(next(iter(chosen.values())))
    name = next(f"{stem}{k}" for k in count(1) if f"{stem}{k}" not in used)
    return sp.Symbol(name, integer=True)


def _symbols(clause: Clause) -> set[sp.Symbol]:
    ranges = [*clause.domain, *(r for read in clause.reads for r in read.ranges)]
    ends = [e for r in ranges for e in (r.lo, r.hi)]
    indices = [*clause.index, *(e for read in clause.reads for e in read.index)]
    return {r.index for r in ranges}.union(*(e.free_symbols for e in (*ends, *indices)))


def _fix(clause: Clause, slot: int, value: sp.Expr) -> Clause:
    """The clause with its slot at ``value``, which the loop around it sets."""
    index = next((r.index for r in clause.domain if r.index in clause.index[slot].free_symbols), None)
    if index is None:
        return clause
    names = {index: value - clause.index[slot] + index}
    return replace(
        clause,
        index=tuple(e.xreplace(names) for e in clause.index),
        domain=tuple(_rename_range(r, names) for r in clause.domain if r.index != index),
        reads=tuple(
            Read(r.name, tuple(e.xreplace(names) for e in r.index), tuple(_rename_range(s, names) for s in r.ranges))
            for r in clause.reads
        ),
        renaming=(*((s, e.xreplace(names)) for s, e in clause.renaming), *names.items()),
    )


# ---------------------------------------------------------------- what is wrong


def _names(graph: _Graph, component: list[int]) -> str:
    names = list(dict.fromkeys(str(graph.clauses[a].name) for a in component))
    return " and ".join(", ".join(f"`{n}`" for n in part) for part in (names[:-1], names[-1:]) if part)


def _cycle(graph: _Graph, component: list[int]) -> Message:
    """A shortest cycle of the component, named."""
    start, members = component[0], set(component)
    before: dict[int, int] = {}
    queue = [start]
    for a in queue:
        for b in sorted(graph.readers[a] & members):
            if b not in before:
                before[b] = a
                queue.append(b)
    path = [start]
    while before[path[-1]] != start:
        path.append(before[path[-1]])
    path.append(start)
    circle = " -> ".join(f"`{graph.clauses[a].name}`" for a in path)
    return Message(
        graph.clauses[start].span,
        f"{circle}: each needs the next one, and no index of theirs orders the computation",
        "read an earlier (or always a later) index, such as `h[l-1]` in the definition of `h[l]`",
        "cyclic definition",
    )
