"""Where vectors lie: rows of one table, which go to others when nothing reads them any more.

Training keeps what its updates are made of, arguments and adjoints of all steps; the rest is read within a step or two. Vectors
of one family that are kept lie side by side, so that they are one factor of a product.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count

from tp.readings.indexing import Key
from tp.readings.members import Member
from tp.readings.steps import Averages, MatMuls, Products, Step, Updates, Vectors


def placed(
    innovations: Sequence[Key], blocks: Iterable[Sequence[Key]], steps: Sequence[Step]
) -> tuple[dict[Key, int], list[int]]:
    """The row of every vector and innovation, and where the ``blocks`` begin and end, as far as they are kept."""
    ends, kept = _ends(steps), _kept(steps)
    born = {m.out for step in steps for m in _made(step)}
    fresh, rows, bounds = count(), dict[Key, int](), [0]
    for block in blocks:
        rows |= {key: next(fresh) for key in block if key in kept or key not in born}
        bounds.append(len(rows))
    rows |= {key: next(fresh) for key in innovations}
    free: list[int] = []
    dying: dict[int, list[int]] = {}
    for n, step in enumerate(steps):
        for member in _made(step):
            if member.out not in rows:
                rows[member.out] = heappop(free) if free else next(fresh)
                dying.setdefault(max(n, ends.get(member.out, n)), []).append(rows[member.out])
        for row in dying.pop(n, ()):
            heappush(free, row)
    return rows, bounds


def _made(step: Step) -> tuple[Member, ...]:
    return step.members if isinstance(step, (Vectors, MatMuls, Updates)) else ()


def _ends(steps: Sequence[Step]) -> dict[Key, int]:
    """The last step that reads a vector."""
    return {key: n for n, step in enumerate(steps) for key in _read(step)}


def _kept(steps: Sequence[Step]) -> frozenset[Key]:
    """Arguments of matrices, which serve all later products with them, and members of families that are summed over."""
    found: set[Key] = set()
    for step in steps:
        if isinstance(step, MatMuls):
            found.update(m.reads[0] for m in step.members)
        if isinstance(step, Vectors):
            found.update(key for terms in step.sums if len(terms.rows) > 1 for key in terms.rows)
    return frozenset(found)


def _read(step: Step) -> Iterator[Key]:
    match step:
        case Products():
            yield from step.rows
            yield from step.cols
        case Averages():
            yield from (key for tape in step.tapes for key in tape.keys)
        case Vectors():
            yield from (key for tape in step.tapes for key in tape.keys)
            yield from (key for terms in step.sums for key in terms.rows)
        case MatMuls():
            yield from (m.reads[0] for m in step.members)
        case Updates():
            yield from (key for entry in step.entries for key in (*entry.own, *entry.other))
            yield from (m.argument for m in step.members if m.argument is not None)
