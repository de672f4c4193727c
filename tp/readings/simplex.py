"""Linear programs in exact rationals, one constraint at a time: a dictionary, and the simplex method with Bland's rule.

Unknowns live in boxes. The dictionary starts at the minimum of a cost over the boxes, which is dual feasible; constraints are
added as they are found, and the dual simplex method restores feasibility. A row that cannot be repaired is a proof: a
nonnegative combination of constraints that cannot hold together. Another cost is then minimised by the primal method.

Source: Bland 1977, *New finite pivoting rules for the simplex method*; dictionaries as in Chvátal 1983, *Linear Programming*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

Row = dict[int, Fraction]
ZERO = Fraction(0)


class Infeasible(Exception):
    """No point satisfies the constraints; ``conflict`` are the numbers of constraints that contradict each other."""

    def __init__(self, conflict: tuple[int, ...]) -> None:
        super().__init__(f"constraints {conflict} contradict each other")
        self.conflict = conflict


class Polyhedron:
    """``{x : lo ≤ x ≤ hi, const + Σ c x ≤ 0 for every constraint}``, and the minimum of a cost over it.

    Variables 0…n-1 are x - lo; n…2n-1 are hi - x; 2n + k is the slack of constraint k. ``rows[v]`` writes a basic variable as a
    constant (key -1) plus multiples of the nonbasic ones; all variables are at least 0.
    """

    def __init__(self, boxes: Sequence[tuple[Fraction, Fraction]], cost: Sequence[Fraction]) -> None:
        self.boxes = list(boxes)
        self.n = len(self.boxes)
        self.rows: dict[int, Row] = {}
        self.constraints = 0
        self.values: dict[int, Row] = {}  # unknowns that equations have been solved for, in those that they have not
        for k, (lo, hi) in enumerate(self.boxes):
            self.rows[self.n + k] = {-1: hi - lo, k: Fraction(-1)}
        self.nonbasic = set(range(self.n))
        self.objective: Row = {-1: ZERO}
        self._cost(cost)

    def copy(self) -> Polyhedron:
        """An independent copy."""
        other = Polyhedron.__new__(Polyhedron)
        other.boxes, other.n, other.constraints = self.boxes, self.n, self.constraints
        other.rows = {v: dict(r) for v, r in self.rows.items()}
        other.nonbasic, other.objective = set(self.nonbasic), dict(self.objective)
        other.values = {k: dict(r) for k, r in self.values.items()}
        return other

    def point(self) -> list[Fraction]:
        """The current vertex."""
        return [self.boxes[k][0] + (self.rows[k].get(-1, ZERO) if k in self.rows else ZERO) for k in range(self.n)]

    def require(self, const: Fraction, coefficients: Mapping[int, Fraction]) -> int:
        """Add ``const + Σ c x ≤ 0``; the answer is the constraint's number. Call :meth:`settle` afterwards."""
        slack = 2 * self.n + self.constraints
        row: Row = {-1: -const - sum((c * self.boxes[k][0] for k, c in coefficients.items()), ZERO)}
        for k, c in coefficients.items():
            self._accumulate(row, k, -c)
        self.rows[slack] = _clean(row)
        self.constraints += 1
        return self.constraints - 1

    def equate(self, const: Fraction, coefficients: Mapping[int, Fraction]) -> None:
        """Add ``const + Σ c x = 0``, two constraints."""
        self.require(const, coefficients)
        self.require(-const, {k: -c for k, c in coefficients.items()})
        row: Row = {-1: const}
        for k, c in coefficients.items():
            for v, x in self.values.get(k, {k: Fraction(1)}).items():
                row[v] = row.get(v, ZERO) + c * x
        row = _clean(row)
        first = next((v for v in row if v >= 0), None)
        if first is None:
            return
        c = row.pop(first)
        solved = {v: -x / c for v, x in row.items()}
        for k, other in self.values.items():
            if first in other:
                self.values[k] = _substituted(other, first, solved)
        self.values[first] = solved

    def determined(self) -> set[int]:
        """The unknowns that have one value by the equations alone."""
        return {k for k, row in self.values.items() if not any(v >= 0 for v in row)}

    def settle(self) -> None:
        """Restore feasibility by the dual simplex method; raises :class:`Infeasible`."""
        while True:
            leaving = next((v for v in sorted(self.rows) if self.rows[v].get(-1, ZERO) < 0), None)
            if leaving is None:
                return
            row = self.rows[leaving]
            entering = [v for v in sorted(row) if v >= 0 and row[v] > 0]
            if not entering:
                raise Infeasible(self._conflict(leaving))
            self._pivot(leaving, min(entering, key=lambda v: (self.objective.get(v, ZERO) / row[v], v)))

    def minimise(self, cost: Sequence[Fraction]) -> Fraction:
        """The minimum of ``Σ cost x`` over the polyhedron, from a feasible vertex, by the primal method."""
        self._cost(cost)
        while True:
            entering = next((v for v in sorted(self.objective) if v >= 0 and self.objective[v] < 0), None)
            if entering is None:
                return sum((c * x for c, x in zip(cost, self.point(), strict=True)), ZERO)
            limits = [(-row.get(-1, ZERO) / row[entering], v) for v, row in self.rows.items() if row.get(entering, ZERO) < 0]
            self._pivot(min(limits)[1], entering)

    def _cost(self, cost: Sequence[Fraction]) -> None:
        self.objective = {-1: ZERO}
        for k, c in enumerate(cost):
            self._accumulate(self.objective, k, c)
        self.objective = {v: c for v, c in self.objective.items() if c or v == -1}

    def _accumulate(self, row: Row, variable: int, times: Fraction) -> None:
        """row += times · variable, written in nonbasic variables."""
        if not times:
            return
        if variable in self.rows:
            for v, c in self.rows[variable].items():
                row[v] = row.get(v, ZERO) + times * c
        else:
            row[variable] = row.get(variable, ZERO) + times

    def _pivot(self, leaving: int, entering: int) -> None:
        """The nonbasic variable ``entering`` becomes basic, ``leaving`` nonbasic."""
        row = self.rows.pop(leaving)
        c = row.pop(entering)
        solved = {v: -x / c for v, x in row.items() if x}
        solved[leaving] = 1 / c
        self.nonbasic.remove(entering)
        self.nonbasic.add(leaving)
        for v, other in self.rows.items():
            if entering in other:
                self.rows[v] = _substituted(other, entering, solved)
        if entering in self.objective:
            self.objective = _substituted(self.objective, entering, solved)
        self.rows[entering] = solved

    def _conflict(self, row: int) -> tuple[int, ...]:
        """A basic variable that is negative at all nonnegative values of the others: those whose slacks it is made of."""
        involved = {row, *(v for v, c in self.rows[row].items() if v >= 0 and c)}
        return tuple(sorted(v - 2 * self.n for v in involved if v >= 2 * self.n))


def _substituted(row: Row, variable: int, solved: Row) -> Row:
    c = row.pop(variable)
    for v, x in solved.items():
        total = row.get(v, ZERO) + c * x
        if total or v == -1:
            row[v] = total
        else:
            row.pop(v, None)
    return row


def _clean(row: Row) -> Row:
    return {v: c for v, c in row.items() if c or v == -1}
