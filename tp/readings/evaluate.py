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
from tp.program.ir import Program, Ref, Weight
from tp.readings.expression import Compiler
from tp.readings.indexing import Env, Key, edges_of, show
from tp.readings.members import Member, Plan, vector_names, written_out
from tp.readings.nodes import Layout, Nodes
from tp.readings.ops import Frame
from tp.readings.outer import products
from tp.readings.parity import Parity
from tp.readings.rows import placed
from tp.readings.sobol import Sobol
from tp.readings.steps import Averages, Entry, MatMuls, Products, Scalars, Step, Stepper, Updates, Vectors
from tp.readings.tape import Leaf
from tp.transform.parametrize import parameter

Array = NDArray[np.float64]
DEGENERATE = 1e-13
"""Conditional variance, relative to the variance, below which a hat is a combination of earlier ones."""


@dataclass
class Calls:
    """The calls of one matrix in one direction whose hats are linearly independent.

    Their arguments and innovations by key, and the Cholesky factor of the hats' covariance.
    """

    arguments: list[Key] = field(default_factory=list)
    innovations: list[Key] = field(default_factory=list)
    factor: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def extend(self, rows: Array) -> None:
        """More rows of the factor, [new, old + new]."""
        old, new = len(self.factor), len(rows)
        factor = np.zeros((old + new, old + new))
        factor[:old, :old], factor[old:] = self.factor, rows
        self.factor = factor


@dataclass
class Evaluation:
    """A program to be evaluated: its plan and steps, and, once ``executed``, the values of all members.

    ``scalars`` holds the numbers, ``slot`` says where; vectors are kept by the nodes.
    """

    program: Program
    nodes: Nodes
    env: dict[str, Any]
    scalars: Array = field(default_factory=lambda: np.zeros(1))
    slot: dict[Key, int] = field(default_factory=dict)
    edges: dict[str, Any] = field(default_factory=dict)
    plan: Plan = field(default_factory=lambda: Plan([], {}, {}, {}))
    layout: Layout = field(default_factory=Layout)
    steps: tuple[Step, ...] = ()
    calls: dict[tuple[Key, bool], Calls] = field(default_factory=dict)
    compiler: Compiler = field(default_factory=Compiler)
    tabulated: list[float] = field(default_factory=list)
    """Relative errors of the tables that stood for entrywise updates, over all runs of a plan."""
    gradients: Mapping[str, Weight] = field(default_factory=dict)
    """Families that must not vanish in the limit alone."""
    shapes: dict[int, Any] = field(default_factory=dict)
    """Expressions by form, as compiled; of all runs of a plan."""
    matrices: dict[Key, Any] = field(default_factory=dict)
    """Entries of updates at pairs of nodes, by name: they serve all later steps."""

    def read(self, key: Key) -> Array | None:
        """The array of a member; None for what is 0, and for what nothing wanted depends on."""
        found = self.plan.find(key, self.edges.get(key[0], ()))
        if found in self.slot:
            return self.scalars[self.slot[found]][None]
        return self.nodes[found] if found in self.plan.group else None

    def scalar(self, ref: Ref, env: Env | None = None) -> float:
        """The limit of a scalar member."""
        return self[self.compiler.key(ref, {**self.env, **(env or {})})]

    def __getitem__(self, key: Key) -> float:
        return float(self.scalars[0 if self.plan.known[key] else self.slot[key]])

    def leaf(self, leaf: Leaf) -> Any:
        """What a tape reads."""
        return self.nodes[leaf.at] if leaf.wide else self.scalars[leaf.at]


def prepared(
    program: Program,
    data: Mapping[Key, float],
    wanted: Iterable[Key] = (),
    gradients: Mapping[str, Weight] | None = None,
) -> Evaluation:
    """An evaluation with its steps and no nodes yet; ``wanted`` are the scalars it is for (all, when empty).

    ``gradients`` are families that must not vanish in the limit alone, see :class:`tp.transform.train.Training`.
    """
    run = Evaluation(program, Sobol(0, np.random.default_rng(0)), {s.name: 1 for s in program.spaces})
    run.gradients = gradients or {}
    run.edges = edges_of(program, run.compiler.integer, run.env)
    zero = {key: value == 0 for key, value in data.items()}
    run.plan = Plan([], zero, {}, {})
    numbers = dict(data)
    parity: dict[Key, Parity] = {}
    for w, point, key in _weights(run):
        _, mean, variance = _law(run, w, point)
        zero[key] = w.cols is None and mean == variance == 0
        if mean == 0 and w.rows is not None:  # the coordinates of a finite axis change their signs together
            inner = (k for e, k in zip(w.ref.index, key[1:], strict=True) if not str(e).startswith("j_"))
            parity[key] = Parity(frozenset([(w.ref.name, *inner)]))
        if w.rows is None:
            multiplier, mean, _ = _law(run, w, point)
            numbers[key] = multiplier * mean
    run.plan = written_out(program, run.compiler, run.edges, run.env, zero, wanted, parity, bool(gradients))
    _none_lost(run, wanted)
    scalars = [m.out for m in run.plan.members if m.out not in run.plan.group and not m.zero]
    given = [key for key, value in numbers.items() if value != 0]
    run.slot = {key: k for k, key in enumerate([*given, *scalars], 1)}
    run.scalars = np.array([0.0, *(numbers[key] for key in given), *(0.0 for _ in scalars)])
    run.steps = tuple(Stepper(program, run.plan, run.compiler, run.edges, vector_names(program), run.slot).steps())
    run.layout = _layout(run)
    return run


