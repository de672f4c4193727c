"""Instructions for parts of a formula: fresh names, one instruction for equal parts, each indexed as sparsely as possible.

A part such as ``relu(h[p+k])`` knows the indices p and k only through ``p+k``: it becomes the family ``x1[p] = relu(h[p])``
over all positions and is read at ``x1[p+k]``, with the boundary of ``h``. And where ``s in 1..t`` but ``t`` itself does
not occur, as in ``V @ e[s]``, the family is over all s that occur for any t.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, count

import sympy as sp

from tp.errors import Span
from tp.program.affine import affine, extremes
from tp.program.ir import Domain, MatMul, Moment, Nonlin, OuterNonlin, Range, Ref, Simple, Space
from tp.program.reads import reads, rename

Boundary = dict[str, tuple[tuple[str | None, sp.Expr, sp.Expr], ...]]
Letters = dict[str, tuple[str | None, ...]]
"""Per family and slot, the name of the index that its definition has there."""

_LOCAL = "?"
"""Ends a name that is not final."""

BOUND = "_"
"""Ends the name of an index bound by softmax, which may stand beside the free index of the same name."""


class Names:
    """Fresh names, never one of the spec's: ``m1``, ``m2`` …"""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = frozenset(taken)
        self.numbers: dict[str, Iterator[int]] = {}

    def fresh(self, stem: str) -> str:
        numbers = self.numbers.setdefault(stem, count(1))
        return next(name for k in numbers if (name := f"{stem}{k}") not in self.taken)


@dataclass(frozen=True, slots=True)
class _Position:
    """An index expression that several indices occur in, and nowhere else: it becomes the index ``symbol``."""

    expr: sp.Expr
    symbol: sp.Symbol
    range: Range
    mode: str | None


