"""A program at infinite width, numerically: every Z is an array over nodes, every scalar a number.

A MatMul's output is its hat, Gaussian given the earlier hats of the same matrix (bordered Cholesky), plus its dot
part, by Stein's identity with the hats of the transposed calls. Nothing is assumed about gradients.

Source: Yang 2020, *Tensor Programs III*, Definition E.3 and Remark 2.12 (Stein form of the dot part).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import LimitError, Message
from tp.program.ir import MatMul, Moment, Nonlin, Program, Ref, Weight
from tp.readings.expression import Compiler, Frame
from tp.readings.families import Terms, product, split
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
    split: dict[sp.Expr, tuple[tuple[Terms, ...], sp.Expr]] = field(default_factory=dict)
    vectors: set[str] = field(default_factory=set)

    def is_vector(self, name: str) -> bool:
        return name in self.vectors

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
    run.vectors = {key[0] for key in run.plan.group}
    nodes.begin(run.plan.sizes, [m.out for m in run.plan.members if m.out in run.plan.group and not m.zero])
    with np.errstate(all="ignore"):
        _draw(run)
        for ins, members in groupby((m for m in run.plan.members if not m.zero), key=lambda m: m.ins):
            pair = product(sp.expand_mul(ins.coeff * ins.expr), run.is_vector) if isinstance(ins, Moment) else None
            if pair is None:
                for member in members:
                    _keep(run, member, _instruction(run, member))
                    tick()
            else:
                _products(run, list(members), *pair, tick)
    return run


def _products(run: Evaluation, members: list[Member], c: float, x: Ref, y: Ref, tick: Callable[[], object]) -> None:
    """The averages ``c E[x y]`` of many members, for all with the same x, or the same y, at once."""
    keys = [(run.compiler.key(x, m.point), run.compiler.key(y, m.point)) for m in members]
    one = 0 if len({a for a, _ in keys}) <= len({b for _, b in keys}) else 1
    together: dict[Key, list[int]] = {}
    for k, pair in enumerate(keys):
        together.setdefault(pair[one], []).append(k)
    for key, places in together.items():
        fixed, others = run.read(key), [run.read(keys[k][1 - one]) for k in places]
        live = [k for k, other in zip(places, others, strict=True) if fixed is not None and other is not None]
        if fixed is not None and live:
            family = run.nodes.family([_known(run, keys[k][1 - one]) for k in live], run.values)
            means = family.means(fixed, run.plan.group[_known(run, key)])
            for k, mean in zip(live, means, strict=True):
                _keep(run, members[k], np.array([c * mean]))
        for k in set(places) - set(live):
            _keep(run, members[k], np.zeros(1))
        for _ in places:
            tick()


def _known(run: Evaluation, key: Key) -> Key:
    found = resolve(key, run.plan.known, run.edges.get(key[0], ()))
    assert found is not None
    return found


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


def _keep(run: Evaluation, member: Member, value: Array) -> None:
    if not np.isfinite(value).all():
        step = f" at step {member.point['step']}" if "step" in member.point else ""
        reason = f"`{show(member.out)}` is not finite{step}"
        raise LimitError(Message(member.ins.span, reason, "lower the learning rate or the number of steps", "diverges"))
    run.values[member.out] = run.nodes.keep(member.out, value) if member.out in run.plan.group else value


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
            return _nonlin(run, ins, point)
        case Moment():
            value = np.asarray(Frame(point, run, vector=True).value(run.compiler.op(ins.coeff * ins.expr)), float)
            group = next((run.plan.group[key] for key in member.reads if key in run.plan.group), ())
            return np.array([run.nodes.mean(group, np.atleast_2d(value))])


def _nonlin(run: Evaluation, ins: Nonlin, point: Env) -> Array:
    """A vector; sums that are linear in a family as one product with it."""
    if ins.expr not in run.split:
        run.split[ins.expr] = split(ins.expr, run.is_vector)
    sums, rest = run.split[ins.expr]
    value = np.atleast_2d(np.asarray(Frame(point, run, vector=True).value(run.compiler.op(rest)), float))
    for terms in sums:
        found = [(c, key) for c, key in terms.expanded(run, run.compiler, point) if run.read(key) is not None]
        if found:
            family = run.nodes.family([_known(run, key) for _, key in found], run.values)
            value = value + family.combine(np.array([c for c, _ in found]))
    return value


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
        run.calls.setdefault((W, transpose), Calls(run.nodes.stack(), run.nodes.stack()))
    own, opposite = run.calls[W, ins.transpose], run.calls[W, not ins.transpose]
    hat = _hat(run, own, x, variance, inside, outside)
    if not opposite.count:
        return hat
    theta = solve_triangular(opposite.factor.T, opposite.innovations.means(x, inside))
    return hat + variance * opposite.arguments.combine(theta)


def _hat(run: Evaluation, own: Calls, x: Array, variance: float, inside: Key, outside: Key) -> Array:
    """A Gaussian with the right covariance to the earlier hats: Σ row_k ξ_k + √d ξ_new."""
    c0 = variance * run.nodes.mean(inside, x * x)
    row = solve_triangular(own.factor, variance * own.arguments.means(x, inside), lower=True) if own.count else np.zeros(0)
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
