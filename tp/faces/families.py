"""Equations of the coordinates of an output, alike but for a number in their names, as one equation for all.

An output ``y : [d]`` with the full calculus has kernels and gradients of its own for every coordinate. Written out they are
d copies of the same formulas: ``b_h_1``, ``x[1]``, ``U[1]`` in the first, ``b_h_2``, ``x[2]``, ``U[2]`` in the second. For
print they are one, with an index, where they agree in everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sympy as sp

from tp.limit.equations import Entry, Equation, Limit, Value
from tp.program.ir import Program, Range, Ref, Sum

if TYPE_CHECKING:
    from tp.limit.zcalculus.limit import ZLimit
    from tp.limit.zcalculus.lines import Line


def of_equations(limit: Limit) -> Limit:
    """A limit whose equations are written once for all coordinates of its output."""
    axis = _axis(limit.program, limit.equations)
    if axis is None:
        return limit
    own = {name for name, _ in limit.words}
    found = _together(axis, limit.equations, own)
    if found is None:
        return limit
    others = {n for n in own for k in range(2, axis.count + 1) if axis.bare(n, own, k) != n}
    words = tuple(
        (axis.bare(name, own, 1), re.sub("`(.*?)`", lambda m: f"`{axis.bare(m[1], own, 1)}`", text))
        for name, text in limit.words
        if name not in others
    )
    return replace(limit, equations=found, words=words)


def of_lines(limit: ZLimit) -> ZLimit:
    """Lines of the Z-calculus, written once for all coordinates of the output."""
    axis = _axis(limit.program, limit.lines)
    found = None if axis is None else _together(axis, limit.lines, set())
    return limit if found is None else replace(limit, lines=found)


@dataclass(frozen=True)
class _Axis:
    """The finite axis of an output: its index, and the slots of families that are indexed by the same axis."""

    index: sp.Symbol
    range: Range
    slots: frozenset[tuple[str, int]]

    @property
    def count(self) -> int:
        return int(self.range.hi - self.range.lo) + 1

    def bare(self, name: str, own: Iterable[str], k: int) -> str:
        """A name of the derivation without the number of the ``k``-th coordinate."""
        return re.sub(rf"_{k}(?=_|$)", "", name) if name in own else name

    def values(self, expr: sp.Basic) -> set[sp.Expr]:
        """What stands in the slots of the axis."""
        return {r.index[k] for r in expr.atoms(Ref) for name, k in self.slots if r.name == name and len(r.index) > k}

    def general(self, expr: sp.Basic, own: Iterable[str], k: int) -> sp.Basic:
        """``expr`` of the ``k``-th coordinate as that of any: its number an index, also of the names that have it."""
        swap: dict[sp.Basic, sp.Basic] = {}
        for ref in expr.atoms(Ref):
            at = self.range.lo + k - 1
            index = [self.index if (ref.name, i) in self.slots and e == at else e for i, e in enumerate(ref.index)]
            name = self.bare(ref.name, own, k)
            swap[ref] = Ref(name, *index, *((self.index,) if name != ref.name else ()))
        return expr.xreplace({a: b for a, b in swap.items() if a != b})


def _axis(program: Program, equations: Iterable[Equation | Line]) -> _Axis | None:
    """The axis of the only output, where it has one of several coordinates that equations are about one by one."""
    names = {f.name for f in program.outputs}
    refs = {r for e in equations for r in e.lhs.atoms(Ref) if r.name in names and r.index and r.index[-1].is_Integer}
    if len(names) != 1 or len(refs) < 2 or not program.outputs[0].index:
        return None
    last = program.outputs[0].index[-1]
    ranges = {r.index: r for domain in _domains(program) for r in domain}
    if not str(last).startswith("j_") or last not in ranges or not (ranges[last].hi - ranges[last].lo).is_Integer:
        return None
    families = [*((w.ref, w.domain) for w in program.weights), *((d.ref, d.domain) for d in program.data)]
    same = [(ref.name, i) for ref, domain in families for i, e in enumerate(ref.index) if _same(e, last, ranges)]
    output = program.outputs[0]
    return _Axis(last, ranges[last], frozenset([*same, (output.name, len(output.index) - 1)]))


def _domains(program: Program) -> Iterable[tuple[Range, ...]]:
    from tp.faces.notation import instructions

    yield from (w.domain for w in program.weights)
    yield from (d.domain for d in program.data)
    yield from (i.domain for i in instructions(program.body))


def _same(index: sp.Expr, other: sp.Symbol, ranges: Mapping[sp.Basic, Range]) -> bool:
    """Whether two indices are coordinates on the same axis: ``j_d`` and ``j_d2``."""
    if index not in ranges or not str(index).startswith("j_"):
        return False
    alike = index == other or re.sub(r"\d+$", "", str(index)) == re.sub(r"\d+$", "", str(other))
    return alike and (ranges[index].lo, ranges[index].hi) == (ranges[other].lo, ranges[other].hi)


def _together(axis: _Axis, equations: tuple[Any, ...], own: set[str]) -> tuple[Any, ...] | None:
    """Equations, or lines, with those of all coordinates as one; None where one that is left names a coordinate's gradients."""
    short = [replace(e, rhs=_summed(e.rhs, axis)) for e in equations]
    forms: list[dict[tuple[sp.Basic, sp.Basic], int]] = []
    for k in range(1, axis.count + 1):
        general = [(axis.general(e.lhs, own, k), axis.general(e.rhs, own, k)) for e in short]
        forms.append({form: at for at, (form, e) in enumerate(zip(general, short, strict=True)) if form[0] != e.lhs})
    common = [form for form in forms[0] if all(form in other for other in forms)]
    gone = {other[form]: form for form in common for other in forms[1:]}
    first = {forms[0][form]: form for form in common}
    found = []
    for at, equation in enumerate(short):
        if at in first:
            left, right = first[at]
            found.append(replace(equation, lhs=left, rhs=right, domain=(*equation.domain, axis.range)))
        elif at not in gone:
            found.append(equation)
    kept = {r.name for e in found for side in (e.lhs, e.rhs) for r in side.atoms(Ref)}
    bare = [(n, axis.bare(n, own, k)) for n in own for k in range(1, axis.count + 1)]
    numbered = {n: less for n, less in bare if less != n}
    taken = {*numbered.values()} & ({r.name for e in equations for r in e.lhs.atoms(Ref)} | own)
    return None if not common or kept & numbered.keys() or taken else tuple(found)


