"""Ordering clauses: straight-line code, loops, and cycles that have no order."""

from __future__ import annotations

import itertools

import pytest
import sympy as sp

from tp.errors import SpecError
from tp.program.affine import affine, highest, lowest
from tp.program.ir import Range
from tp.program.schedule import Clause, LoopStep, Read, Step, schedule

l, t, s, k, p, L, T = sp.symbols("l t s k p L T", integer=True)


def over(**ranges: tuple) -> tuple[Range, ...]:
    return tuple(Range(sp.Symbol(name, integer=True), sp.sympify(lo), sp.sympify(hi)) for name, (lo, hi) in ranges.items())


def clause(left: str, index: tuple, domain: tuple[Range, ...] = (), *reads: tuple) -> Clause:
    """``reads`` are ``(name, index)`` or ``(name, index, ranges)``."""
    made = tuple(Read(r[0], tuple(map(sp.sympify, r[1])), *r[2:]) for r in reads)
    return Clause(left, tuple(map(sp.sympify, index)), domain, made)


def show(steps: tuple[Step, ...]) -> list:
    """``h[l]`` for a clause, ``("l", 2, L, [...])`` for a loop."""
    shown: list = []
    for step in steps:
        if isinstance(step, LoopStep):
            ends = (str(step.range.index), str(step.range.lo), str(step.range.hi))
            shown.append((*ends, *(["reverse"] if step.reverse else []), show(step.body)))
        else:
            shown.append(f"{step.name}[{','.join(map(str, step.index))}]")
    return shown


def test_bounds_follow_the_ranges():
    triangle = over(t=(1, T), s=(1, t))
    assert highest(affine(s - t), triangle) == 0
    assert highest(affine(s - t - 1), triangle) == -1
    assert lowest(affine(s - t), triangle) == float("-inf")
    assert lowest(affine(s), triangle) == 1
    assert highest(affine(2 * (p - k)), over(p=(0, 4), k=(-1, 1))) == 10
    assert highest(affine(s), (Range(s, sp.S(1), sp.Min(T, 5)),)) == 5
    assert affine(t**2) is None and affine(t / 2) is None and affine(sp.Max(t, 1)) is None


def test_definitions_move_before_their_reads():
    steps = schedule([clause("f", (), (), ("h", (3,))), clause("h", (3,), (), ("h", (1,))), clause("h", (1,))])
    assert show(steps) == ["h[1]", "h[3]", "f[]"]


def test_order_is_kept_where_nothing_forces_it():
    assert show(schedule([clause(name, ()) for name in "cab"])) == ["c[]", "a[]", "b[]"]


def test_layers_become_a_loop_with_a_symbolic_end():
    layers = over(l=(2, L))
    steps = schedule(
        [
            clause("f", (), (), ("h", (L,))),
            clause("x", (l,), layers, ("h", (l - 1,))),
            clause("h", (l,), layers, ("x", (l,))),
            clause("h", (1,)),
        ]
    )
    assert show(steps) == ["h[1]", ("l", "2", "L", ["x[l]", "h[l]"]), "f[]"]


def test_two_layers_need_no_loop():
    steps = schedule([clause("h", (1,)), clause("h", (l,), over(l=(2, 2)), ("h", (l - 1,)))])
    assert show(steps) == ["h[1]", "h[l]"]


def test_a_recursion_over_two_indices_nests():
    grid = over(l=(2, L), t=(2, T))
    steps = schedule(
        [
            clause("h", (1, t), over(t=(1, T))),
            clause("h", (l, 1), over(l=(2, L))),
            clause("h", (l, t), grid, ("h", (l - 1, t)), ("h", (l, t - 1))),
        ]
    )
    assert show(steps) == ["h[1,t]", "h[l,1]", ("l", "2", "L", [("t", "2", "T", ["h[l,t]"])])]


