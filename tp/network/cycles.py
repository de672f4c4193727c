"""Can the lines be put in an order? A line may read its own family at an earlier (or later) index, not at the same.

Lines are nodes, with an edge where one reads what another defines. A strongly connected component is a recursion when
one index of each of its lines can be counted up (or down): no read inside the component is at a later value of it,
and what remains at the same value has an order again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from tp.components import components
from tp.network import faults
from tp.network.affine import extreme
from tp.network.coverage import Coverage
from tp.network.lines import Line, Read
from tp.network.names import Report
from tp.network.references import left_side
from tp.network.show import show, tight

Node = int


@dataclass(frozen=True, slots=True)
class Edge:
    """``reader`` reads ``definer`` by ``read``."""

    reader: Node
    definer: Node
    read: Read


def check_order(coverage: Coverage, lines: Sequence[Line], report: Report) -> None:
    """Report lines that are defined through themselves."""
    first: dict[tuple[str, int], Node] = {}
    for k, line in enumerate(lines):
        family = coverage.d.families[line.written.name]
        first[line.written.name, next(i for i, c in enumerate(family) if c is line.written)] = k
    edges = [
        Edge(k, first[read.name.name, i], read)
        for k, line in enumerate(lines)
        for read in line.reads
        if read.name.name in coverage.d.families
        for i in coverage.touched(read)
        if (read.name.name, i) in first
    ]
    _order(coverage, lines, range(len(lines)), edges, report)


def _order(coverage: Coverage, lines: Sequence[Line], nodes: Sequence[Node], edges: Sequence[Edge], report: Report) -> None:
    found = _components(nodes, edges)
    of = {k: i for i, component in enumerate(found) for k in component}
    own: list[list[Edge]] = [[] for _ in found]
    for e in edges:
        if of[e.reader] == of[e.definer]:
            own[of[e.reader]].append(e)
    for component, inner in zip(found, own, strict=True):
        if not inner:
            continue
        rest = _advance(coverage, lines, component, inner)
        if rest is None:
            report(_cycle(lines, component, inner))
        else:
            _order(coverage, lines, component, rest, report)


def _advance(coverage: Coverage, lines: Sequence[Line], component: Sequence[Node], edges: Sequence[Edge]) -> list[Edge] | None:
    """The reads that remain when one index of each line is counted through; None when no index can be."""
    choices = {}
    for name in {lines[k].clause.name for k in component}:
        own = [lines[k].slots for k in component if lines[k].clause.name == name]
        choices[name] = [j for j in range(len(own[0])) if all(slots[j].terms for slots in own)]
    if any(not c for c in choices.values()):
        return None
    names = sorted(choices)
    for k, slots in enumerate(product(*(choices[n] for n in names))):
        if k > 200:
            break
        at = dict(zip(names, slots, strict=True))
        for sign in (-1, 1):
            steps = [_step(coverage, lines[e.reader], e.read, at, sign) for e in edges]
            rest = [e for e, step in zip(edges, steps, strict=True) if step == 0]
            if None not in steps and len(rest) < len(edges):
                return rest
    return None


def _step(coverage: Coverage, line: Line, read: Read, at: Mapping[str, int], sign: int) -> int | None:
    """``sign`` where the read is always at an earlier (-1) or later (1) value, 0 where it may be at the same, else None."""
    j, own = at[read.name.name], line.slots[at[line.clause.name]]
    box = coverage.put(read.box)
    inside = {s.name for s in box}
    e = coverage.number(read.index[j], inside)
    mode = coverage.domains.bounded.modes(read.name.name)[j]
    if mode in ("circular", "reflect"):
        lo, hi = coverage.families[read.name.name].hull[j]
        if extreme(e, box, -1).const < lo or extreme(e, box, 1).const > hi:
            return None
    step = e - coverage.number(own, inside)
    nearest = extreme(step, box, -sign).const * sign
    if nearest < 0:
        return None
    return 0 if nearest == 0 else sign


def _cycle(lines: Sequence[Line], component: Sequence[Node], edges: Sequence[Edge]) -> faults.CyclicDefinition:
    start = min(component, key=lambda k: (lines[k].clause.span.line, lines[k].clause.span.column))
    path = _path(start, edges)
    names = [lines[k].clause.name for k in path]
    if len(names) > 8:
        names = [*names[:4], "…", *names[-3:]]
    c = lines[start].clause
    if len(path) == 2 and c.index:
        read = next(e.read for e in edges if e.reader == start and e.definer == start)
        shown = f"`{_shown(c.name, lines[start])}` reads `{show(read.name)}`"
        hint = "a recursion reads an earlier index, `h[l-1]`"
        return faults.CyclicDefinition(left_side(c), c.name, shown, hint)
    arrows = " → ".join(n if n == "…" else f"`{n}`" for n in names)
    hint = "a recursion reads an earlier index, `h[l-1]`"
    if not c.index:
        hint = "a recursion over layers or time needs an index: `h[l] = … h[l-1] …`"
    return faults.CyclicDefinition(left_side(c), c.name, arrows, hint)


def _shown(name: str, line: Line) -> str:
    return f"{name}[{', '.join(map(tight, line.clause.index))}]"


def _path(start: Node, edges: Sequence[Edge]) -> list[Node]:
    """A shortest way from ``start`` back to it along reads."""
    before: dict[Node, Node] = {}
    queue = [start]
    for node in queue:
        for e in edges:
            if e.reader == node and e.definer == start:
                path = [start, node]
                while node != start:
                    node = before[node]
                    path.append(node)
                return path[::-1]
            if e.reader == node and e.definer not in before:
                before[e.definer] = node
                queue.append(e.definer)
    return [start, start]


def _components(nodes: Sequence[Node], edges: Sequence[Edge]) -> list[list[Node]]:
    following: dict[Node, list[Node]] = {k: [] for k in nodes}
    for e in edges:
        following[e.reader].append(e.definer)
    return components(nodes, following.__getitem__)