class Temporaries:
    """The instructions that one statement needs before its own, and the ranges of all indices in it."""

    def __init__(self, names: Names, boundary: Boundary, letters: Letters) -> None:
        self.names, self.boundary, self.letters = names, boundary, letters
        self.ranges: dict[sp.Symbol, Range] = {}
        self.instructions: list[Simple] = []
        self._known: dict[Simple, Ref] = {}

    def finish(self, definition: Nonlin) -> list[Simple]:
        """All instructions of the statement, ``definition`` the last, under their final names.

        A definition that is just a MatMul, or a constant times a Moment, is that instruction.
        """
        body = _scaled(_live(_merged(self.instructions, definition)))
        final = {ins.out.args[0]: sp.Symbol(self.names.fresh(ins.out.name[0])) for ins in body if ins.out.name.endswith(_LOCAL)}
        for ins in self.instructions:
            if (slots := self.boundary.pop(ins.out.name, None)) and (name := final.get(ins.out.args[0])):
                self.boundary[name.name] = slots
        return [rename(ins, final, ins.domain) for ins in body]

    def bind(self, name: str, lo: sp.Expr, hi: sp.Expr, avoid: Iterable[sp.Symbol]) -> sp.Symbol:
        """A symbol for an index ``name in lo..hi``: its own name, unless that is in use for another range."""
        taken = frozenset(avoid)
        for suffix in chain([""], map(str, count(2))):
            symbol = sp.Symbol(name + suffix, integer=True)
            if symbol not in taken and self.ranges.setdefault(symbol, Range(symbol, lo, hi)) == Range(symbol, lo, hi):
                return symbol
        raise AssertionError("names do not end")

    # ------------------------------------------------------------ the three instructions

    def matmul(self, W: Ref, transpose: bool, x: sp.Expr, out: Space, of: Space, span: Span) -> Ref:
        """``W x`` in the space ``out`` for an x of the space ``of``; ``Wᵀ x`` when ``transpose``."""
        argument = x if isinstance(x, Ref) else self.nonlin(x, of, span)
        return self._add("m", MatMul(Ref("?"), W, argument, transpose, out, (), span))

    def moment(self, expr: sp.Expr, space: Space, coeff: sp.Expr, span: Span) -> Ref:
        """``coeff · 1/n Σ_α expr``."""
        return self._add("m", Moment(Ref("?"), expr, space, coeff, (), span))

    def nonlin(self, expr: sp.Expr, space: Space | None, span: Span) -> Ref:
        """``expr``, coordinatewise."""
        return self._add("x", Nonlin(Ref("?"), expr, space, (), span))

    def _add(self, stem: str, ins: Simple) -> Ref:
        """The variable that ``ins`` defines, at the indices in question; an equal instruction is not repeated."""
        positions = self._positions(ins)
        for position in positions:
            ins = _put(ins, position)
        own = {p.symbol: p for p in positions}
        unbound = self._unbound(ins, own)
        domain = self._domain(ins, own)
        ins = rename(ins, unbound, tuple(_renamed(r, unbound) for r in domain))
        if (out := self._known.get(ins)) is None:
            out = self._known[ins] = Ref(f"{stem}{len(self._known)}{_LOCAL}", *(r.index for r in ins.domain))
            self.instructions.append(replace(ins, out=out))
        self.letters[out.name] = tuple(r.index.name for r in ins.domain)
        if any(p.mode for p in positions):
            self.boundary[out.name] = tuple((own[r.index].mode if r.index in own else None, r.lo, r.hi) for r in ins.domain)
        back = {new: old for old, new in unbound.items()} | {p.symbol: p.expr for p in positions}
        return out.xreplace(back)

    # ------------------------------------------------------------ which indices

    def _domain(self, ins: Simple, own: dict[sp.Symbol, _Position]) -> Domain:
        """Ranges of the indices that occur, in the order in which they were bound, free of those that do not occur."""
        ranges: dict[sp.Symbol, Range] = {}
        for symbol, r in self.ranges.items():  # a position stands where the first of its indices stood
            ranges |= {s: p.range for s, p in own.items() if s not in ranges and symbol in p.expr.free_symbols}
            ranges.setdefault(symbol, r)
        needed = {s for s in _free(ins) if s in ranges}
        found: list[Range] = []
        for symbol in reversed(ranges):
            if symbol in needed:
                r = self._relaxed(ranges[symbol], needed, ranges)
                needed |= (r.lo.free_symbols | r.hi.free_symbols) & ranges.keys()
                found.append(r)
        return tuple(reversed(found))

    def _relaxed(self, r: Range, keep: set[sp.Symbol], ranges: dict[sp.Symbol, Range]) -> Range:
        """``r`` over all values of the outer indices that are not kept."""
        lo, hi = affine(r.lo), affine(r.hi)
        outer = [o for s, o in ranges.items() if s not in keep]
        if lo is None or hi is None or not (lo.symbols | hi.symbols) & {o.index for o in outer}:
            return r
        low, high = extremes(lo, outer), extremes(hi, outer)
        return r if low is None or high is None else Range(r.index, low[0].expr(), high[1].expr())

    def _unbound(self, ins: Simple, own: dict[sp.Symbol, _Position]) -> dict[sp.Symbol, sp.Symbol]:
        """Indices bound by softmax take their plain names where these are free."""
        free = _free(ins)
        names = {s: sp.Symbol(s.name.removesuffix(BOUND), integer=True) for s in free if s.name.endswith(BOUND) and s not in own}
        used = free | {v for e in _parts(ins) for total in e.atoms(sp.Sum) for v in total.variables}
        return {s: plain for s, plain in names.items() if plain not in used and s in self.ranges}

    def _positions(self, ins: Simple) -> list[_Position]:
        """Index expressions like ``p+k`` that may become one index."""
        refs = sorted({r for e in _parts(ins) for r in e.atoms(Ref)}, key=str)
        found: list[_Position] = []
        for e in dict.fromkeys(e for r in refs for e in r.index):
            symbols = [s for s in self.ranges if s in e.free_symbols]
            if len(symbols) > 1 and (position := self._position(ins, e, symbols, refs)) is not None:
                found.append(position)
        return found

    def _position(self, ins: Simple, e: sp.Expr, symbols: list[sp.Symbol], refs: list[Ref]) -> _Position | None:
        """``e`` as one index: its symbols occur in no other place, and one boundary rules all slots it stands in."""
        others = self._needed({s for s in _free(ins) if s not in symbols})
        hidden = {r: Ref(r.name, *(sp.S.Zero if x == e else x for x in r.index)) for r in refs}
        if others & set(symbols) or any(part.xreplace(hidden).atoms(sp.Symbol) & set(symbols) for part in _parts(ins)):
            return None
        slots = {self._slot(r.name, k) for r in refs for k, x in enumerate(r.index) if x == e}
        form = affine(e)
        if len(slots) != 1 or form is None:
            return None
        ((mode, lo, hi),) = slots
        if mode in (None, "valid"):
            ends = extremes(form, list(self.ranges.values()))
            if ends is None:
                return None
            mode, lo, hi = None, ends[0].expr(), ends[1].expr()
        elif mode == "zero" and not _vanishes(ins, {r for r in refs if e in r.index}):
            return None
        symbol = self._letter(e, refs, symbols, others)
        return _Position(e, symbol, Range(symbol, lo, hi), mode)

    def _letter(self, e: sp.Expr, refs: list[Ref], symbols: list[sp.Symbol], others: set[sp.Symbol]) -> sp.Symbol:
        """The index that the family read at ``e`` has there, or one of ``symbols``."""
        slots = [(r.name, k) for r in refs for k, x in enumerate(r.index) if x == e]
        known = (letters[k] for name, k in slots if (letters := self.letters.get(name)) and k < len(letters))
        letter = sp.Symbol(next((name for name in known if name), symbols[0].name), integer=True)
        bound = {s for r in refs for x in r.index for s in x.free_symbols}
        return letter if letter not in others | bound - set(symbols) else symbols[0]

    def _needed(self, symbols: set[sp.Symbol]) -> set[sp.Symbol]:
        """With the indices that the ranges of ``symbols`` mention."""
        for symbol, r in reversed(self.ranges.items()):
            if symbol in symbols:
                symbols |= (r.lo.free_symbols | r.hi.free_symbols) & self.ranges.keys()
        return symbols

    def _slot(self, name: str, k: int) -> tuple[str | None, sp.Expr, sp.Expr]:
        slots = self.boundary.get(name, ())
        return slots[k] if k < len(slots) and slots[k][0] else (None, sp.S.Zero, sp.S.Zero)