def test_the_index_that_carries_all_reads_is_preferred():
    board = over(p=(0, 7), t=(1, T))
    steps = schedule([clause("h", (p, t), board, ("h", (p + k, t - 1), over(k=(-1, 1))), ("h", (p, t - 1)))])
    assert show(steps) == [("t", "1", "T", ["h[p,t]"])]


def test_skewed_reads_choose_the_possible_index_first():
    board = over(p=(1, 7), t=(1, T))
    steps = schedule([clause("h", (p, t), board, ("h", (p + 1, t - 1)), ("h", (p - 1, t)))])
    assert show(steps) == [("t", "1", "T", [("p", "1", "7", ["h[p,t]"])])]


def test_later_reads_make_a_reverse_loop():
    steps = schedule([clause("h", (T + 1,)), clause("h", (t,), over(t=(1, T)), ("h", (t + 1,)))])
    assert show(steps) == [f"h[{T + 1}]", ("t", "1", "T", "reverse", ["h[t]"])]


def test_sums_over_the_past_are_carried():
    time = over(t=(2, T))
    past = clause("h", (t,), time, ("h", (s,), over(s=(1, t - 1))))
    assert show(schedule([clause("h", (1,)), past])) == ["h[1]", ("t", "2", "T", ["h[t]"])]
    with pytest.raises(SpecError, match="cyclic definition"):
        schedule([clause("h", (1,)), clause("h", (t,), time, ("h", (s,), over(s=(1, t))))])


def test_families_recurse_together_under_one_index():
    steps = schedule(
        [
            clause("c", (t,), over(t=(1, T)), ("h", (t - 1,))),
            clause("h", (s,), over(s=(1, T)), ("c", (s,)), ("h", (s - 1,))),
            clause("h", (0,)),
        ]
    )
    assert show(steps) == ["h[0]", ("t", "1", "T", ["c[t]", "h[t]"])]
    loop = steps[1]
    assert isinstance(loop, LoopStep) and isinstance(loop.body[1], Clause)
    assert loop.body[1].renaming == ((s, t),)


def test_a_loop_index_never_captures_another():
    steps = schedule(
        [
            clause("c", (t,), over(t=(1, T)), ("h", (t - 1, s), over(s=(1, 3)))),
            clause("h", (s, t), over(s=(1, T), t=(1, 3)), ("c", (s,)), ("h", (s - 1, t))),
            clause("h", (0, t), over(t=(1, 3))),
        ]
    )
    assert show(steps) == ["h[0,t]", ("t1", "1", "T", ["c[t1]", "h[t1,t]"])]


def test_different_ranges_cut_the_loop():
    steps = schedule(
        [
            clause("g", (t,), over(t=(1, T)), ("h", (t,))),
            clause("h", (2,), (), ("g", (1,))),
            clause("h", (t,), over(t=(3, T)), ("g", (t - 1,))),
            clause("h", (1,)),
        ]
    )
    assert show(steps) == ["h[1]", "g[1]", "h[2]", "g[2]", ("t", "3", "T", ["h[t]", "g[t]"])]


def test_ranges_without_an_order_are_refused():
    S = sp.Symbol("S", integer=True)
    with pytest.raises(SpecError, match="no known order"):
        schedule([clause("g", (t,), over(t=(1, T)), ("h", (t - 1,))), clause("h", (t,), over(t=(1, S)), ("g", (t - 1,)))])


def test_an_inner_range_may_end_at_the_index_of_a_loop_around():
    """Covariances of two layers of a residual network: K(z[l], z[s]) and K(m[l], z[s]), where z[l] = z[l-1] + m[l]."""
    both = over(l=(1, 2), s=(1, 2))
    edges = [clause(n, i, d) for n in ("K", "M") for i, d in (((0, 0), ()), ((0, s), both[1:]), ((l, 0), both[:1]))]
    steps = schedule(
        [
            clause("K", (l, s), both, ("K", (l - 1, s - 1)), ("M", (s, l - 1)), ("M", (l, s - 1)), ("K", (l - 1, l - 1))),
            clause("M", (l, s), both, ("M", (l, s - 1)), ("K", (l - 1, s - 1)), ("K", (l - 1, l - 1)), ("K", (s - 1, s - 1))),
            *edges,
        ]
    )
    done: set = set()
    run(steps, {}, done)
    assert len(done) == 18


