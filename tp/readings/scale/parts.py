"""Parts of a family that differ from the rest: which of its members need a representative of their own.

Members of a family at parallel indices are alike, and one stands for all, unless some are written apart: one token that is read
out, ``v @ h[1]``, has a gradient of its own, a class token a first value of its own. A part that reads nothing but what a
represented part reads, such as the ends of a convolution, is like that one with terms left out, and decides nothing. What
descends from different members with fresh weights is independent, ``avg(q[1]*tanh(q[2]))``: where it meets, each has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from tp.program.ir import Domain, MatMul, Plain, Range, Ref, Simple, Weight
from tp.program.reads import plain
from tp.readings.scale.descent import Descent, Found

Ends = tuple[int, int]
Limits = dict[str, Ends]
Integer = Callable[[sp.Expr], int | None]  # the value of a bound, None where it depends on other indices


@dataclass(frozen=True, slots=True)
class Part:
    """Members of a family by one formula: per index its name and first and last value, None where these vary; what it reads."""

    ends: tuple[tuple[str, Ends] | None, ...]
    reads: frozenset[str]

    def missing(self, chosen: Mapping[str, list[int]]) -> list[tuple[str, Ends]]:
        """The indices at which none of its members is chosen."""
        known = [end for end in self.ends if end is not None and end[0] in chosen]
        return [(name, (lo, hi)) for name, (lo, hi) in known if not any(lo <= v <= hi for v in chosen[name])]


def represent(
    program: Iterable[tuple[Simple, Domain]],
    adjoint: Mapping[str, str],
    weights: Sequence[Weight],
    loops: Container[str],
    integer: Integer,
    chosen: dict[str, list[int]],
) -> set[tuple[str, int]]:
    """Add to the ``chosen`` values, by the name of an index, the middle of every part that needs one of its own; these values."""
    before = {(name, v) for name, values in chosen.items() for v in values}
    flat = [(plain(ins, "scaling"), domain) for ins, domain in program]
    names = {(ins.out.name, k): e.name for ins, domain in flat for k, e in enumerate(ins.out.index) if e in _indices(domain)}
    names = {(adjoint.get(family, family), k): name for (family, k), name in names.items()} | names
    families: dict[str, list[Part]] = {}
    for ins, domain in flat:
        ends = tuple(_ends(names.get((ins.out.name, k)), e, domain, integer) for k, e in enumerate(ins.out.index))
        reads = {ins.W.name, ins.x.name} if isinstance(ins, MatMul) else {ref.name for ref in ins.expr.atoms(Ref)}
        families.setdefault(ins.out.name, []).append(Part(ends, frozenset(reads)))
    descent = Descent(flat, weights)
    limits = _limits(
        [*(r for ins, domain in flat for r in (*domain, *_sums(ins))), *(r for w in weights for r in w.domain)], integer
    )
    for found in descent.meetings():
        _apart(found, limits, loops, chosen)
    for one, other, more in (r for r in descent.renamed() if r[0] not in loops or r[0] != r[1]):
        _add(chosen, limits, other, (v + more for v in chosen.get(one, ())))
    for parts in families.values():
        for part in parts:
            missing = part.missing(chosen)
            if missing and not any(part.reads <= other.reads for other in parts if not other.missing(chosen)):
                for name, (lo, hi) in missing:
                    chosen[name] = sorted({*chosen[name], (lo + hi + 1) // 2})
    return {(name, v) for name, values in chosen.items() for v in values} - before


def _apart(found: Found, limits: Limits, loops: Container[str], chosen: dict[str, list[int]]) -> None:
    """Choose the members that meet in one place: by their numbers, at neighbouring indices, or at indices of several names."""
    for name, places in found.items():
        if len(places) < 2 or None in places:  # all members of a circle, such as a residual stream, share what is carried
            continue
        _add(chosen, limits, name, (at for at in places if isinstance(at, int)))
        by: dict[str, list[int]] = {}
        for at in places:
            if isinstance(at, tuple) and at[1] == 1:
                by.setdefault(at[0], []).append(at[2])
        lo, hi = limits.get(name, (0, -1))
        for index, steps in by.items():
            if index in loops:  # its first two are neighbours
                continue
            together = (v for v in chosen.get(index, ()) if all(lo <= v + k <= hi for k in steps))
            first = next(together, None)
            if first is not None:
                _add(chosen, limits, name, (first + k for k in steps))
        for index in by if len(by) > 1 else ():
            _add(chosen, limits, index, chosen.get(name, ()))


def _add(chosen: dict[str, list[int]], limits: Limits, name: str, values: Iterable[int]) -> None:
    lo, hi = limits.get(name, (0, -1))
    new = {v for v in values if lo <= v <= hi}
    if new:
        chosen[name] = sorted({*chosen.get(name, ()), *new})


def _sums(ins: Plain) -> Iterator[Range]:
    """The ranges of finite sums in an expression."""
    for total in ins.expr.atoms(sp.Sum) if not isinstance(ins, MatMul) else ():
        yield from (Range(*limit) for limit in total.limits)


def _limits(ranges: Iterable[Range], integer: Integer) -> Limits:
    """The least and the largest value of every index."""
    found: Limits = {}
    for r in ranges:
        lo, hi, name = integer(r.lo), integer(r.hi), r.index.name.rstrip("_*'")
        if lo is not None and hi is not None:
            known = found.get(name, (lo, hi))
            found[name] = min(lo, known[0]), max(hi, known[1])
    return found


def _indices(domain: Domain) -> list[sp.Symbol]:
    return [r.index for r in domain]


def _ends(name: str | None, e: sp.Expr, domain: Domain, integer: Integer) -> tuple[str, Ends] | None:
    """The index called ``name`` that is ``e`` on the left, and its first and last value."""
    lo, hi = next(((integer(r.lo), integer(r.hi)) for r in domain if r.index == e), (integer(e), integer(e)))
    return None if name is None or lo is None or hi is None else (name, (lo, hi))
