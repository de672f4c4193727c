"""The infinite-width limit of a training run, on quadrature nodes, with an error for every number.

Grid: finer and finer until two runs agree; the finer is the result, their difference the error. Sobol: independent scramblings;
their mean is the result, its standard error the error (:mod:`tp.readings.scramblings`, also for the memory). A run's time is
proportional to its vectors times the number of products with the same matrix (T B of them).

Source: Yang & Hu 2021, *Tensor Programs IV*, section 7 (the limit of training); Owen 1997 for the scrambling.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sympy as sp

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.gaussian.scrambled import SCRAMBLINGS
from tp.program.ir import Moment, Nonlin, OuterNonlin, Program, Ref, Weight
from tp.progress import bar, ticking
from tp.readings.checkpoint import Checkpoint
from tp.readings.closed_system import closed_system
from tp.readings.degrees import is_linear, is_polynomial
from tp.readings.evaluate import Evaluation, prepared
from tp.readings.grids import gridded
from tp.readings.indexing import Key
from tp.readings.members import vector_names
from tp.readings.nodes import GridTooLarge
from tp.readings.polynomials import Exploded
from tp.readings.rational import BUDGET, as_float, rationals, refused
from tp.readings.scramblings import bytes_needed, sobol
from tp.readings.steps import paired
from tp.transform.backprop import flat

METHODS = ("auto", "exact", "grid", "sobol")
MEMORY = 4 * 2**30
"""Bytes for the arrays of a run, unless told otherwise."""
KINKS = ("relu", "step", "Abs", "sign", "Max", "Min", "Heaviside", "leaky_relu", "elu", "Piecewise")
QUICK_BUDGET, QUICK_MEMBERS, QUICK_WANTED = 100_000, 3000, 300
"""Products of polynomial terms, and members, up to which exact rationals are tried unasked: half a second; and the most
results of a linear network that are tried as rationals at all."""
ROUGH = 2e-5
"""A grid's error above which Sobol points are tried as well."""
DIMENSIONS = 9
"""Gaussian dimensions that meet, above which a grid is not tried."""


@dataclass(frozen=True)
class Numbers:
    """Wanted scalars with their errors, and how they were found."""

    values: dict[Key, float]
    errors: dict[Key, float]
    method: str
    details: dict[str, Any]
    exact: dict[Key, Fraction] | None = None


def limit(
    program: Program,
    data: Mapping[Key, float],
    wanted: list[Key],
    method: str = "auto",
    tol: float | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int | None = None,
    done: Checkpoint | None = None,
    gradients: Mapping[str, Weight] | None = None,
) -> Numbers:
    """The limits of the scalars ``wanted`` of a leading-order program; see :func:`tp.readings.orders.leading_order`.

    ``done`` are finished scramblings of the same run; others are added to it.
    """
    if method not in METHODS:
        raise DataError(Message(NOWHERE, f"unknown method {method!r}", f"choose one of {', '.join(METHODS)}", "unknown method"))
    if tol is not None and not 0 < tol < 1:
        raise DataError(Message(NOWHERE, f"the tolerance is {tol}", "give a number between 0 and 1", "wrong tolerance"))
    start = time.perf_counter()
    several = method == "auto" or len(wanted) > QUICK_WANTED
    if method in ("auto", "exact") and wanted and several and is_linear(program):
        return _timed(_closed(program, data, wanted, memory or MEMORY), start)
    with ticking("writing out", " numbers", progress):
        plan = prepared(program, data, wanted, gradients=gradients)
    if not wanted:
        wanted = [m.out for m in plan.plan.members if isinstance(m.ins, Moment) or m.ins.space is None]
    if all(map(plan.plan.known.get, wanted)):
        return _timed(Numbers(dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, 0.0), "exact", {"odd": True}), start)
    found = _exact(plan, data, wanted, method, memory or MEMORY) if method in ("auto", "exact") else None
    if found is not None:
        return _timed(found, start)
    return _timed(_certain(_on_nodes(plan, wanted, method, tol, seed, progress, memory or MEMORY, done), plan), start)


def _on_nodes(
    plan: Evaluation,
    wanted: list[Key],
    method: str,
    tol: float | None,
    seed: int,
    progress: bool | None,
    memory: int,
    done: Checkpoint | None,
) -> Numbers:
    """On grids where they are good enough, else on Sobol points."""
    kink = _kink(plan.program)
    if method == "grid" and kink is not None:
        reason = f"{kink} is not smooth: a grid's numbers would converge slowly, and their errors could not be told"
        raise LimitError(Message(NOWHERE, reason, 'use method="sobol"', "no grid", "use --method sobol"))
    few = plan.plan.dimensions() <= DIMENSIONS and kink is None
    on_grid = None
    if method == "grid" or (method == "auto" and few):
        try:
            on_grid = _grid(plan, wanted, tol, memory, progress)
        except GridTooLarge:
            if method == "grid":
                raise
        if on_grid is not None and (method == "grid" or _good(on_grid, tol)):
            return on_grid
    return _better(on_grid, _sobol(plan, wanted, tol, seed, memory, progress, done))


def _certain(found: Numbers, plan: Evaluation) -> Numbers:
    """Without errors where a number is 0 whatever the nodes."""
    return replace(found, errors={key: 0.0 if plan.plan.known.get(key) else error for key, error in found.errors.items()})


def _good(found: Numbers, tol: float | None) -> bool:
    """Whether a grid's result is within the tolerance, or as good as Sobol points would make it."""
    return found.details["converged"] or (tol is None and _largest(found) < ROUGH)