def _parts(ins: Simple) -> tuple[sp.Expr, ...]:
    match ins:
        case MatMul(W=W, x=x):
            return W, x
        case Nonlin(expr=expr):
            return (expr,)
        case Moment(expr=expr, coeff=coeff):
            return expr, coeff
        case OuterNonlin(entry=entry, x=x):
            return entry, x


def _free(ins: Simple) -> set[sp.Symbol]:
    return set().union(*(part.free_symbols for part in _parts(ins)))


def _put(ins: Simple, position: _Position) -> Simple:
    """The instruction with the position's expression replaced by its symbol."""
    refs = {r for e in _parts(ins) for r in e.atoms(Ref)}
    new = {r: Ref(r.name, *(position.symbol if x == position.expr else x for x in r.index)) for r in refs}
    return rename(ins, new, ins.domain)


def _vanishes(ins: Simple, refs: set[Ref]) -> bool:
    """Is the result 0 where ``refs`` are 0, so that a zero boundary may pass through?"""
    match ins:
        case MatMul(x=x) | OuterNonlin(x=x):
            return x in refs
        case Nonlin(expr=expr) | Moment(expr=expr):
            return bool(expr.xreplace(dict.fromkeys(refs, sp.S.Zero)) == 0)


def _renamed(r: Range, names: dict[sp.Symbol, sp.Symbol]) -> Range:
    return Range(names.get(r.index, r.index), r.lo.xreplace(names), r.hi.xreplace(names))


