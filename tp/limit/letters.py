"""Which random matrices a vector's limit depends on.

Under gradient independence a MatMul's limit is a fresh Gaussian, a *letter* named by its matrix; every other
limit is a function of letters. Two vectors whose letters are disjoint are independent. For families a letter
carries the range of matrix indices met: ``z[l]`` of a residual network depends on ``W[2]…W[l]`` and so is
independent of ``W[l+1] x``.

Source: Yang 2020, *Tensor Programs III*, rule ZHat (hats of different matrices are independent).
"""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp

from tp.limit.clauses import Clause, Families, at, provably
from tp.program.ir import MatMul, Range, Ref

Interval = tuple[sp.Expr, sp.Expr]
Key = tuple[str, int, bool]  # weight name, number of indices, is a matrix
Letters = dict[Key, tuple[Interval, ...]]


def formal(slot: int) -> sp.Symbol:
    """The symbol that stands for the ``slot``-th index of a family in its letters."""
    return sp.Symbol(f"_slot{slot}", integer=True)


class LetterTable:
    """Letters of every vector family, the least fixed point over the program's clauses."""

    def __init__(self, families: Families) -> None:
        self.families = families
        self.table: dict[str, Letters] = {name: {} for name in families.clauses}
        for turn in range(12):
            if not self._pass(families.clauses, widen=turn >= 3):
                return
        raise AssertionError("letters did not converge")

    def add(self, name: str) -> None:
        """A new family, made of those that are known."""
        self.table[name] = {}
        self._pass((name,), widen=False)

    def of(self, ref: Ref) -> Letters:
        """The letters of a vector at an index."""
        if ref.name in self.table:
            binding = {formal(k): e for k, e in enumerate(ref.index)}
            return {
                key: tuple((at(lo, binding), at(hi, binding)) for lo, hi in slots) for key, slots in self.table[ref.name].items()
            }
        if self.families.is_vector(ref):
            return {(ref.name, len(ref.index), False): tuple((e, e) for e in ref.index)}
        return {}

    def independent(self, a: Ref, b: Ref) -> bool:
        """Whether no letter of ``a`` can be one of ``b``."""
        left, right = self.of(a), self.of(b)
        return all(_apart(left[key], right[key]) for key in left.keys() & right.keys())

    def _pass(self, names: Iterable[str], widen: bool) -> bool:
        changed = False
        for name in names:
            new = dict(self.table[name])
            for clause in self.families.clauses[name]:
                for key, slots in self._clause(clause).items():
                    new[key] = self._join(key, new[key], slots, widen) if key in new else slots
            changed |= new != self.table[name]
            self.table[name] = new
        return changed

    def _clause(self, clause: Clause) -> Letters:
        ins = clause.ins
        found: Letters = {}
        if isinstance(ins, MatMul):
            found = {(ins.W.name, len(ins.W.index), True): tuple((e, e) for e in ins.W.index)}
        else:
            for ref in self.families.vectors(clause.expr):
                for key, slots in self.of(ref).items():
                    found[key] = self._join(key, found[key], slots, False) if key in found else slots
        bounds = [*(_bound_ranges(clause.expr) if not isinstance(ins, MatMul) else []), *reversed(clause.domain)]
        return {key: tuple(_in_formal(interval, clause, bounds) for interval in slots) for key, slots in found.items()}

    def _join(self, key: Key, left: tuple[Interval, ...], right: tuple[Interval, ...], widen: bool) -> tuple[Interval, ...]:
        declared = self._declared(key)
        return tuple(
            (_end(a[0], b[0], d[0], -1, widen), _end(a[1], b[1], d[1], 1, widen))
            for a, b, d in zip(left, right, declared, strict=True)
        )

    def _declared(self, key: Key) -> tuple[Interval, ...]:
        """The whole index range a weight is declared with, per slot."""
        los: list[list[sp.Expr]] = [[] for _ in range(key[1])]
        his: list[list[sp.Expr]] = [[] for _ in range(key[1])]
        for weight in self.families.weights[key[0]]:
            if (weight.cols is not None) == key[2] and len(weight.ref.index) == key[1]:
                ranges = {r.index: r for r in weight.domain}
                for k, e in enumerate(weight.ref.index):
                    los[k].append(ranges[e].lo if e in ranges else e)
                    his[k].append(ranges[e].hi if e in ranges else e)
        return tuple((sp.Min(*lo), sp.Max(*hi)) for lo, hi in zip(los, his, strict=True))


def _bound_ranges(expr: sp.Expr) -> list[Range]:
    return [Range(s, lo, hi) for total in expr.atoms(sp.Sum) for s, lo, hi in total.limits]


def _in_formal(interval: Interval, clause: Clause, bounds: Iterable[Range]) -> Interval:
    """An interval in the clause's indices, written in the family's slots; other indices run over their range."""
    lo, hi = interval
    slots = {}
    for k, e in enumerate(clause.out.index):
        if isinstance(e, sp.Symbol):
            slots[e] = formal(k)
        elif lo == e or hi == e:  # h[1] uses W[1]: there the slot *is* 1
            lo, hi = (formal(k) if x == e else x for x in (lo, hi))
    for r in bounds:
        if r.index not in slots:
            lo, hi = _extreme(lo, r, -1), _extreme(hi, r, 1)
    return lo.subs(slots), hi.subs(slots)


def _extreme(e: sp.Expr, r: Range, sign: int) -> sp.Expr:
    """The smallest (sign -1) or largest (1) value of an affine ``e`` as one index runs over its range."""
    slope = e.coeff(r.index)
    if slope == 0:
        return e
    return e.subs(r.index, r.hi if (slope > 0) == (sign > 0) else r.lo)


def _end(a: sp.Expr, b: sp.Expr, declared: sp.Expr, sign: int, widen: bool) -> sp.Expr:
    """The outer one of two interval ends; the declared end where that is not known, or grows without end."""
    difference = sp.expand(b - a)
    if difference == 0 or provably(-sign * difference, 1):
        return a
    if difference.is_number and not widen:
        return b
    return declared


def _apart(left: tuple[Interval, ...], right: tuple[Interval, ...]) -> bool:
    return any(provably(a[0] - b[1], 1) or provably(b[0] - a[1], 1) for a, b in zip(left, right, strict=True))
