"""Cells: what a vector is made of, by what it is correlated with.

A *letter* is an independent mean-zero family: the Gaussian part of a matrix product, an initial vector. A *tag* says of each
letter whether a component is odd in it or depends on it in some generic way. Two components have E[Z Z'] ≠ 0, structurally,
exactly if no letter remains odd in their product. A tag is a pair of bit masks (odd, star); a cell is a pair of maps tag →
(value, node): *base*, what is there at initialization, and *pert*, what updates caused.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 7 and appendix H (which products are central-limit-, which
law-of-large-numbers-sized); Yang 2020, *Tensor Programs III*, Definition E.3 (hat and dot parts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Tag = tuple[int, int]
Part = dict[Tag, tuple[int, Any]]
Cell = tuple[Part, Part]

NONE: Tag = (0, 0)
EMPTY: Cell = ({}, {})
LIMIT = 48


def product(a: Tag, b: Tag) -> Tag:
    """odd·odd is absent, anything·star is star."""
    star = a[1] | b[1]
    return (a[0] ^ b[0]) & ~star, star


def corr(a: Tag, b: Tag) -> bool:
    """Whether the expectation of the product is structurally nonzero."""
    return not (a[0] ^ b[0]) & ~(a[1] | b[1])


def put(part: Part, tag: Tag, value: int, node: Any) -> None:
    """Keep the largest component of each tag."""
    old = part.get(tag)
    if old is None or value > old[0]:
        part[tag] = (value, node)


def largest(part: Part) -> tuple[int, Any] | None:
    """The component of the largest value; None for what is zero."""
    return max(part.values(), key=lambda c: c[0]) if part else None


def union(cells: list[Cell]) -> Cell:
    """The sum of cells."""
    base: Part = {}
    pert: Part = {}
    for cell in cells:
        for part, into in ((cell[0], base), (cell[1], pert)):
            for tag, (value, node) in part.items():
                put(into, tag, value, node)
    return base, pert


def shifted(cell: Cell, value: int, node: Any) -> Cell:
    """The cell times n^exponent."""
    base, pert = ({t: (v + value, (n, node)) for t, (v, n) in part.items()} for part in cell)
    return base, pert


def divided(cell: Cell, by: tuple[int, Any] | None) -> Cell:
    """The cell over its own largest component; all components as large as that one become exactly 1."""
    value, node = by or (0, 0)
    base, pert = ({t: (0, 0) if v == value else (v - value, (n, node, -1)) for t, (v, n) in part.items()} for part in cell)
    return base, pert


def times(a: Cell, b: Cell) -> Cell:
    """The coordinatewise product."""
    base: Part = {}
    pert: Part = {}
    _products(a[0], b[0], base)
    _products(a[0], b[1], pert)
    _products(a[1], b[0], pert)
    _products(a[1], b[1], pert)
    return base, pert


def _products(a: Part, b: Part, into: Part) -> None:
    """Each of ``a`` times each of ``b``: the inner loop of a walk; :func:`product` and :func:`put` are written out."""
    factors = [(o, s, v, n) for (o, s), (v, n) in b.items()]
    found = into.get
    for (o1, s1), (v1, n1) in a.items():
        for o2, s2, v2, n2 in factors:
            star = s1 | s2
            tag = ((o1 ^ o2) & ~star, star)
            value = v1 + v2
            old = found(tag)
            if old is None or value > old[0]:
                into[tag] = (value, (n1, n2))


@dataclass
class Excess:
    """What becomes of perturbations beyond the limit, and whether there were any.

    Those with the same youngest odd letter count as one that is odd in it, depends in any way on all their other letters, and is
    as large as the largest: sizes are upper bounds. ``drop``: they are left out, and sizes are lower bounds. Where the two agree
    they are exact.
    """

    drop: bool = False
    limit: int = LIMIT
    met: bool = False


def pruned(cell: Cell, cutoff: int, excess: Excess) -> Cell:
    """The cell without components that can decide nothing.

    Of two components of the same kind one decides nothing if the other exceeds it in size and in correlations; nor does one
    that is smaller than the largest perturbation by ``cutoff``, half the exponent of the width: what it gains by being
    correlated with a partner, the largest one has without. Products in long residual streams have ever more letters: of more
    perturbations than the limit the largest stay, of equal ones those with the fewest odd letters; see :class:`Excess`.
    """
    base, pert = cell
    if len(pert) > 1:
        floor = max(v for v, _ in pert.values()) - cutoff
        if any(v <= floor for v, _ in pert.values()):
            pert = {t: c for t, c in pert.items() if c[0] > floor}
    base, pert = _prune(base), _prune(pert)
    if len(pert) > excess.limit:
        excess.met = True
        ordered = sorted(pert.items(), key=lambda item: (-item[1][0], item[0][0].bit_count()))
        pert, rest = dict(ordered[: excess.limit]), ordered[excess.limit :]
        for tag, item in {} if excess.drop else _merged(rest).items():
            put(pert, tag, *item)
    return base, pert


def _merged(rest: list[tuple[Tag, tuple[int, Any]]]) -> Part:
    """Few components that dominate those of ``rest``, which begins with the largest."""
    letters: dict[int, int] = {}
    largest_: dict[int, tuple[int, Any]] = {}
    for (odd, star), item in rest:
        youngest = 1 << odd.bit_length() >> 1
        letters[youngest] = letters.get(youngest, 0) | odd | star
        largest_.setdefault(youngest, item)
    return {(youngest, all_ & ~youngest): largest_[youngest] for youngest, all_ in letters.items()}


def _prune(part: Part) -> Part:
    if len(part) < 2:
        return part
    tops: list[tuple[int, int]] = []
    for v, s in sorted(((v, t[1]) for t, (v, _) in part.items() if not t[0]), reverse=True):
        if all(s & ~other for other, _ in tops):  # what one decides that another exceeds, the other decides
            tops.append((s, v))
    if not tops:
        return part
    return {tag: item for tag, item in part.items() if not _decided(tag, item[0], tops)}


def _decided(tag: Tag, value: int, tops: list[tuple[int, int]]) -> bool:
    """Whether one of the components that are generic in all their letters (the largest first) decides all that ``tag`` does."""
    odd, star = tag
    letters = odd | star
    for s, v in tops:
        if v < value:
            return False
        if not letters & ~s and (odd or s != star):
            return True
    return False
