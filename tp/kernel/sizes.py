"""How much is computed at a time: numbers that fit a core's cache, a block of memory, a vector of the processor."""

from __future__ import annotations

CACHE = 1 << 17
"""Numbers a lane loop's tables should hold at most, so that they stay in a core's cache."""

BLOCK = 1 << 21
"""Numbers of a Gram block."""

VECTOR = 16
"""Numbers of a vector of the processor at most."""

EDGE = 512
"""Rows of a block of pairs at most."""

SHARE = 64
"""Samples, as lanes, that a thread is given at least: a few take less time than handing them over."""

ABREAST = 1 << 22
"""Numbers of pairs of images that a thread without a compiler has abreast at most."""

MANY = 1 << 20
"""Pairs from which on a faster function is worth that it takes longer to compile."""

FEW = 1 << 17
"""Numbers, of all pairs, up to which plain Python may be sooner done than a compiler."""

HARD = 1 << 25
"""Numbers, of all pairs, from which on some are taken to be hard for short forms."""

LONGEST = 1024
"""Terms of a coefficient vector at most."""

LONGEST_OF_TWO = 385 * 386 // 2 + 2
"""The same of a function of two variables."""

VECTORS = 1 << 26
"""Most numbers in a table of vectors of functions of two variables: where more are asked for, near duplicates have no value."""


def per_block(numbers: int) -> int:
    """Pairs of a Gram block, each of so many numbers."""
    return max(1, BLOCK // max(1, numbers))


def whole(lanes: int) -> int:
    """About so many, in whole vectors of the processor where that is a small change."""
    return -(-lanes // VECTOR) * VECTOR if lanes > VECTOR else lanes