def _none_lost(run: Evaluation, wanted: Iterable[Key]) -> None:
    """Refuse gradients before the last step that are 0 in the limit and not at finite width."""
    last = max((key[1] for key in wanted if len(key) > 1), default=0)
    for key, zero in run.plan.known.items():
        if zero and key[0] in run.gradients and key[1] < last and key not in run.plan.certain:
            raise _lost(run, key, key[1])


def _lost(run: Evaluation, key: Key, step: int) -> LimitError:
    weight = run.gradients[key[0]]
    name = parameter(weight)
    reason = (
        f"the gradient of `{name}` vanishes in the limit at step {step}: the optimizer makes full updates of its fluctuations"
    )
    remedy = 'train by "sgd", or by an update that is smooth at 0, such as "g/sqrt(g^2 + 1/4)"'
    command = "train with --optimizer sgd, or an update that is smooth at 0, such as 'g/sqrt(g^2 + 1/4)'"
    return LimitError(Message(weight.span, reason, remedy, "no deterministic limit", command))


def _weights(run: Evaluation) -> Iterable[tuple[Weight, Env, Key]]:
    for w in run.program.weights:
        for point in run.compiler.points(w.domain, run.env):
            yield w, point, run.compiler.key(w.ref, point)


def _layout(run: Evaluation) -> Layout:
    """Arguments of one matrix lie together in the order of its calls, other vectors by what they are: name and indices."""
    group = dict(run.plan.group)
    vectors, innovations = [], []
    for w, point, key in _weights(run):
        if key in group:
            vectors.append(key)
            if _law(run, w, point)[2] != 0:
                innovations.append(("~", *key))
                group[innovations[-1]] = group[key]
    blocks: dict[Key, dict[Key, None]] = {}
    called: dict[Key, int] = {}
    for m in run.plan.members:
        if m.matrix is not None and not m.zero:
            side = (m.matrix, m.ins.transpose)  # type: ignore[union-attr]
            blocks.setdefault(side, {})[m.reads[0]] = None
            innovations.append(_innovation(*side, called.get(side, 0)))
            called[side] = called.get(side, 0) + 1
            group[innovations[-1]] = group[m.out]
    vectors += [m.out for m in run.plan.members if m.out in group and not m.zero]
    for key in vectors:  # step and sample come first: what they range over lies together
        blocks.setdefault((key[0], *key[3:]), {})[key] = None
    seen: set[Key] = set()
    found = []
    for block in blocks.values():
        found.append([key for key in block if key not in seen])
        seen.update(block)
    beside = sorted(innovations, key=lambda key: (str(key[:-1]), key[-1]))  # those of one matrix together
    rows, bounds = placed(beside, found, run.steps)
    return Layout(tuple(innovations), group, rows, tuple(dict.fromkeys(bounds)))


def _innovation(matrix: Key, transpose: bool, k: int) -> Key:
    return ("~", *matrix, transpose, k)


def executed(plan: Evaluation, nodes: Nodes, tick: Callable[[int], object] = lambda members: None) -> Evaluation:
    """A prepared evaluation carried out on ``nodes``; ``tick`` is told of the members that are done."""
    run = replace(plan, nodes=nodes, scalars=plan.scalars.copy(), calls={}, matrices={})
    nodes.begin(run.layout)
    with np.errstate(all="ignore"):
        _draw(run)
        for step in run.steps:
            _carry_out(run, step)
            tick(len(step.members))
    return run


def _carry_out(run: Evaluation, step: Step) -> None:
    match step:
        case Scalars():
            _numbers(run, step, np.concatenate([np.atleast_1d(tape.run(run.leaf)) for tape in step.tapes]))
        case Products():
            table = run.nodes.inner(step.rows, step.cols)
            _numbers(run, step, step.factor * table[step.at])
        case Averages():
            _numbers(run, step, run.nodes.averages(step.groups, step.tapes, run.leaf))
        case Vectors():
            _vectors(run, step)
        case MatMuls():
            matmuls(run, step)
        case Updates():
            if step.ins.out.name in run.gradients and all(_dead(run, entry) for entry in step.entries):
                raise _lost(run, step.members[0].out, step.members[0].out[1] - 1)
            for member, value in zip(step.members, products(run, step), strict=True):
                _keep(run, member, value)


def _dead(run: Evaluation, entry: Entry) -> bool:
    """Whether all outer products of a gradient are 0."""
    pairs = [pair for _, leaf in entry.tape.leaves if leaf.wide for pair in leaf.at]
    return all(not np.any(run.nodes[u]) or not np.any(run.nodes[v]) for _, u, v in pairs)


def _numbers(run: Evaluation, step: Scalars | Averages | Products, values: Array) -> None:
    values = np.broadcast_to(values, len(step.slots))
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise _diverges(step.members[bad[0]])
    run.scalars[step.slots] = values


