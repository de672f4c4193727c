"""Memory that a call of a kernel takes, told beforehand."""

from __future__ import annotations

import os
from math import prod

from tp.errors import NOWHERE, DataError, Message
from tp.kernel import sizes
from tp.kernel.disk.tiles import size_text
from tp.kernel.plan import Compiled


def default_memory() -> int:
    """Three quarters of the machine's memory, in bytes."""
    try:
        return int(0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return 1 << 33


def working_memory(plan: Compiled, size: int, threads: int, first: int, second: int) -> int:
    """Bytes that a call for ``first`` × ``second`` samples holds at most, its samples and results included.

    ``size`` is that of a number, in bytes.
    """
    blocks = "rows" not in plan.functions
    grams = [*plan.pair_grams.values()] if blocks else []
    numbers = sum(prod(a.size for a in e.axes) for e in grams)
    per_pair = _per_pair(plan)
    sample = sum(prod(shape) for shape in plan.data.values())
    tables = [*plan.sites, *(root.base for root in plan.roots.values())]
    sites = sum(prod(a.size for a in plan.sites[t]) for t in tables) * (1 if blocks else 2)
    vectors = sum(prod(axis.size for axis in plan.coefficients[t]) * _longest(plan, t) for t in plan.coefficients)
    block = min(sizes.per_block(numbers), 4 * sizes.EDGE**2) * numbers
    ahead = min(numbers * first * second, threads * block)
    copies = 4 + 2 * len(grams)  # converted, laid out for BLAS, compared with each other
    scratch = 8 * threads * max(sizes.CACHE, *plan.lanes.values())
    return (
        size * (per_pair * first * second + ahead + copies * sample * (first + second))
        + first * second * (per_pair if blocks else per_pair + 64)  # seen to be finite; by rows, a list of pairs
        + 8 * (sites * (first + second) + min(vectors * (first + second), len(plan.coefficients) * COPIES * sizes.VECTORS))
        + scratch
    )


def check_memory(plan: Compiled, size: int, threads: int, limit: int, first: int, second: int) -> None:
    """Raises ``DataError`` where the result, or the scratch of one lane a thread, is over the limit in bytes."""
    per_sample = sum(prod(a.size for a in axes) for axes in plan.sites.values())
    result = size * _per_pair(plan) * first * second + 8 * per_sample * (first + second)
    scratch = 8 * threads * max(plan.lanes.values())  # at least one lane a thread
    refuse_over(limit, result + scratch, first, second, "the result" if result > scratch else "computing the kernel")


def check_vectors(plan: Compiled, numbers: int, limit: int, first: int, second: int) -> None:
    """Raises ``DataError`` where so many numbers in vectors of functions of two variables are over the limit in bytes."""
    result = 8 * _per_pair(plan) * first * second
    refuse_over(limit, result + 8 * COPIES * numbers, first, second, "expanding functions of two Gaussians")


def refuse_over(limit: int, needed_: int, first: int, second: int, what: str) -> None:
    """Raises ``DataError`` where ``what`` takes more bytes than the limit."""
    if needed_ <= limit:
        return
    needed, most = size_text(needed_), size_text(limit)
    reason = f"{what} for {first} × {second} samples takes {needed}, over the limit of {most}"
    remedy = "pass fewer samples, raise memory=, or write it to disk with .gram(X, out=…)"
    raise DataError(Message(NOWHERE, reason, remedy, "over the memory limit"))


COPIES = 3
"""Times that vectors of functions of two variables are held: of distinct samples, of all, in the basis in which pairs read."""


def two_variables(plan: Compiled, table: str) -> bool:
    """Whether a table of coefficients is of functions of two variables: its vectors are not interpolated."""
    return f"squares_{plan.makers.get(table, table)}" not in plan.functions


def _longest(plan: Compiled, table: str) -> int:
    """Numbers of a vector at most, in all copies."""
    return COPIES * plan.blocks[table] * sizes.LONGEST_OF_TWO if two_variables(plan, table) else sizes.LONGEST


def _per_pair(plan: Compiled) -> int:
    """Numbers of a result, per pair of samples."""
    return sum(prod(plan.out_shape(t)) for t in plan.outputs)
