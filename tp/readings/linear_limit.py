"""Linear networks with one hidden layer, exactly: their infinite-width training is that of a finite linear network.

For ``f = Vᵀ U x / n`` with Gaussian U, V the columns of U_t and V_t stay in the span of those of U_0 and V_0. Their inner
products are those of the coordinate vectors of a space of d + k dimensions, so the limit *is* the linear network of width
d + k with U_0 = [σ_u I; 0], V_0 = [0; σ_v I] and no 1/n.

Memory: (d + k)² numbers, twice that with momentum, where d counts the input coordinates that some row has and k the outputs
that can ever have a slope. Time of a step: O((d + k) B (a + b)) where a input coordinates and b targets of the batch are not
zero. b is k for the losses mse and xent, whose gradients have no zeros, and a is d, b is k with momentum or weight decay.
Nothing else grows with the steps.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 6 and Appendix (Word2Vec, MAML).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import LimitError, Message, Span
from tp.program.ir import Moment, Nonlin, Program, Ref, Weight
from tp.readings.loss_slope import loss_and_slope
from tp.readings.orders import output_orders
from tp.readings.trained import Trained
from tp.transform.backprop import flat
from tp.transform.losses import NAMES

if TYPE_CHECKING:
    from tp.readings.training import TrainingRun

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """``f = c · avg(V U x)``: standard deviations, effective rates (per unit of lr) and the input's name."""

    input: str
    d: int
    k: int
    c: float
    std_u: float
    std_v: float
    rate_u: float
    rate_v: float
    span: Span


def recognised(run: TrainingRun) -> Linear | None:
    """A linear network with one hidden layer, or None. Raises ``LimitError`` for random outputs and where it diverges."""
    if run.entrywise is not None or run.nesterov or len(run.X) != 1:
        return None
    output_orders(run.normal)
    found = _shape(run.normal)
    return found if found is not None and len(run.coordinates) == found.k else None


def _shape(program: Program) -> Linear | None:
    instructions = [ins for ins, _ in flat(program.body)]
    *hidden, readout = instructions
    if len(program.weights) != 2 or len(program.spaces) != 1 or not isinstance(readout, Moment):
        return None
    expr = readout.expr
    for ins in reversed(hidden):
        if not isinstance(ins, Nonlin) or ins.space is None or ins.out.free_symbols:
            return None
        expr = expr.xreplace({ins.out: ins.expr})
    sums = [a for a in expr.atoms(sp.Sum) if len(a.limits) == 1]
    (n, *_) = sorted(readout.space.size.free_symbols, key=str)
    for v, u in ((program.weights[0], program.weights[1]), (program.weights[1], program.weights[0])):
        found = _bilinear(program, sp.expand_mul(readout.coeff * expr), sums, u, v, n)
        if found is not None:
            return found
    return None


def _bilinear(program: Program, expr: sp.Expr, sums: list[sp.Sum], u: Weight, v: Weight, n: sp.Symbol) -> Linear | None:
    """``c · n^p · V[k] Σ_j U[j] x[j]``, or without the sum where d = 1."""
    if any(w.cols is not None or w.rows is None or w.mean != 0 or w.frozen or len(w.domain) > 1 for w in (u, v)):
        return None
    data = program.data[0]
    if len(program.data) != 1 or len(data.domain) > 1 or len(data.domain) != len(u.domain):
        return None
    hole = sp.Symbol("hole")
    factor = expr
    for s in sums:
        index = s.limits[0][0]
        term = Ref(u.ref.name, index) * Ref(data.ref.name, index)
        const = sp.cancel(s.function / term)
        if not const.atoms(Ref) and index not in const.free_symbols:
            factor = factor.xreplace({s: const * hole})
    refs = [r for r in factor.atoms(Ref) if r.name == v.ref.name]
    if len(refs) != 1:
        return None
    c = sp.cancel(factor / (hole * refs[0]))
    if c.atoms(Ref) or c.free_symbols - {n}:
        return None
    return _numbers(data.ref.name, c, u, v, n)