def _better(one: Numbers | None, two: Numbers) -> Numbers:
    return two if one is None or _largest(two) <= _largest(one) else one


def _largest(found: Numbers) -> float:
    return max(found.errors.values(), default=0.0)


def _timed(found: Numbers, start: float) -> Numbers:
    return replace(found, details={**found.details, "seconds": round(time.perf_counter() - start, 3)})


def _exact(plan: Evaluation, data: Mapping[Key, float], wanted: list[Key], method: str, memory: int) -> Numbers | None:
    """Rationals, or a linear program in floating point; None where neither applies and neither was asked for."""
    linear = is_linear(plan.program)
    if method == "auto" and (not is_polynomial(plan.program) or len(plan.plan.members) > QUICK_MEMBERS):
        return None
    try:
        found = rationals(plan, data, wanted, BUDGET if method == "exact" and not linear else QUICK_BUDGET)
        values = {key: as_float(value, plan.program) for key, value in found.items()}
    except (Exploded, LimitError) as error:
        if linear:
            return _closed(plan.program, data, wanted, memory)
        if isinstance(error, LimitError):
            raise
        if method == "auto":
            return None
        raise refused(error, plan.program) from None
    return Numbers(values, dict.fromkeys(wanted, 0.0), "exact", {"rational": True}, found)


def _closed(program: Program, data: Mapping[Key, float], wanted: list[Key], memory: int) -> Numbers:
    """A linear program in the space of its letters: no error but rounding."""
    system = closed_system(program, data, memory)
    values = {key: system[key] for key in wanted}
    return Numbers(values, dict.fromkeys(wanted, 0.0), "exact", {"letters": system.used, "bytes": system.bytes})


def _functions(program: Program) -> set[str]:
    """The names of the functions that are applied to vectors."""
    return {type(e).__name__ for expr in _expressions(program) for e in sp.preorder_traversal(expr)}


def _expressions(program: Program) -> list[sp.Expr]:
    """What is done to the coordinates of vectors and the entries of matrices."""
    instructions = [ins for ins, _ in flat(program.body)]
    vectors = [ins.expr for ins in instructions if isinstance(ins, (Nonlin, Moment)) and ins.space is not None]
    return vectors + [ins.entry for ins in instructions if isinstance(ins, OuterNonlin)]


def _kink(program: Program) -> str | None:
    """What is not smooth in what is done to coordinates and entries, in words; None where all of it is analytic.

    Roots and moduli of scalars alone do no harm: on all nodes they are one number.
    """
    vectors = vector_names(program) | {ins.out.name for ins, _ in flat(program.body) if isinstance(ins, OuterNonlin)}
    for part in (e for expr in _expressions(program) for e in sp.preorder_traversal(expr)):
        if not any(ref.name in vectors for ref in part.atoms(Ref)):
            continue
        if type(part).__name__ in KINKS:
            return f"`{type(part).__name__.lower()}`"
        if isinstance(part, sp.Pow) and _may_vanish(part):
            return "a root of what may be 0, as Adam divides by,"
    return None


def _may_vanish(power: sp.Pow) -> bool:
    """A root of what is not kept away from 0 by a number: √v of Adam, but not √(g² + ¼)."""
    base, exponent = power.args
    constants = (t for t in sp.Add.make_args(base) if t.is_number and t.is_positive)
    return bool(not exponent.is_integer and next(constants, None) is None)


def _strip(program: Program) -> float:
    """The half-width of the strip in which the activations are analytic; large for polynomials."""
    plain = {"Sum", "Add", "Mul", "Pow", "Ref", "Symbol", "KroneckerDelta", "Tuple"}
    numbers = {"Integer", "One", "NegativeOne", "Half", "Rational", "Zero", "Float"}
    return 0.8 if _functions(program) - plain - numbers else 2.0


def _grid(plan: Evaluation, wanted: list[Key], tol: float | None, memory: int, progress: bool | None) -> Numbers:
    with bar("limit", len(plan.plan.members), " vectors", progress) as tick:
        found = gridded(plan, wanted, tol, memory, _strip(plan.program), tick)
    details = {"dimensions": found.dimensions, "nodes": found.nodes, "converged": found.converged, **_tables(plan)}
    values, errors = (dict(zip(wanted, of.tolist(), strict=True)) for of in (found.values, found.errors))
    return Numbers(values, errors, "grid", details)


def _tables(plan: Evaluation) -> dict[str, float]:
    """The largest relative error of a table that stood for an entrywise update."""
    return {"table error": max(plan.tabulated)} if plan.tabulated else {}


def _sobol(
    plan: Evaluation,
    wanted: list[Key],
    tol: float | None,
    seed: int,
    memory: int,
    progress: bool | None,
    done: Checkpoint | None,
) -> Numbers:
    with bar("limit", SCRAMBLINGS * len(plan.plan.members), " vectors", progress) as tick:
        found = sobol(plan, wanted, tol, seed, memory, tick, done)
    details = {"dimensions": plan.plan.dimensions(), "nodes": 2**found.m, "scramblings": found.scramblings}
    details |= {"bytes": bytes_needed(plan, found.m), **_tables(plan)}
    if paired(plan.steps):
        details["experimental"] = f"entrywise updates over {2 ** max(found.m - 2, 0):,} of {2**found.m:,} nodes"
    if tol is not None:
        details["converged"] = True
    values, errors = (dict(zip(wanted, of.tolist(), strict=True)) for of in (found.means, found.errors))
    return Numbers(values, errors, "sobol", details)