def _summed(expr: sp.Expr, axis: _Axis) -> sp.Expr:
    """Sums of a term for every coordinate, ``x[1] x'[1] + x[2] x'[2]``, as inner products or finite sums."""

    def gathered(total: sp.Expr) -> sp.Expr:
        groups: dict[sp.Basic, dict[sp.Expr, sp.Expr]] = {}
        for term in total.args:
            values = axis.values(term)
            if len(values) == 1 and (value := values.pop()).is_Integer:
                form = axis.general(term, (), int(value - axis.range.lo) + 1)
                groups.setdefault(form, {})[value] = term
        rest, sums = list(total.args), []
        for form, terms in groups.items():
            if len(terms) == axis.count:
                rest = [t for t in rest if t not in terms.values()]
                sums.append(_inner(form, axis))
        return sp.Add(*rest, *sums) if sums else total

    return expr.replace(lambda e: e.is_Add, gathered)


def _inner(form: sp.Expr, axis: _Axis) -> sp.Expr:
    """Σ_j of a term; of a product of two coordinates of an input the inner product."""
    data: list[Value] = []
    rest: list[sp.Expr] = []
    for factor in sp.Mul.make_args(form):
        base, power = factor.as_base_exp()
        whole = isinstance(base, Value) and base.kind_name == "data" and base.a.index[-1:] == (axis.index,) and power in (1, 2)
        data, rest = (data + [base] * int(power), rest) if whole else (data, [*rest, factor])
    if len(data) == 2 and not any(f.has(axis.index) for f in rest):
        a, b = (Ref(v.a.name, *v.a.index[:-1]) for v in data)
        return sp.Mul(*rest, Entry("Gram", a, b, data[0].s, data[1].s))
    return Sum(form, (axis.index, axis.range.lo, axis.range.hi))
