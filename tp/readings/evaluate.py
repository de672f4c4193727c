"""A program at infinite width, numerically: every Z is an array over nodes, every scalar a number.

A MatMul's output is its hat, Gaussian given the earlier hats of the same matrix (bordered Cholesky), plus its dot
part, by Stein's identity with the hats of the transposed calls. Nothing is assumed about gradients.

Source: Yang 2020, *Tensor Programs III*, Definition E.3 and Remark 2.12 (Stein form of the dot part).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import LimitError, Message
from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, Program, Ref
from tp.readings.expression import Compiler, Frame
from tp.readings.indexing import Env, Key, resolve, show
from tp.readings.nodes import Nodes

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
    """Values of every member: vectors as arrays over the nodes of their space, scalars as numbers in arrays of one."""

    program: Program
    nodes: Nodes
    env: dict[str, Any]
    values: dict[Key, Array] = field(default_factory=dict)
    edges: dict[str, Any] = field(default_factory=dict)
    calls: dict[tuple[Key, bool], Calls] = field(default_factory=dict)
    variances: dict[Key, float] = field(default_factory=dict)
    compiler: Compiler = field(default_factory=Compiler)

    def read(self, key: Key) -> Array | None:
        found = resolve(key, self.values, self.edges.get(key[0], ()))
        return None if found is None else self.values[found]

    def scalar(self, ref: Ref, env: Env | None = None) -> float:
        """The limit of a scalar member."""
        return float(self.values[self.compiler.key(ref, {**self.env, **(env or {})})][0])


def evaluate(program: Program, data: Mapping[Key, float], nodes: Nodes, env: Mapping[str, Any] | None = None) -> Evaluation:
    """Run ``program`` (leading order, see :mod:`tp.readings.orders`) on ``nodes``.

    ``data`` are the numbers of inputs and tables by member. Raises ``LimitError`` naming the first variable that is
    not finite.
    """
    run = Evaluation(program, nodes, {**{s.name: 1 for s in program.spaces}, **(env or {})})
    integer = run.compiler.integer
    run.edges = {
        name: tuple((mode, integer(lo, run.env), integer(hi, run.env)) if mode else (None, 0, -1) for mode, lo, hi in slots)
        for name, slots in program.boundary.items()
    }
    run.values.update({key: np.array([value]) for key, value in data.items()})
    with np.errstate(all="ignore"):
        _draw(run)
        _execute(run, program.body, run.env)
    return run


def _draw(run: Evaluation) -> None:
    for w in run.program.weights:
        for env in run.compiler.points(w.domain, run.env):
            key = run.compiler.key(w.ref, env)
            number = {name: _number(run, getattr(w, name), env) for name in ("multiplier", "mean", "variance")}
            if w.cols is not None:
                run.variances[key] = number["variance"]
                continue
            if w.rows is None:
                run.values[key] = np.array([number["multiplier"] * number["mean"]])
                continue
            std = np.sqrt(number["variance"]) * number["multiplier"]
            mean = number["multiplier"] * number["mean"]
            run.values[key] = mean + std * run.nodes.fresh(w.rows.name, std) if std else np.array([mean])[:, None]


def _number(run: Evaluation, expr: Any, env: Env) -> float:
    return float(Frame(env, run, vector=False).value(run.compiler.op(expr)))


def _execute(run: Evaluation, body: tuple[Instruction, ...], env: Env) -> None:
    for ins in body:
        if isinstance(ins, Loop):
            values = run.compiler.interval(ins.range, env)
            for value in reversed(values) if ins.reverse else values:
                _execute(run, ins.body, {**env, ins.range.index.name: value})
            continue
        for point in run.compiler.points(ins.domain, env):
            key = run.compiler.key(ins.out, point)
            value = _instruction(run, ins, point)
            if not np.isfinite(value).all():
                reason = f"`{show(key)}` is not finite"
                raise LimitError(Message(ins.span, reason, "lower the learning rate or the number of steps", "diverges"))
            run.values[key] = value


def _instruction(run: Evaluation, ins: MatMul | Nonlin | Moment, point: Env) -> Array:
    match ins:
        case MatMul():
            W = run.compiler.key(ins.W, point)
            x = run.read(run.compiler.key(ins.x, point))
            return matmul(run, W, ins, x) if x is not None else np.zeros((1, 1))
        case Nonlin(space=None):
            return np.atleast_1d(np.asarray(Frame(point, run, vector=False).value(run.compiler.op(ins.expr)), float))
        case Nonlin():
            return np.asarray(Frame(point, run, vector=True).value(run.compiler.op(ins.expr)), float)
        case Moment():
            value = np.asarray(Frame(point, run, vector=True).value(run.compiler.op(ins.expr)), float)
            return np.array([run.nodes.mean(ins.space.name, value)])


def matmul(run: Evaluation, W: Key, ins: MatMul, x: Array) -> Array:
    """Ẑ + Ż of ``W x`` (``Wᵀ x``). ``variances[W]`` is n_cols·Var; the transpose's is that times rows/cols."""
    weight = next(w for w in run.program.weights if w.ref.name == ins.W.name and w.cols is not None)
    assert weight.rows is not None and weight.cols is not None
    ratio = _number(run, weight.rows.size, run.env) / _number(run, weight.cols.size, run.env)
    variance = run.variances[W] * (ratio if ins.transpose else 1.0)
    inside = (weight.rows if ins.transpose else weight.cols).name
    own, opposite = (run.calls.setdefault((W, t), Calls()) for t in (ins.transpose, not ins.transpose))
    mean = run.nodes.mean
    hat = _hat(run, own, x, variance, inside, ins.space.name)
    dot: Any = 0.0
    if opposite.rows:
        b = np.array([mean(inside, x * xi) for xi in opposite.innovations])
        L = np.array([np.pad(row, (0, len(opposite.rows) - len(row))) for row in opposite.rows])
        theta = np.linalg.solve(L.T, b)
        dot = variance * sum(t * opposite.arguments[j] for t, j in zip(theta, opposite.basis, strict=True))
    return np.asarray(hat + dot)


def _hat(run: Evaluation, own: Calls, x: Array, variance: float, inside: str, outside: str) -> Array:
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