def _diverges(member: Member) -> LimitError:
    step = f" at step {member.point['step']}" if "step" in member.point else ""
    reason = f"`{show(member.out)}` is not finite{step}"
    return LimitError(Message(member.ins.span, reason, "lower the learning rate or the number of steps", "diverges"))


def _keep(run: Evaluation, member: Member, value: Array) -> None:
    run.nodes.keep(member.out, value)
    _check(run, [member])


def _check(run: Evaluation, members: Iterable[Member]) -> None:
    for member in members:
        value = run.nodes[member.out]
        square = np.vdot(value, value)
        if not np.isfinite(square):
            raise _diverges(member)
        if square == 0 and member.out[0] in run.gradients and member.out not in run.plan.certain:
            raise _lost(run, member.out, member.out[1])


def _vectors(run: Evaluation, step: Vectors) -> None:
    """Expressions, and sums that are linear in a family as one product with it."""
    outs = [m.out for m in step.members]
    run.nodes.write(outs, step.tapes, run.leaf)
    for terms in step.sums:
        weights = np.zeros((len(outs), len(terms.rows)))
        np.add.at(weights, terms.at, np.concatenate([np.atleast_1d(tape.run(run.leaf)) for tape in terms.tapes]))
        run.nodes.add(outs, weights, terms.rows)
    _check(run, step.members)


def _law(run: Evaluation, w: Weight, point: Env) -> tuple[float, float, float]:
    """Multiplier, mean and variance of a weight."""
    return tuple(_number(run, e, point) for e in (w.multiplier, w.mean, w.variance))  # type: ignore[return-value]


def _number(run: Evaluation, expr: Any, env: Env) -> float:
    return float(Frame(env, run, vector=False).value(run.compiler.op(expr)))


def _draw(run: Evaluation) -> None:
    """Initial vectors."""
    for w, point, key in _weights(run):
        if key in run.plan.group:
            multiplier, mean, variance = _law(run, w, point)
            std = float(np.sqrt(variance) * multiplier)
            xi = run.nodes.fresh(("~", *key), abs(std)) if variance != 0 else np.zeros((1, 1))
            run.nodes.keep(key, multiplier * mean + std * xi)


def matmuls(run: Evaluation, step: MatMuls) -> None:
    """Ẑ + Ż of ``W x`` (``Wᵀ x``) for several x. ``Var[W]`` is n_cols·Var; the transpose's is that times rows/cols."""
    weight, point = next((w, p) for w, p, key in _weights(run) if key == step.matrix)
    assert weight.rows is not None and weight.cols is not None
    multiplier, _, variance = _law(run, weight, point)
    ratio = _number(run, weight.rows.size, run.env) / _number(run, weight.cols.size, run.env)
    v = multiplier**2 * variance * (ratio if step.ins.transpose else 1.0)
    transpose = step.ins.transpose
    own, opposite = (run.calls.setdefault((step.matrix, t), Calls()) for t in (transpose, not transpose))
    xs = [m.reads[0] for m in step.members]
    outs = [m.out for m in step.members]
    run.nodes.add(outs, _hats(run, own, step, xs, v), own.innovations, fresh=True)
    if opposite.arguments:
        theta = solve_triangular(opposite.factor.T, run.nodes.inner(opposite.innovations, xs))
        run.nodes.add(outs, v * theta.T, opposite.arguments)
    _check(run, step.members)


def _hats(run: Evaluation, own: Calls, step: MatMuls, xs: list[Key], v: float) -> Array:
    """The rows of Gaussians Σ row_k ξ_k with the right covariance to earlier hats and to each other, with new ξ where needed."""
    old, count = len(own.arguments), len(xs)
    gram = v * run.nodes.inner([*own.arguments, *xs], xs)
    rows = np.zeros((count, old + count))  # coefficients of old innovations, then of new ones
    rows[:, :old] = solve_triangular(own.factor, gram[:old], lower=True).T if old else 0.0
    rest = gram[old:] - rows[:, :old] @ rows[:, :old].T
    fresh: list[int] = []
    for k in range(count):
        made = rows[fresh][:, old : old + len(fresh)]
        row = solve_triangular(made, rest[fresh, k], lower=True) if fresh else np.zeros(0)
        rows[k, old : old + len(fresh)] = row
        d = rest[k, k] - row @ row
        if d > DEGENERATE * gram[old + k, k]:
            rows[k, old + len(fresh)] = std = float(np.sqrt(d))
            own.innovations.append(_innovation(step.matrix, step.ins.transpose, old + len(fresh)))
            run.nodes.fresh(own.innovations[-1], std)
            fresh.append(k)
    rows = rows[:, : old + len(fresh)]
    own.arguments += [xs[k] for k in fresh]
    own.extend(rows[fresh])
    return rows


def solve_triangular(factor: Array, right: Array, lower: bool = False) -> Array:
    """factor⁻¹ right, for a triangular factor."""
    from scipy.linalg import solve_triangular as solve

    return np.asarray(solve(factor, right, lower=lower, check_finite=False))
