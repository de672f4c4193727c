"""Axes that do not fit."""

from __future__ import annotations

from dataclasses import dataclass

from tp.errors import Diagnostic


@dataclass(frozen=True)
class UnknownAxis(Diagnostic):
    axis: str
    hint: str = ""
    title = "unknown axis"
    label = "`{axis}` is neither a width nor a dim"
    help = "{hint}"


@dataclass(frozen=True)
class TooManyAxes(Diagnostic):
    name: str
    count: int
    title = "too many axes"
    label = "`{name}` has {count} axes; a matrix has two"
    help = "make the others indices: `{name}[k] : [n, n] … for k in 1..K`"


@dataclass(frozen=True)
class InputOnWidth(Diagnostic):
    name: str
    axis: str
    title = "input on a width"
    label = "`{name}` lives on the width `{axis}`, but data stay finite while `{axis}` grows"
    help = "declare a `dim` for it and bring it to the width with a weight: `U : [{axis}, d]`, `U @ {name}`"


@dataclass(frozen=True)
class AxisMismatch(Diagnostic):
    matrix: str
    expected: str
    vector: str
    found: str
    hint: str = ""
    title = "axis mismatch"
    label = "`{matrix}` acts on axis `{expected}`, but `{vector}` lives on {found}"
    help = "{hint}"


@dataclass(frozen=True)
class AxesDiffer(Diagnostic):
    op: str
    left: str
    left_axes: str
    right: str
    right_axes: str
    hint: str = ""
    title = "axis mismatch"
    label = "`{op}` acts coordinatewise, but `{left}` lives on {left_axes} and `{right}` on {right_axes}"
    help = "{hint}"


@dataclass(frozen=True)
class MatrixAsVector(Diagnostic):
    text: str
    axes: str
    hint: str = "a matrix acts on a vector, `W @ x` or `W.T @ x`; a vector has one axis: `b : [n]`"
    title = "matrix used as a vector"
    label = "`{text}` is a matrix on {axes}; here a vector or a number is needed"
    help = "{hint}"


@dataclass(frozen=True)
class MatrixTimesMatrix(Diagnostic):
    left: str
    right: str
    title = "product of matrices"
    label = "`{left}` and `{right}` are both matrices"
    help = "apply them one after the other: `{left} @ ({right} @ x)`"


@dataclass(frozen=True)
class NothingToMultiply(Diagnostic):
    text: str
    axes: str
    title = "axis mismatch"
    label = "`@` needs a vector on either side, but `{text}` lives on {axes}"
    help = "the coordinatewise product is `*`"


@dataclass(frozen=True)
class NotAMatrix(Diagnostic):
    text: str
    axes: str
    title = "not a matrix"
    label = "`.T` transposes a matrix, but `{text}` lives on {axes}"
    help = "the inner product of two vectors is `u @ w` or `dot(u, w)`, without `.T`"


@dataclass(frozen=True)
class ComputedMatrix(Diagnostic):
    text: str
    title = "computed matrix"
    label = "`{text}` stands where a weight matrix acts"
    help = "a matrix is a weight, its transpose, or a multiple of these; apply each to the vector on its own"


@dataclass(frozen=True)
class AverageNotOverWidth(Diagnostic):
    text: str
    axes: str
    fn: str
    instead: str
    title = "not an average over width"
    label = "`{fn}` runs over a width, but `{text}` lives on {axes}"
    help = "{instead}"


@dataclass(frozen=True)
class InFunction(Diagnostic):
    fn: str
    problem: str
    title = "axis mismatch"
    label = "inside `{fn}`: {problem}"


@dataclass(frozen=True)
class SoftmaxOfVector(Diagnostic):
    text: str
    axes: str
    title = "softmax of a vector"
    label = "`softmax` takes numbers along an index, but `{text}` lives on {axes}"
    help = "inner products: `softmax(dot(q[t], k[s])/n over s)`; along a width of heads: `exp(a[t, s]) / sum(exp(a[t, s]) for s)`"


@dataclass(frozen=True)
class NeedsOver(Diagnostic):
    fn: str
    title = "missing `over`"
    label = "`{fn}` runs along an index"
    help = "write `{fn}(e[s] over s)`"


@dataclass(frozen=True)
class TakesNoOver(Diagnostic):
    fn: str
    title = "unexpected `over`"
    label = "`{fn}` does not run along an index"
    help = "remove `over …`"


@dataclass(frozen=True)
class OutputOnWidth(Diagnostic):
    name: str
    axes: str
    width: str
    title = "output on a width"
    label = "the output `{name}` lives on {axes}: it has no limit as `{width}` grows"
    help = "read it out, `v @ (…)` with `weight v : [{width}] ~ N(0, 1/{width})`, or average it, `avg(…)`"


@dataclass(frozen=True)
class NoOutput(Diagnostic):
    title = "no output"
    label = "nothing in this network is an output"
    help = "mark what it computes: `output f = v @ h`"


@dataclass(frozen=True)
class ClauseAxesDiffer(Diagnostic):
    name: str
    axes: str
    other: str
    line: int
    title = "axis mismatch"
    label = "`{name}` lives on {axes} here, but on {other} on line {line}, and both are read together"
    help = "give the two different names, or the same axes"
