"""Depth as a second variable that grows: which loops are residual, and what stands for all of their blocks.

A bound that is left symbolic, ``let L``, with a loop over l in 1..L whose state is carried by sums, ``x[l] = x[l-1] + …``, is a
depth. Widths grow first, then the depth: exponents are compared in n, and of equal ones in L. A representative of l stands for a
block that is followed and for a crowd of Θ(L) blocks like it. Their sum enters the stream: L times what one contributes if
blocks share its letters or it has a mean, √L times if each block has a letter of its own in which it is odd.

Source: Yang, Yu, Zhu & Hayou 2023, *Tensor Programs VI: Feature Learning in Infinite-Depth Neural Networks*, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import sympy as sp

from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, Program, Ref
from tp.program.reads import plain

Simple = MatMul | Nonlin | Moment


@dataclass(frozen=True, slots=True)
class Depth:
    """``symbol`` grows. ``streams`` are families carried from block to block by a sum, ``through`` those on the way."""

    symbol: str
    streams: frozenset[str]
    through: frozenset[str]


def depth_of(program: Program) -> Depth | str | None:
    """The depth of a residual program; why its symbolic bound is none; None where all bounds are numbers."""
    constants = {s.name for s in program.constants}
    loops = [loop for loop in _loops(program.body) if {s.name for s in loop.range.hi.free_symbols} & constants]
    symbols = sorted({s.name for loop in loops for s in loop.range.hi.free_symbols})
    if not loops:
        return None
    if len(symbols) > 1:
        return f"{' and '.join(f'`{s}`' for s in symbols)} cannot both be the depth: give all but one of them a number"
    for loop in loops:
        plain = _plain(loop)
        if plain:
            return (
                f"the depth `{symbols[0]}` is fixed: `{plain}` is not carried from block to block by a sum, `{plain}[…] = "
                f"{plain}[…] + …`, so that each block multiplies what it gets, and no power of `{symbols[0]}` makes up for that"
            )
    return Depth(symbols[0], *carried(program))


def carried(program: Program) -> tuple[frozenset[str], frozenset[str]]:
    """Streams, and what their sums go through, of all loops that have a symbolic bound."""
    constants = set(program.constants)
    found = [_streams(loop) for loop in _loops(program.body) if loop.range.hi.free_symbols & constants]
    return frozenset().union(*(s for s, _ in found)), frozenset().union(*(t for _, t in found))


def _loops(body: Sequence[Instruction]) -> Iterator[Loop]:
    for ins in body:
        if isinstance(ins, Loop):
            yield ins
            yield from _loops(ins.body)


def _defined(loop: Loop) -> dict[str, list[Simple]]:
    found: dict[str, list[Simple]] = {}
    for ins in _simple(loop.body):
        found.setdefault(ins.out.name, []).append(ins)
    return found


def _simple(body: Sequence[Instruction]) -> Iterator[Simple]:
    for ins in body:
        if isinstance(ins, Loop):
            yield from _simple(ins.body)
        else:
            yield plain(ins, "scaling")


def _reads(ins: Simple) -> Iterable[Ref]:
    return [ins.x] if isinstance(ins, MatMul) else sorted(ins.expr.atoms(Ref), key=str)


def _shifted(ref: Ref, l: sp.Symbol) -> bool:
    """Whether ``ref`` is read at another block."""
    return any(e.has(l) and e != l for e in ref.index)


def _streams(loop: Loop) -> tuple[set[str], set[str]]:
    l, defined = loop.range.index, _defined(loop)
    candidates = {r.name for rows in defined.values() for ins in rows for r in _reads(ins) if _shifted(r, l)} & set(defined)
    streams, through = set(), set()
    for name in sorted(candidates):
        way = _identity(name, name, defined, l, ())
        if way is not None:
            streams.add(name)
            through.update(way)
    return streams, through - streams


def _identity(name: str, at: str, defined: dict[str, list[Simple]], l: sp.Symbol, seen: tuple[str, ...]) -> set[str] | None:
    """The families between ``name`` and itself one block before, along terms of sums with coefficient 1."""
    for ins in defined[at]:
        if not isinstance(ins, Nonlin):
            continue
        terms = [t for t in sp.Add.make_args(ins.expr) if isinstance(t, Ref)]
        if any(t.name == name and (_shifted(t, l) or at != name) for t in terms):
            return set()
        for t in terms:
            if t.name in defined and t.name not in (name, at, *seen):
                way = _identity(name, t.name, defined, l, (*seen, at))
                if way is not None:
                    return way | {t.name}
    return None


def _plain(loop: Loop) -> str | None:
    """A family that is carried around the loop otherwise than by a stream."""
    defined, (streams, _) = _defined(loop), _streams(loop)
    reads = {name: {r.name for ins in rows for r in _reads(ins)} & set(defined) - streams for name, rows in defined.items()}
    for start in sorted(set(defined) - streams):
        reached: set[str] = set()
        front = {start}
        while front:
            front = set().union(*(reads[name] for name in front)) - reached
            reached |= front
        if start in reached:
            shifted = {r.name for rows in defined.values() for ins in rows for r in _reads(ins) if _shifted(r, loop.range.index)}
            return min((shifted & reached) or {start})
    return None
