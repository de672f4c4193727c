"""How much a run keeps, counted before the first array is made."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tp.errors import NOWHERE
from tp.program.ir import Instruction, Loop, Moment, Program, Range, Simple, Space
from tp.readings.indexing import Env, Indexer
from tp.readings.inputs import complain

MEMBERS = 5_000_000
"""More family members than this take minutes to run through: an error, not a hang."""


def check_size(program: Program, samples: int, env: Env, indexer: Indexer, memory: int | None) -> None:
    """Refuse a run that would not fit, before the first array is made."""
    limit = memory if memory is not None else _half_of_memory()
    total, members, worst, worst_name = 0, 0, 0, ""
    for name, count, size in _footprints(program, samples, env, indexer):
        members += count
        total += 8 * count * size
        if count * size > worst:
            worst, worst_name = count * size, name
    if total > limit:
        needed, share, allowed = (f"{b / 2**30:.3g}" for b in (total, 8 * worst, limit))
        reason = f"this run needs {needed} GiB, of which `{worst_name}` {share}; the limit is {allowed}"
        raise complain(NOWHERE, "too large", reason, "use a smaller width, fewer samples, or a larger `memory=` in bytes")
    if members > MEMBERS:
        raise complain(NOWHERE, "too large", f"the program has more than {MEMBERS} family members", "shorten its index ranges")


def _footprints(program: Program, samples: int, env: Env, indexer: Indexer) -> Iterable[tuple[str, int, int]]:
    """(name, members, numbers per member) of all that a run keeps."""

    def size(space: Space | None) -> int:
        return int(env[space.name]) if space else 1

    for data in program.data:
        yield data.ref.name, indexer.count(data.domain, env, MEMBERS), samples
    for weight in program.weights:
        yield weight.ref.name, indexer.count(weight.domain, env, MEMBERS), size(weight.rows) * size(weight.cols)
    for ins, loops in _flat(program.body, ()):
        space = None if isinstance(ins, Moment) else ins.space
        yield ins.out.name, indexer.count((*loops, *ins.domain), env, MEMBERS), samples * size(space)


def _flat(body: Iterable[Instruction], loops: tuple[Range, ...]) -> Iterable[tuple[Simple, tuple[Range, ...]]]:
    for ins in body:
        if isinstance(ins, Loop):
            yield from _flat(ins.body, (*loops, ins.range))
        else:
            yield ins, loops


def _half_of_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 4 << 30