def _numbers(name: str, c: sp.Expr, u: Weight, v: Weight, n: sp.Symbol) -> Linear:
    def at_infinity(expr: sp.Expr, what: str, span: Span) -> float:
        value = sp.limit(expr, n, sp.oo) if expr.has(n) else expr
        if not value.is_finite:
            reason = f"{what} grows with the width like {sp.powsimp(expr)}"
            raise LimitError(Message(span, reason, "lower the multiplier or the learning rate", "diverges with the width"))
        return float(value)

    sizes = [w.domain[0].hi - w.domain[0].lo + 1 if w.domain else sp.S.One for w in (u, v)]
    scale = at_infinity(c, "the output", v.span)
    std_u, std_v = (at_infinity(w.multiplier * sp.sqrt(w.variance), f"`{w.ref}`", w.span) for w in (u, v))
    rate_u, rate_v = (at_infinity(w.rate * w.multiplier**2 * c / n, f"the update of `{w.ref}`", w.span) for w in (u, v))
    return Linear(name, int(sizes[0]), int(sizes[1]), scale, std_u, std_v, rate_u, rate_v, u.span)


def train(run: TrainingRun, net: Linear) -> Trained:
    """Train the finite linear network that the limit is."""
    start = time.perf_counter()
    X, Y = run.X[net.input].reshape(run.samples, net.d), run.y.reshape(run.samples, net.k)
    seen = np.flatnonzero(X.any(axis=0))
    some = np.flatnonzero(Y.any(axis=0)) if NAMES.get(run.loss) == "logistic" else np.arange(net.k)
    idle = (net.k - len(some)) * math.log(2)
    X, Y = np.ascontiguousarray(X[:, seen]), np.ascontiguousarray(Y[:, some])
    test, times = X[list(run.test)], run.times
    state = Finite.limit(replace(net, d=len(seen), k=len(some)), run.momentum, run.decay)
    outputs, losses = np.zeros((len(times), len(test), net.k)), np.empty(len(times))
    kernels, row = np.empty((len(times), len(test), len(test))), 0
    with np.errstate(all="ignore"):
        for t in range(run.steps + 1):
            rows = list(run.batch(t))
            loss, pull = state.forward(X[rows], Y[rows], run.loss)
            if t == times[row]:
                hidden = state.hidden(test)
                outputs[row][:, some], kernels[row] = state.c * hidden.T @ state.V, hidden.T @ hidden
                losses[row], row = loss + idle, row + 1
            if not np.isfinite(loss) or not np.isfinite(outputs[row - 1]).all():
                reason = f"`f` is not finite at step {t}"
                raise LimitError(Message(net.span, reason, "lower the learning rate or the number of steps", "diverges"))
            if t < run.steps:
                state.step(pull, run.rates[t])
    width = len(seen) + len(some)
    size, seconds = 8 * width**2 * (2 if run.momentum else 1), round(time.perf_counter() - start, 3)
    details = {"width": width, "bytes": size, "seconds": seconds}
    zero = np.zeros_like
    return Trained(run.program.name, outputs, zero(outputs), losses, zero(losses), kernels, zero(kernels), "exact", details)


@dataclass
class Pull:
    """The gradients of a batch: U's is ``up right`` in the columns ``inputs``, V's ``hidden slope`` in ``outputs``."""

    inputs: NDArray[np.intp]
    outputs: NDArray[np.intp] | slice
    up: Array
    right: Array
    hidden: Array
    slope: Array


