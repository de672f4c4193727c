"""Exact linear programs."""

import random
from fractions import Fraction as F
from itertools import combinations

import pytest

from tp.readings.simplex import Infeasible, Polyhedron

BOX = (F(-2), F(2))


def test_a_small_program():
    p = Polyhedron([BOX, BOX], [F(1), F(1)])
    assert p.point() == [-2, -2]
    p.require(F(1), {0: F(-1), 1: F(-1)})  # x + y >= 1
    p.require(F(1, 3), {0: F(-1), 1: F(1)})  # x - y >= 1/3
    p.settle()
    assert sum(p.point()) == 1
    assert p.minimise([F(0), F(-1)]) == F(-1, 3) * 5 and p.point() == [2, F(5, 3)]


def test_contradictions_are_named():
    p = Polyhedron([BOX] * 3, [F(1)] * 3)
    p.require(F(0), {2: F(1)})
    p.require(F(1), {0: F(-1), 1: F(-1)})
    p.require(F(0), {0: F(1), 1: F(1)})
    with pytest.raises(Infeasible) as error:
        p.settle()
    assert error.value.conflict == (1, 2)


def corners(rows):
    """All vertices of {x in the box, rows ≤ 0} of the plane, by hand."""
    lines = [*rows, (F(-2), F(1), F(0)), (F(-2), F(-1), F(0)), (F(-2), F(0), F(1)), (F(-2), F(0), F(-1))]
    for (c, a, b), (c2, a2, b2) in combinations(lines, 2):
        det = a * b2 - a2 * b
        if det:
            x, y = (-c * b2 + c2 * b) / det, (-a * c2 + a2 * c) / det
            if all(k + m * x + n * y <= 0 for k, m, n in lines):
                yield x, y


def test_random_programs_against_all_vertices():
    rng = random.Random(1)
    feasible = 0
    for _ in range(300):
        rows = [tuple(F(rng.randint(-4, 4), rng.randint(1, 3)) for _ in range(3)) for _ in range(rng.randint(1, 6))]
        p = Polyhedron([BOX, BOX], [F(1), F(1)])
        found = list(corners(rows))
        try:
            for c, a, b in rows:
                p.require(c, {0: a, 1: b})
                p.settle()
        except Infeasible:
            assert not found, rows
            continue
        feasible += 1
        assert sum(p.point()) == min(x + y for x, y in found)
        cost = [F(rng.randint(-3, 3)), F(rng.randint(-3, 3))]
        assert p.minimise(cost) == min(cost[0] * x + cost[1] * y for x, y in found)
    assert feasible > 100


def test_equations_determine_unknowns_by_themselves():
    polyhedron = Polyhedron([(F(-9), F(9))] * 4, [F(1)] * 4)
    polyhedron.equate(F(-1), {0: F(1), 1: F(1)})
    polyhedron.equate(F(0), {2: F(1), 3: F(-1)})
    assert polyhedron.determined() == set()
    polyhedron.equate(F(-3), {0: F(1), 1: F(-1)})
    polyhedron.equate(F(-4), {0: F(2), 1: F(0)})  # implied
    assert polyhedron.determined() == {0, 1}
    other = polyhedron.copy()
    other.equate(F(1), {2: F(1), 1: F(1)})
    assert other.determined() == {0, 1, 2, 3} and polyhedron.determined() == {0, 1}
    other.settle()
    assert other.point() == [2, -1, 0, 0]
