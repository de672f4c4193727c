"""Sums that meet fresh weights: two indices of a family of weights must coincide, for others are independent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp

from tp.limit.clauses import at, provably
from tp.limit.equations import Z
from tp.program.ir import Range


@dataclass
class State:
    """A term while its sums are contracted."""

    coef: sp.Expr
    core: sp.Expr
    bounds: list[Range]
    theta: tuple[Z, Z] | None

    def substitute(self, index: sp.Symbol, value: sp.Expr) -> None:
        binding = {index: value}
        self.coef, self.core = at(self.coef, binding), at(self.core, binding)
        self.bounds = [Range(r.index, at(r.lo, binding), at(r.hi, binding)) for r in self.bounds]
        if self.theta:
            self.theta = (at(self.theta[0], binding), at(self.theta[1], binding))


def contract(state: State, meeting: tuple[sp.Expr, sp.Expr], deltas: list[sp.Expr], context: Mapping[sp.Symbol, Range]) -> bool:
    """Use e1 = e2 to remove a bound index; keep a Kronecker delta when none is bound. False: never equal."""
    e1, e2 = meeting
    difference = sp.expand(e1 - e2)
    if difference.is_number or provably(difference, 1) or provably(difference, -1):
        return False
    for r in reversed(state.bounds):
        slope = difference.coeff(r.index)
        if slope in (1, -1):
            solution = sp.expand(r.index - slope * difference)
            state.bounds.remove(r)
            state.substitute(r.index, solution)
            _restrict(state, solution, r, context)
            return True
    deltas.append(sp.KroneckerDelta(e1, e2))
    return True


def _restrict(state: State, solution: sp.Expr, r: Range, context: Mapping[sp.Symbol, Range]) -> None:
    """The removed index still has to lie in its range."""
    for k, other in enumerate(state.bounds):
        if other.index == solution:
            if (other.lo, other.hi) != (r.lo, r.hi):
                state.bounds[k] = Range(other.index, _outer(sp.Max, other.lo, r.lo), _outer(sp.Min, other.hi, r.hi))
            return
    known = context.get(solution)
    if known is not None and (known.lo, known.hi) == (r.lo, r.hi):
        return
    if solution.is_number and r.lo.is_number and r.hi.is_number:
        state.coef = state.coef if r.lo <= solution <= r.hi else sp.S.Zero
        return
    state.coef *= sp.Piecewise((1, sp.And(solution >= r.lo, solution <= r.hi)), (0, True))


def _outer(choose: type, a: sp.Expr, b: sp.Expr) -> sp.Expr:
    return a if a == b else choose(a, b)