@dataclass
class Finite:
    """A linear network ``f = c Vᵀ U x`` with U : [m, d], V : [m, k], and its velocities; columns are contiguous.

    With m = d + k, U = [σ_u I; 0] and V = [0; σ_v I] it is the infinite-width limit of :func:`recognised` networks under any
    algorithm that adds combinations of gradients to the weights, meta-learning included: SGD here, others by ``gradients``.
    """

    U: Array
    V: Array
    c: float = 1.0
    rate_u: float = 1.0
    rate_v: float = 1.0
    momentum: float = 0.0
    decay: float = 0.0
    velocity: tuple[Array, Array] | None = None

    @classmethod
    def limit(cls, net: Linear, momentum: float = 0.0, decay: float = 0.0) -> Finite:
        """The network of width d + k."""
        U, V = (np.zeros((net.d + net.k, size), order="F") for size in (net.d, net.k))
        np.fill_diagonal(U, net.std_u)
        np.fill_diagonal(V[net.d :], net.std_v)
        velocity = (np.zeros_like(U), np.zeros_like(V)) if momentum else None
        return cls(U, V, net.c, net.rate_u, net.rate_v, momentum, decay, velocity)

    def hidden(self, X: Array) -> Array:
        """U x for every row: [m, rows]."""
        seen = np.flatnonzero(X.any(axis=0))
        return np.asarray(self.U.T[seen].T @ X[:, seen].T)  # a column lies in one piece

    def outputs(self, X: Array) -> Array:
        """[rows, k]."""
        return np.asarray(self.c * self.hidden(X).T @ self.V)

    def forward(self, X: Array, Y: Array, loss: Any) -> tuple[float, Pull]:
        """The mean loss of the rows and its gradients (up to c), by what is not zero.

        The logistic loss of an output with target 0 is log 2 whatever the output is: those without any other target are not
        computed. This is negative sampling, targets 1 for seen and −1 for drawn words.
        """
        seen = np.flatnonzero(X.any(axis=0))
        right = X[:, seen]
        hidden = self.U.T[seen].T @ right.T
        some: NDArray[np.intp] | slice = slice(None)
        if NAMES.get(loss) == "logistic":
            some = np.flatnonzero(Y.any(axis=0))
        V = self.V.T[some].T
        value, slope = loss_and_slope(loss, self.c * hidden.T @ V, Y[:, some])
        value += (Y.shape[1] - V.shape[1]) * math.log(2)
        return value, Pull(seen, some, V @ slope.T, right, hidden, slope)

    def gradients(self, X: Array, Y: Array, loss: Any) -> tuple[Array, Array]:
        """∂loss/∂U and ∂loss/∂V of the mean loss of the rows, in full, times ``rate_u`` and ``rate_v``."""
        _, pull = self.forward(X, Y, loss)
        du, dv = np.zeros_like(self.U), np.zeros_like(self.V)
        du[:, pull.inputs] = self.rate_u * pull.up @ pull.right
        dv[:, pull.outputs] = self.rate_v * pull.hidden @ pull.slope
        return du, dv

    def step(self, pull: Pull, rate: float) -> None:
        """One update by the gradients of ``forward``."""
        from scipy.linalg.blas import dgemm

        eta_u, eta_v, keep = rate * self.rate_u, rate * self.rate_v, 1 - self.decay
        if self.velocity is not None:
            self._heavy(pull, eta_u, eta_v, keep)
            return
        if self.decay:
            self.U *= keep
            self.V *= keep
        self.U.T[pull.inputs] -= (eta_u * pull.right.T) @ pull.up.T
        if isinstance(pull.outputs, slice):
            self.V = dgemm(-eta_v, pull.hidden, pull.slope, beta=1.0, c=self.V, overwrite_c=1)
        else:
            self.V.T[pull.outputs] -= (eta_v * pull.slope.T) @ pull.hidden.T

    def _heavy(self, pull: Pull, eta_u: float, eta_v: float, keep: float) -> None:
        assert self.velocity is not None
        vu, vv = self.velocity
        vu *= self.momentum
        vv *= self.momentum
        vu.T[pull.inputs] += pull.right.T @ pull.up.T
        vv.T[pull.outputs] += pull.slope.T @ pull.hidden.T
        for weight, velocity, eta in ((self.U, vu, eta_u), (self.V, vv, eta_v)):
            weight *= keep
            weight -= eta * velocity
