"""Rules of the calculus: nonlinearities by Taylor's formula, averages by the law of large numbers or the central limit.

Source: Yang & Hu 2021, *Tensor Programs IV*, appendix H.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

from tp.readings.scale.tags import Cell, Part, Tag, largest, product, put, union

SEVERAL = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """What a function of one argument is like: ``degree`` if homogeneous; else whether f, f′, f″ are nonzero at 0.

    ``parity`` is 1 for an even function, -1 for an odd one, 0 for others.
    """

    degree: Fraction | None = None
    at_zero: tuple[bool, bool, bool] = (True, True, True)
    parity: int = 0


def nonlinear(cell: Cell, shape: Shape) -> Cell:
    """f(x): around the part of x that is Θ(1), to second order in the rest.

    Base components of Θ(1) make f(x) depend on all their letters. A smaller one, and every perturbation, enters by its
    first order and, in pairs, its second; of these only what has a mean is kept. Θ(1) is relative for homogeneous f.
    """
    base, pert = cell
    top = largest(base) or largest(pert)
    if top is None:
        return ({(0, 0): (0, 0)}, {}) if shape.degree is None and shape.at_zero[0] else ({}, {})
    if shape.degree is not None:
        return _homogeneous(cell, shape.degree, top, shape.parity)
    return _expanded(base, pert, 0, shape.at_zero, (0, 0), {}, shape.parity)


def _homogeneous(cell: Cell, degree: Fraction, top: tuple[int, Any], parity: int) -> Cell:
    """f(λx) = λ^degree f(x), so that the largest component may be taken as Θ(1)."""
    base, pert = cell
    moved = largest(pert)
    if base and (moved is None or moved[0] <= top[0]):
        return _around(base, pert, degree, top, parity)
    initial = _around(base, {}, degree, top, parity)[0] if base else {}
    assert moved is not None  # updates have outgrown what was there: of it only the smaller part is left
    made = _around(pert, base, degree, moved, parity)
    return initial, union([({}, made[0]), ({}, made[1])])[1]


def _around(main: Part, rest: Part, degree: Fraction, top: tuple[int, Any], parity: int) -> Cell:
    value, node = top
    size = _plain(value * degree), (0, node, degree)
    return _expanded(main, rest, value, (False, True, True), size, {"less": degree - 1, "top": top}, parity)


def _expanded(
    base: Part,
    pert: Part,
    zero: int,
    orders: tuple[bool, bool, bool],
    size: tuple[Any, Any],
    scale: dict[str, Any],
    parity: int,
) -> Cell:
    """Taylor's formula; ``zero`` is the value that counts as Θ(1), ``size`` that of the result's leading part."""
    mains = [tag for tag, (value, _) in base.items() if value >= zero]
    small = [(tag, value, node, False) for tag, (value, node) in base.items() if value < zero]
    small += [(tag, value, node, True) for tag, (value, node) in pert.items()]
    made: Cell = ({}, {})
    f0, f1, f2 = (bool(mains) or there for there in orders)
    for around in _derivative(mains, parity, 0) if f0 else ():
        put(made[0], around, *size)
    stars = _derivative(mains, parity, 1) if f1 else []
    for tag, value, node, moved in small:
        for around in stars:
            put(made[moved], product(around, tag), *_relative(value, node, 1, scale))
    for around in _derivative(mains, parity, 2) if f2 else ():
        kinds = _kinds(small, around[1])
        for k, (tag, value, node, moved) in enumerate(kinds):
            for other, value2, node2, moved2 in kinds[k:]:
                both = product(around, product(tag, other))
                if not both[0]:
                    put(made[moved or moved2], both, *_relative(value + value2, (node, node2), 2, scale))
    return made


Small = tuple[Tag, int, Any, bool]


def _kinds(small: list[Small], star: int) -> list[Small]:
    """The largest of those that differ in letters of ``star`` alone: times what depends on these in any way they are one."""
    found: dict[tuple[int, int, bool], tuple[int, int]] = {}
    for k, ((odd, any_), value, _, moved) in enumerate(small):
        kind = odd & ~star, any_ & ~star, moved
        if kind not in found or value > found[kind][0]:
            found[kind] = value, k
    return [
        ((odd, any_), small[k][1], small[k][2], moved)
        for (odd, any_, moved), (_, k) in sorted(found.items(), key=lambda item: item[1][1])
    ]


def _derivative(mains: list[Tag], parity: int, order: int) -> list[Tag]:
    """The kinds of terms of the ``order``-th derivative at a sum of Θ(1) components.

    In general it depends on all their letters in any way. That of an odd or even function is made of products of an odd or of an
    even number of components, alternating with the order; of many components all but one count as any way.
    """
    letters = 0
    for odd, star in mains:
        letters |= odd | star
    if not parity or not mains:
        return [(0, letters)]
    count = (parity < 0) ^ (order % 2)  # 1: an odd number
    if len(mains) > SEVERAL:
        return [product(tag, (0, letters & ~tag[0])) for tag in mains] if count else [(0, letters)]
    found: dict[Tag, None] = {}
    for size in range(count, len(mains) + 1, 2):
        for chosen in combinations(mains, size):
            made: Tag = (0, 0)
            for tag in chosen:
                made = product(made, tag)
            found[made] = None
    return list(found)


def _relative(value: int, node: Any, order: int, scale: dict[str, Any]) -> tuple[Any, Any]:
    """For a homogeneous f of degree k: the term of order j is δ^j x^(k − j)."""
    if not scale:
        return value, node
    power = scale["less"] - order + 1
    if power == 0:
        return value, node
    top, top_node = scale["top"]
    return value + _plain(top * power), (node, top_node, power)


def _plain(x: Any) -> Any:
    """An int where possible: values are integers nearly always, and must stay fast."""
    return int(x) if x == int(x) else x


def averaged(cell: Cell, half: int, half_node: Any) -> Cell:
    """avg(x) of each component: its size if it has a mean, n^(-1/2) of that if it has none."""
    made: Cell = ({}, {})
    for part, into in zip(cell, made, strict=True):
        for tag, (value, node) in part.items():
            if tag[0]:
                put(into, (0, 0), value - half, (node, half_node, -1))
            else:
                put(into, (0, 0), value, node)
    return made


def contracted(x: Cell, y: Cell, half: int, half_node: Any) -> Cell:
    """avg(x y), without the cell x y."""
    made: Cell = ({}, {})
    for moved, part in enumerate(x):
        for moved2, other in enumerate(y):
            best = _best(part, other, half, half_node)
            if best is not None:
                put(made[moved or moved2], (0, 0), *best)
    return made


def _best(x: Part, y: Part, half: int, half_node: Any) -> tuple[int, Any] | None:
    best: tuple[int, Any] | None = None
    for (o1, s1), (v1, n1) in x.items():
        for (o2, s2), (v2, n2) in y.items():
            value = v1 + v2
            if best is not None and value <= best[0]:
                continue
            if (o1 ^ o2) & ~(s1 | s2):
                value -= half
                if best is None or value > best[0]:
                    best = (value, ((n1, n2), half_node, -1))
            else:
                best = (value, (n1, n2))
    return best


def inner(x: Cell, y: Cell, half: int, half_node: Any) -> tuple[int, Any] | None:
    """⟨x, y⟩ = Σ_α x_α y_α: n where they are correlated, n^(1/2) where not; the largest of all components."""
    found = [b for part in x for other in y if (b := _best(part, other, half, half_node)) is not None]
    if not found:
        return None
    value, node = max(found, key=lambda b: b[0])
    return value + 2 * half, (node, half_node, 2)