# ---------------------------------------------------------------- the definition itself


def _merged(instructions: list[Simple], definition: Nonlin) -> list[Simple]:
    """The definition after its temporaries, or in place of the one that it only passes on."""
    factor, temporary = _single(definition.expr)
    for k, ins in enumerate(instructions):
        others = (*instructions[:k], *instructions[k + 1 :])
        if ins.out != temporary or {*ins.domain} != {*definition.domain} or any(_reads(o, ins.out.name) for o in others):
            continue
        if isinstance(ins, Moment):
            return [*others, replace(ins, out=definition.out, coeff=factor * ins.coeff, domain=definition.domain)]
        if factor == 1 and isinstance(ins, MatMul):
            return [*others, replace(ins, out=definition.out, domain=definition.domain)]
    return [*instructions, definition]


def _scaled(body: list[Simple]) -> list[Simple]:
    """Inner products take the power of the width that all their readers divide them by: ``exp(dot(h, h)/n)`` reads an average."""
    for k, ins in enumerate(body):
        if isinstance(ins, Moment) and ins.out.name.endswith(_LOCAL) and ins.coeff.free_symbols:
            powers = {p for later in body[k + 1 :] for p in _powers_beside(later, ins.out.name, ins.coeff.free_symbols)}
            if len(powers) == 1 and (power := powers.pop()) != 1:
                later = [_divided(x, ins.out.name, power) for x in body[k + 1 :]]
                body = [*body[:k], replace(ins, coeff=ins.coeff * power), *later]
    return body


def _powers_beside(ins: Simple, name: str, widths: set[sp.Basic]) -> Iterator[sp.Expr]:
    """What of ``widths`` every occurrence of the scalar ``name`` is divided by, each at most once; 1 where it is no factor."""
    for part in _parts(ins):
        beside = 0
        for product in part.atoms(sp.Mul):
            if times := _times(product, name):
                beside += 1
                powers = [f.as_base_exp() for f in product.args]
                yield sp.Mul(*(n ** (sp.Max(e, -times) / times) for n, e in powers if n in widths and e.is_negative))
        if sum(isinstance(x, Ref) and x.name == name for x in sp.preorder_traversal(part)) > beside:
            yield sp.S.One


def _times(product: sp.Basic, name: str) -> int:
    """How often the scalar ``name`` is a factor of a product."""
    powers = (f.as_base_exp() for f in product.args) if isinstance(product, sp.Mul) else ()
    return sum(int(e) for base, e in powers if isinstance(base, Ref) and base.name == name and e.is_Integer and e > 0)


def _divided(ins: Simple, name: str, power: sp.Expr) -> Simple:
    """The instruction with ``power`` divided out of every product, once for each time the scalar ``name`` is a factor."""

    def without(expr: sp.Expr) -> sp.Expr:
        return expr.replace(lambda e: _times(e, name) > 0, lambda e: e / power ** _times(e, name))

    return replace(ins, expr=without(ins.expr)) if isinstance(ins, (Nonlin, Moment)) else ins


def _live(body: list[Simple]) -> list[Simple]:
    """Without instructions that nothing after them reads: terms may have cancelled."""
    kept = body[-1:]
    for ins in reversed(body[:-1]):
        if any(_reads(later, ins.out.name) for later in kept):
            kept.insert(0, ins)
    return kept


def _reads(ins: Simple, name: str) -> bool:
    return any(r.name == name for r, _ in reads(ins))


def _single(expr: sp.Expr) -> tuple[sp.Expr, Ref | None]:
    """``(factor, ref)`` when the expression is a constant times one variable."""
    factors = sp.Mul.make_args(expr)
    refs = [f for f in factors if isinstance(f, Ref)]
    if len(refs) != 1 or sum(f.has(Ref) for f in factors) != 1:
        return sp.S.One, None
    return sp.Mul(*(f for f in factors if f is not refs[0])), refs[0]
