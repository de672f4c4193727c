"""A program at infinite width, numerically: every Z is an array over nodes, every scalar a number.

A MatMul's output is its hat, Gaussian given the earlier hats of the same matrix (bordered Cholesky), plus its dot
part, by Stein's identity with the hats of the transposed calls. Nothing is assumed about gradients.

Source: Yang 2020, *Tensor Programs III*, Definition E.3 and Remark 2.12 (Stein form of the dot part).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import LimitError, Message
from tp.program.ir import MatMul, Moment, Nonlin, Program, Ref, Weight
from tp.readings.expression import Compiler, Frame
from tp.readings.indexing import Env, Key, resolve, show
from tp.readings.members import Member, Plan, written_out
from tp.readings.nodes import Nodes, Sobol, Stack

Array = NDArray[np.float64]
DEGENERATE = 1e-13
"""Conditional variance, relative to the variance, below which a hat is a combination of earlier ones."""


@dataclass
class Calls:
    """The calls of one matrix in one direction whose hats are linearly independent.

    Their arguments, innovations and the Cholesky factor of the hats' covariance.
    """

    arguments: Stack
    innovations: Stack
    factor: Array = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def count(self) -> int:
        return len(self.factor)

    def extend(self, row: Array, last: float) -> None:
        """One more row of the factor."""
        factor = np.zeros((self.count + 1, self.count + 1))
        factor[:-1, :-1], factor[-1, :-1], factor[-1, -1] = self.factor, row, last
        self.factor = factor


@dataclass
class Evaluation:
    """Values of every member: vectors as arrays over the nodes of their group, scalars as numbers in arrays of one."""

    program: Program
    nodes: Nodes
    env: dict[str, Any]
    values: dict[Key, Array] = field(default_factory=dict)
    edges: dict[str, Any] = field(default_factory=dict)
    plan: Plan = field(default_factory=lambda: Plan([], {}, {}, {}))
    calls: dict[tuple[Key, bool], Calls] = field(default_factory=dict)
    variances: dict[Key, float] = field(default_factory=dict)
    compiler: Compiler = field(default_factory=Compiler)

    def read(self, key: Key) -> Array | None:
        """None for what is 0, and for what nothing wanted depends on."""
        found = resolve(key, self.plan.known, self.edges.get(key[0], ()))
        return None if found is None else self.values.get(found)

    def scalar(self, ref: Ref, env: Env | None = None) -> float:
        """The limit of a scalar member."""
        return self[self.compiler.key(ref, {**self.env, **(env or {})})]

    def __getitem__(self, key: Key) -> float:
        return 0.0 if self.plan.known[key] else float(self.values[key][0])


def prepared(
    program: Program, data: Mapping[Key, float], wanted: Iterable[Key] = (), env: Mapping[str, Any] | None = None
) -> Evaluation:
    """An evaluation with its plan and no nodes yet; ``wanted`` are the scalars it is for (all, when empty)."""
    run = Evaluation(program, Sobol(0, np.random.default_rng(0)), {**{s.name: 1 for s in program.spaces}, **(env or {})})
    integer = run.compiler.integer
    run.edges = {
        name: tuple((mode, integer(lo, run.env), integer(hi, run.env)) if mode else (None, 0, -1) for mode, lo, hi in slots)
        for name, slots in program.boundary.items()
    }
    run.values.update({key: np.array([value]) for key, value in data.items()})
    zero = {key: value == 0 for key, value in data.items()}
    run.plan = Plan([], zero, {}, {})
    for w in program.weights:
        for point in run.compiler.points(w.domain, run.env):
            zero[run.compiler.key(w.ref, point)] = w.cols is None and _law(run, w, point)[1:] == (0, 0)
    run.plan = written_out(program, run.compiler, run.edges, run.env, zero, wanted)
    return run


def evaluate(
    program: Program, data: Mapping[Key, float], nodes: Nodes, env: Mapping[str, Any] | None = None, wanted: Iterable[Key] = ()
) -> Evaluation:
    """Run ``program`` (leading order, see :mod:`tp.readings.orders`) on ``nodes``.

    ``data`` are the numbers of inputs and tables by member; ``wanted`` the scalars to compute (all, when empty).
    Raises ``LimitError`` naming the first variable that is not finite.
    """
    return executed(prepared(program, data, wanted, env), nodes)


def executed(plan: Evaluation, nodes: Nodes, tick: Callable[[], object] = lambda: None) -> Evaluation:
    """A prepared evaluation carried out on ``nodes``; ``tick`` is called once per member."""
    run = replace(plan, nodes=nodes, values=dict(plan.values), calls={}, variances={})
    nodes.begin(run.plan.sizes)
    with np.errstate(all="ignore"):
        _draw(run)
        for member in run.plan.members:
            if not member.zero:
                _execute(run, member)
            tick()
    return run


def _law(run: Evaluation, w: Weight, point: Env) -> tuple[float, float, float]:
    """Multiplier, mean and variance of a weight."""
    return tuple(_number(run, e, point) for e in (w.multiplier, w.mean, w.variance))  # type: ignore[return-value]


def _draw(run: Evaluation) -> None:
    for w in run.program.weights:
        for point in run.compiler.points(w.domain, run.env):
            key = run.compiler.key(w.ref, point)
            multiplier, mean, variance = _law(run, w, point)
            if w.cols is not None:
                run.variances[key] = multiplier**2 * variance
            elif w.rows is None:
                run.values[key] = np.array([multiplier * mean])
            elif variance == 0:
                run.values[key] = np.array([[multiplier * mean]])
            elif key in run.plan.group:
                std = np.sqrt(variance) * multiplier
                run.values[key] = multiplier * mean + std * run.nodes.fresh(run.plan.group[key], abs(std))


def _number(run: Evaluation, expr: Any, env: Env) -> float:
    return float(Frame(env, run, vector=False).value(run.compiler.op(expr)))


def _execute(run: Evaluation, member: Member) -> None:
    value = _instruction(run, member)
    if not np.isfinite(value).all():
        reason = f"`{show(member.out)}` is not finite"
        raise LimitError(Message(member.ins.span, reason, "lower the learning rate or the number of steps", "diverges"))
    run.values[member.out] = value


def _instruction(run: Evaluation, member: Member) -> Array:
    ins, point = member.ins, member.point
    arrays = [a for key in member.reads if (a := run.values[key]).ndim > 1]
    run.nodes.check(arrays)
    match ins:
        case MatMul():
            (x,) = arrays
            return matmul(run, member, ins, x)
        case Nonlin(space=None):
            return np.atleast_1d(np.asarray(Frame(point, run, vector=False).value(run.compiler.op(ins.expr)), float))
        case Nonlin():
            return np.atleast_2d(np.asarray(Frame(point, run, vector=True).value(run.compiler.op(ins.expr)), float))
        case Moment():
            value = np.asarray(Frame(point, run, vector=True).value(run.compiler.op(ins.coeff * ins.expr)), float)
            group = next((run.plan.group[key] for key in member.reads if key in run.plan.group), ())
            return np.array([run.nodes.mean(group, np.atleast_2d(value))])


def matmul(run: Evaluation, member: Member, ins: MatMul, x: Array) -> Array:
    """Ẑ + Ż of ``W x`` (``Wᵀ x``). ``variances[W]`` is n_cols·Var; the transpose's is that times rows/cols."""
    W = member.matrix
    assert W is not None
    weight = next(w for w in run.program.weights if w.ref.name == ins.W.name and w.cols is not None)
    assert weight.rows is not None and weight.cols is not None
    ratio = _number(run, weight.rows.size, run.env) / _number(run, weight.cols.size, run.env)
    variance = run.variances[W] * (ratio if ins.transpose else 1.0)
    inside, outside = run.plan.group[member.reads[0]], run.plan.group[member.out]
    for transpose in (ins.transpose, not ins.transpose):
        if (W, transpose) not in run.calls:
            here, there = (inside, outside) if transpose == ins.transpose else (outside, inside)
            run.calls[W, transpose] = Calls(run.nodes.stack(here), run.nodes.stack(there))
    own, opposite = run.calls[W, ins.transpose], run.calls[W, not ins.transpose]
    hat = _hat(run, own, x, variance, inside, outside)
    if not opposite.count:
        return hat
    theta = solve_triangular(opposite.factor.T, opposite.innovations.means(x))
    return hat + variance * opposite.arguments.combine(theta)


def _hat(run: Evaluation, own: Calls, x: Array, variance: float, inside: Key, outside: Key) -> Array:
    """A Gaussian with the right covariance to the earlier hats: Σ row_k ξ_k + √d ξ_new."""
    c0 = variance * run.nodes.mean(inside, x * x)
    row = solve_triangular(own.factor, variance * own.arguments.means(x), lower=True) if own.count else np.zeros(0)
    d = c0 - row @ row
    hat = own.innovations.combine(row) if own.count else np.zeros((1, 1))
    if d <= DEGENERATE * c0:
        return hat
    xi = run.nodes.fresh(outside, float(np.sqrt(d)))
    own.arguments.append(x)
    own.innovations.append(xi)
    own.extend(row, float(np.sqrt(d)))
    return hat + np.sqrt(d) * xi


def solve_triangular(factor: Array, right: Array, lower: bool = False) -> Array:
    """factor⁻¹ right, for a triangular factor."""
    from scipy.linalg import solve_triangular as solve

    return np.asarray(solve(factor, right, lower=lower, check_finite=False))
