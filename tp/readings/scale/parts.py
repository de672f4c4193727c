"""Parts of a family that differ from the rest: which of its members need a representative of their own.

Members of a family at parallel indices are alike, and one stands for all, unless some are written apart: one token that is read
out, ``v @ h[1]``, has a gradient of its own, a class token a first value of its own. A part that reads nothing but what a
represented part reads, such as the ends of a convolution, is like that one with terms left out, and decides nothing. Members
with fresh weights that meet in one average, ``avg(q[1]*q[2])``, are independent: each has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

import sympy as sp

from tp.program.ir import Domain, MatMul, Moment, Ref, Simple
from tp.program.reads import plain

Ends = tuple[int, int]
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
    fresh: Container[str],
    integer: Integer,
    chosen: dict[str, list[int]],
) -> set[tuple[str, int]]:
    """Add to the ``chosen`` values, by the name of an index, the middle of every part that needs one of its own; these values.

    ``fresh`` are the indices that weights have.
    """
    before = {(name, v) for name, values in chosen.items() for v in values}
    flat = [(plain(ins, "scaling"), domain) for ins, domain in program]
    names = {(ins.out.name, k): e.name for ins, domain in flat for k, e in enumerate(ins.out.index) if e in _indices(domain)}
    names = {(adjoint.get(family, family), k): name for (family, k), name in names.items()} | names
    families: dict[str, list[Part]] = {}
    for ins, domain in flat:
        ends = tuple(_ends(names.get((ins.out.name, k)), e, domain, integer) for k, e in enumerate(ins.out.index))
        reads = {ins.W.name, ins.x.name} if isinstance(ins, MatMul) else {ref.name for ref in ins.expr.atoms(Ref)}
        families.setdefault(ins.out.name, []).append(Part(ends, frozenset(reads)))
        for name, values in _met(ins, names).items():
            if name in fresh and name in chosen and len(values) > 1:
                chosen[name] = sorted({*chosen[name], *values})
    for parts in families.values():
        for part in parts:
            missing = part.missing(chosen)
            if missing and not any(part.reads <= other.reads for other in parts if not other.missing(chosen)):
                for name, (lo, hi) in missing:
                    chosen[name] = sorted({*chosen[name], (lo + hi + 1) // 2})
    return {(name, v) for name, values in chosen.items() for v in values} - before


def _met(ins: Simple, names: Mapping[tuple[str, int], str]) -> dict[str, set[int]]:
    """The numbers by which an average reads members, by the name of the index."""
    found: dict[str, set[int]] = {}
    for ref in ins.expr.atoms(Ref) if isinstance(ins, Moment) else ():
        for k, e in enumerate(ref.index):
            if e.is_Integer and (ref.name, k) in names:
                found.setdefault(names[ref.name, k], set()).add(int(e))
    return found


def _indices(domain: Domain) -> list[sp.Symbol]:
    return [r.index for r in domain]


def _ends(name: str | None, e: sp.Expr, domain: Domain, integer: Integer) -> tuple[str, Ends] | None:
    """The index called ``name`` that is ``e`` on the left, and its first and last value."""
    lo, hi = next(((integer(r.lo), integer(r.hi)) for r in domain if r.index == e), (integer(e), integer(e)))
    return None if name is None or lo is None or hi is None else (name, (lo, hi))
