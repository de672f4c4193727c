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
from tp.readings.nodes import Nodes, Sobol

Array = NDArray[np.float64]
DEGENERATE = 1e-13
"""Conditional variance, relative to the variance, below which a hat is a combination of earlier ones."""


@dataclass
class Calls:
    """All calls of one matrix in one direction: arguments, innovations and the Cholesky factor of the hats."""

    arguments: list[Array] = field(default_factory=list)
    innovations: list[Array] = field(default_factory=list)
    rows: list[Array] = field(default_factory=list)  # of the Cholesky factor, nondegenerate hats only
    basis: list[int] = field(default_factory=list)  # which arguments those are


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


def prepared(program: Program, data: Mapping[Key, float], wanted: Iterable[Key] = (), env: Mapping[str, Any] | None = None) -> Evaluation:
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
    own, opposite = (run.calls.setdefault((W, t), Calls()) for t in (ins.transpose, not ins.transpose))
    mean = run.nodes.mean
    run.nodes.check([x, *(own.arguments[j] for j in own.basis), *opposite.innovations])
    hat = _hat(run, own, x, variance, inside, outside)
    dot: Any = 0.0
    if opposite.rows:
        b = np.array([mean(inside, x * xi) for xi in opposite.innovations])
        L = np.array([np.pad(row, (0, len(opposite.rows) - len(row))) for row in opposite.rows])
        theta = np.linalg.solve(L.T, b)
        dot = variance * sum(t * opposite.arguments[j] for t, j in zip(theta, opposite.basis, strict=True))
    return np.asarray(hat + dot)


def _hat(run: Evaluation, own: Calls, x: Array, variance: float, inside: Key, outside: Key) -> Array:
    """A Gaussian with the right covariance to the earlier hats: Σ row_k ξ_k + √d ξ_new."""
    mean = run.nodes.mean
    c = np.array([variance * mean(inside, x * own.arguments[j]) for j in own.basis])
    c0 = variance * mean(inside, x * x)
    row = np.zeros(len(c))
    for k in range(len(c)):
        row[k] = (c[k] - own.rows[k][:k] @ row[:k]) / own.rows[k][k]
    d = c0 - row @ row
    hat: Any = sum(r * xi for r, xi in zip(row, own.innovations, strict=True)) if len(row) else 0.0
    own.arguments.append(x)
    if d <= DEGENERATE * c0 or c0 == 0:
        return np.asarray(hat + np.zeros((1, 1)) if np.ndim(hat) == 0 else hat)
    xi = run.nodes.fresh(outside, float(np.sqrt(d)))
    own.innovations.append(xi)
    own.rows.append(np.append(row, np.sqrt(d)))
    own.basis.append(len(own.arguments) - 1)
    return np.asarray(hat + np.sqrt(d) * xi)