def test_a_shifted_left_side_is_aligned():
    steps = schedule([clause("h", (0,)), clause("h", (t + 1,), over(t=(0, T - 1)), ("h", (t,)))])
    assert show(steps) == ["h[0]", ("t", "1", "T", ["h[t]"])]
    assert steps[1].body[0].renaming == ((t, t - 1),)


def test_triangular_families_loop_over_the_outer_index():
    steps = schedule([clause("a", (t, s), over(t=(1, T), s=(1, t)), ("a", (t - 1, s))), clause("a", (0, s), over(s=(1, T)))])
    assert show(steps) == ["a[0,s]", ("t", "1", "T", ["a[t,s]"])]
    assert steps[1].body[0].domain == over(s=(1, t))


def test_a_circular_index_orders_nothing():
    ring = {"h": (("circular", sp.S(0), sp.S(7)),)}
    with pytest.raises(SpecError, match="cyclic definition"):
        schedule([clause("h", (p,), over(p=(0, 7)), ("h", (p - 1,)))], ring)
    layers = {"h": ((None, sp.S(1), L), ("circular", sp.S(0), sp.S(7)))}
    board = over(l=(2, L), p=(0, 7))
    steps = schedule([clause("h", (1, p), over(p=(0, 7))), clause("h", (l, p), board, ("h", (l - 1, p + 1)))], layers)
    assert show(steps) == ["h[1,p]", ("l", "2", "L", ["h[l,p]"])]


def test_the_cycle_is_named():
    with pytest.raises(SpecError, match="`a` -> `c` -> `b` -> `a`"):
        schedule([clause("a", (), (), ("c", ())), clause("b", (), (), ("a", ())), clause("c", (), (), ("b", ()))])


def test_thousands_of_clauses_stay_cheap():
    chain = [clause("h", (i,), (), ("h", (i - 1,))) for i in range(3000, 0, -1)]
    assert show(schedule(chain))[:2] == ["h[1]", "h[2]"]


def test_execution_order_is_right_for_random_programs():
    """Execute schedules of small random recurrences: nothing is read before it is written."""
    offsets = list(itertools.product((-1, 0, 1), (-2, -1, 0)))
    scheduled = 0
    for first, second in itertools.combinations(offsets, 2):
        board = over(p=(0, 3), t=(0, 3))
        clauses = [
            clause("a", (p, t), board, ("b", (p + first[0], t + first[1]))),
            clause("b", (p, t), board, ("a", (p + second[0], t + second[1]))),
        ]
        try:
            steps = schedule(clauses)
        except SpecError:
            continue
        scheduled += 1
        done: set = set()
        run(steps, {}, done)
        assert len(done) == 32
    assert scheduled > 20


def run(steps: tuple[Step, ...], at: dict, done: set) -> None:
    for step in steps:
        if isinstance(step, LoopStep):
            lo, hi = (int(e.xreplace({k: sp.Integer(v) for k, v in at.items()})) for e in (step.range.lo, step.range.hi))
            values = range(lo, hi + 1)
            for value in reversed(values) if step.reverse else values:
                run(step.body, {**at, step.range.index: value}, done)
            continue
        new = set()
        for values in itertools.product(*(range(int(r.lo), int(r.hi) + 1) for r in step.domain)):
            point = {**at, **dict(zip((r.index for r in step.domain), values, strict=True))}
            for read in step.reads:
                where = tuple(int(e.xreplace({k: sp.Integer(v) for k, v in point.items()})) for e in read.index)
                assert not all(0 <= w <= 3 for w in where) or (read.name, where) in done
            new.add((step.name, tuple(int(e.xreplace({k: sp.Integer(v) for k, v in point.items()})) for e in step.index)))
        assert not new & done
        done |= new
