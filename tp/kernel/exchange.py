"""A sample with itself: whether K[p; p′] = K[p′; p] in all tables, so that half of the offsets p′ − p say everything.

Both members of a pair change places: in every read the paired slots, the sides i and j, the two variables of an expectation.
A plan whose formulas stay what they are under this, with the Gram table as a start, is its own mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.kernel.bands import Pairs, paired
from tp.kernel.cells import Cell, Formula, Over, Same, Total, U, V, parts
from tp.kernel.demand import Plan
from tp.kernel.staged import Unfit

Names = dict[sp.Basic, sp.Basic]
SIDES = {"i": "j", "j": "i"}


def symmetric(plan: Plan) -> bool:
    """Whether a plan for pairs is its own mirror image; sums that keep no position must be so one by one."""
    try:
        pairs = paired(plan)
        return all(_mirrored(f, pairs) for f in plan.formulas)
    except Unfit:
        return False


def _mirrored(f: Formula, pairs: Pairs) -> bool:
    ranges = {r.index: (r.lo, r.hi) for r in f.domain}
    names: Names = {}
    for x, y in pairs.get(f.table, ()):
        if f.index[x] not in ranges or ranges[f.index[x]] != ranges.get(f.index[y]):
            return False
        names |= {f.index[x]: f.index[y], f.index[y]: f.index[x]}
    wholes = [f.rhs] if names else _sums(f.rhs) or [f.rhs]
    return all(_form(_Exchange(pairs).of(e, names)) == _form(e) for e in wholes)


def _sums(e: sp.Expr) -> list[sp.Expr]:
    """The outermost sums."""
    if isinstance(e, Over):
        return [e]
    return [s for a in e.args if isinstance(a, sp.Expr) for s in _sums(a)]


@dataclass(frozen=True, slots=True)
class _Exchange:
    pairs: Pairs

    def of(self, e: sp.Expr, names: Names) -> sp.Expr:
        """``e`` with both members exchanged; ``names`` are indices that change places."""
        if isinstance(e, Cell):
            return self._cell(e, names)
        if isinstance(e, Same):
            return self._same(e, names)
        if isinstance(e, Over):
            return self._sum(e, names)
        if isinstance(e, Expectation):
            return self._expectation(e, names)
        if not e.args:
            return names.get(e, e)
        args = [self.of(a, names) for a in e.args]
        return e.func(*args, evaluate=False) if isinstance(e, (sp.Add, sp.Mul)) else e.func(*args)

    def _cell(self, e: Cell, names: Names) -> Cell:
        index = [i.xreplace(names) for i in e.index]
        if e.side == "ij":
            for x, y in self.pairs.get(e.table, ()):
                index[x], index[y] = index[y], index[x]
        return Cell(e.table, SIDES.get(e.side, e.side), *index)

    def _same(self, e: Same, names: Names) -> Same:
        """Where both members are one, nothing changes."""
        spots = sp.Tuple(*(sp.Tuple(b.xreplace(names), a.xreplace(names)) for a, b in e.args[0]))
        return Same(spots, e.args[1], self.of(e.args[2], names))

    def _expectation(self, e: Expectation, names: Names) -> Expectation:
        if e.variables != (U, V):
            raise Unfit
        cov = e.cov.applyfunc(lambda c: self.of(c, names))
        turned = sp.Matrix([[cov[1, 1], cov[1, 0]], [cov[0, 1], cov[0, 0]]])
        return Expectation(self.of(e.integrand, names).xreplace({U: V, V: U}), (U, V), turned)

    def _sum(self, e: Over, names: Names) -> sp.Expr:
        """Nested sums, the bound indices of paired slots exchanged."""
        bounds: dict[sp.Basic, tuple[sp.Expr, sp.Expr]] = {}
        body: sp.Expr = e
        while isinstance(body, Over) and type(body) is type(e):
            bounds[body.range.index] = body.range.lo, body.range.hi
            body = body.body
        inner = dict(names)
        for cell in parts(body, Cell):
            for x, y in self.pairs.get(cell.table, ()) if cell.side == "ij" else ():
                one, two = (cell.index[k].free_symbols & bounds.keys() for k in (x, y))
                if one != two:
                    if len(one) > 1 or len(two) > 1:
                        raise Unfit
                    (a,), (b,) = one or (None,), two or (None,)
                    if a is None or b is None or bounds[a] != bounds[b] or inner.setdefault(a, b) != b:
                        raise Unfit
                    inner[b] = a
        found = self.of(body, inner)
        for index, (lo, hi) in reversed(bounds.items()):
            found = e.func(found, index, lo, hi)
        return found


def _form(e: sp.Basic) -> str:
    """A text that the order of factors, of terms and of nested sums does not change."""
    if isinstance(e, Total):
        bounds = []
        while isinstance(e, Total):
            bounds.append(str(e.args[1:]))
            e = e.body
        return f"Σ{sorted(bounds)}{_form(e)}"
    if not e.args:
        return str(e)
    args = [_form(a) for a in e.args]
    return f"{type(e).__name__}({', '.join(sorted(args) if isinstance(e, (sp.Add, sp.Mul)) else args)})"


__all__ = ["symmetric"]
