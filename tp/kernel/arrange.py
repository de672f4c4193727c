"""Nothing twice: expectations under a sum, and sums that do not vary with all indices around them, get tables.

A convolution sums E[φ(h[p+k]) φ(h[q+k])] over taps k: one table over (p+k, q+k) serves all p, q and k. An
attention-weighted double sum Σ_s ζ[t,s] Σ_s' ζ'[t',s'] V[s,s'] has an inner sum that knows no t.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.kernel.cells import Axis, Cell, Formula, Over, Same, Spot, Table, greatest, hull, least, ordered, parts
from tp.kernel.demand import Plan
from tp.program.ir import Domain, Range


def arrange(plan: Plan, side: str, windows: bool = False) -> Plan:
    """``plan`` with tables for what would be computed repeatedly. ``side`` marks the plan's own cells: ``ij`` or ``s``.

    ``windows``: sums over windows are also taken index by index, and products under them once a point:
    Σ_k Σ_l a[p+k, q+l] b[p+k, q+l] has 3 + 3 terms, not 9, and one product a point.
    """
    work = _Arranger(Plan(plan.formulas, dict(plan.tables), plan.inputs, plan.sites), side, windows)
    formulas = [f for one in plan.formulas for f in work.formula(one)]
    return Plan(formulas, work.plan.tables, plan.inputs, plan.sites)


@dataclass
class _Arranger:
    plan: Plan
    side: str
    windows: bool
    known: dict[sp.Basic, str] = field(default_factory=dict)
    new: list[Formula] = field(default_factory=list)

    def formula(self, f: Formula) -> list[Formula]:
        """The formula, after the new ones it reads."""
        self.new = []
        rhs = self._walk(f.rhs, f.domain, f.domain)
        return [*self.new, Formula(f.table, f.index, f.domain, rhs)]

    def _walk(self, e: sp.Expr, ranges: Domain, domain: Domain) -> sp.Expr:
        """``ranges``: the indices in force; beyond ``domain`` they are summed."""
        if not e.has(Over, Expectation) and not (self.windows and isinstance(e, sp.Mul)):
            return e
        if isinstance(e, Over):
            inner = e.func(self._walk(e.body, (*ranges, e.range), domain), *e.args[1:])
            varies = inner.free_symbols & {r.index for r in ranges}
            free = varies != {r.index for r in ranges} or (len(ranges) > len(domain) and self._shared(inner, ranges, 1))
            return self._table(inner, ranges) if free else inner
        if isinstance(e, (Same, Expectation)) and len(ranges) > len(domain):
            return self._table(e, ranges)
        if isinstance(e, Expectation):
            cov = e.cov.applyfunc(lambda c: self._walk(c, ranges, domain))
            return Expectation(self._walk(e.integrand, ranges, domain), e.variables, cov)
        if isinstance(e, sp.Mul) and len(ranges) > len(domain) and self._shared(e, ranges, 0):
            return self._table(e, ranges)
        return e.func(*(self._walk(a, ranges, domain) if isinstance(a, sp.Expr) else a for a in e.args))

    def _shared(self, e: sp.Expr, ranges: Domain, margin: int) -> bool:
        """Whether a table of ``e`` has (by ``margin``) no more points than there are values of the indices in force."""
        if not self.windows or all(not isinstance(a, (Cell, Over)) for a in ordered(e)):
            return False
        found = _abstract(e, ranges, self.plan.tables)
        return bool(found.index) and _points(found.domain) + margin <= _points(ranges)

    def _table(self, e: sp.Expr, ranges: Domain) -> sp.Expr:
        """A read of a table that holds ``e``; two expressions alike up to names of indices share one."""
        found = _abstract(e, ranges, self.plan.tables)
        key = sp.Tuple(found.expr, *(sp.Tuple(r.lo, r.hi) for r in found.domain))
        if key not in self.known:
            name = self.known[key] = f"aux{len(self.known) + 1}"
            inner = self._walk(found.expr, found.domain, found.domain)
            self.new.append(Formula(name, tuple(r.index for r in found.domain), found.domain, inner))
            self.plan.tables[name] = Table(name, found.axes)
        return Cell(self.known[key], self.side, *found.index)


@dataclass(frozen=True, slots=True)
class _Abstract:
    """``expr`` over symbols of its own; ``index`` says what they stand for."""

    expr: sp.Expr
    domain: Domain
    axes: tuple[Axis, ...]
    index: tuple[sp.Expr, ...]


def _abstract(e: sp.Expr, ranges: Domain, tables: dict[str, Table]) -> _Abstract:
    """Whole index expressions (p + k) become symbols where that leaves fewer of them."""
    mine = {r.index for r in ranges} & e.free_symbols
    slots = _compound(e, mine, tables)
    swap = {index: sp.Symbol(f"_t{k + 1}", integer=True) for k, index in enumerate(slots)}
    body = _replaced(e, swap)
    if len(body.free_symbols & (mine | set(swap.values()))) > len(mine) or not swap:
        swap, body = {}, e
    domain, axes, index = [], [], []
    for expr, new in swap.items():
        axis = slots[expr]
        last = axis.hi + (axis.mode == "zero" and _leaves(expr, axis, ranges))
        domain.append(Range(new, sp.Integer(axis.lo), sp.Integer(last)))
        axes.append(axis)
        index.append(expr)
    rest: dict[sp.Basic, sp.Basic] = {}
    order = _in_order(body)
    for k, r in sorted(
        ((k, r) for k, r in enumerate(ranges) if r.index in body.free_symbols), key=lambda x: order.index(x[1].index)
    ):
        new = sp.Symbol(f"_t{len(domain) + 1}", integer=True)
        lo, hi = hull(r, ranges[:k])
        own = (r.lo.free_symbols | r.hi.free_symbols) <= rest.keys()
        domain.append(Range(new, *((r.lo.xreplace(rest), r.hi.xreplace(rest)) if own else (sp.Integer(lo), sp.Integer(hi)))))
        axes.append(Axis(lo, hi))
        index.append(r.index)
        rest[r.index] = new
    return _Abstract(body.xreplace(rest), tuple(domain), tuple(axes), tuple(index))


def _compound(e: sp.Expr, mine: set[sp.Basic], tables: dict[str, Table]) -> dict[sp.Expr, Axis]:
    """Index expressions of several indices, with the one axis they are read on; none that meet different axes."""
    found: dict[sp.Expr, set[Axis]] = {}
    bound = {o.args[1] for o in e.atoms(Over)}
    for cell in parts(e, Cell):
        for axis, index in zip(tables[cell.table].axes, cell.index, strict=True):
            if len(index.free_symbols & mine) > 1 and not index.free_symbols & bound:
                found.setdefault(index, set()).add(axis)
    return {index: next(iter(axes)) for index, axes in found.items() if len(axes) == 1}


def _points(domain: Domain) -> int:
    return prod(hi - lo + 1 for lo, hi in (hull(r, domain[:k]) for k, r in enumerate(domain)))


def _leaves(index: sp.Expr, axis: Axis, ranges: Domain) -> bool:
    return least(index, ranges) < axis.lo or greatest(index, ranges) > axis.hi


def _replaced(e: sp.Expr, swap: dict[sp.Expr, sp.Symbol]) -> sp.Expr:
    """Index expressions replaced in cells and spots."""
    if isinstance(e, Cell):
        return Cell(*e.args[:2], *(swap.get(x, x) for x in e.index))
    if isinstance(e, Spot):
        return Spot(swap.get(e.args[0], e.args[0]), *e.args[1:])
    if not e.args or not isinstance(e, sp.Basic):
        return e
    return e.func(*(_replaced(a, swap) for a in e.args))


def _in_order(e: sp.Expr) -> list[sp.Basic]:
    return parts(e, sp.Symbol)
