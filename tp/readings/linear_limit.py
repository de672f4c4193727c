"""Linear networks with one hidden layer, exactly: their infinite-width training is that of a finite linear network.

For ``f = Vᵀ U x / n`` with Gaussian U, V the columns of U_t and V_t stay in the span of those of U_0 and V_0. Their inner
products are those of the coordinate vectors of a space of d + k dimensions, so the limit *is* the linear network of width
d + k with U_0 = [σ_u I; 0], V_0 = [0; σ_v I] and no 1/n.

Memory: (d + k)² numbers, twice that with momentum. Time of a step: O((d + k) B (a + k)) where a is the number of input
coordinates that are not zero in the batch, linear in the steps; with momentum or weight decay a is d.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 6 and Appendix (Word2Vec, MAML).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import LimitError, Message, Span
from tp.program.ir import Moment, Nonlin, Program, Ref, Weight
from tp.readings.orders import output_orders
from tp.readings.trained import Trained
from tp.transform.backprop import flat
from tp.transform.losses import NAMES
from tp.transform.normalize import normalize

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
    if run.sign or run.adam or not isinstance(run.loss, str) or NAMES.get(run.loss) is None or len(run.X) != 1:
        return None
    if NAMES[run.loss] == "xent" and len(run.coordinates) == 1:
        return None
    program = normalize(run.program)
    output_orders(program)
    found = _shape(program)
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
    X = run.X[net.input].reshape(run.samples, net.d)
    Y = run.y.reshape(run.samples, net.k)
    test = X[list(run.test)]
    state = _State(net, run.momentum, run.decay)
    outputs = np.empty((run.steps + 1, len(test), net.k))
    losses = np.empty(run.steps + 1)
    kernels = np.empty((run.steps + 1, len(test), len(test)))
    seen = np.flatnonzero(test.any(axis=0))
    with np.errstate(all="ignore"):
        for t in range(run.steps + 1):
            hidden = state.U[:, seen] @ test[:, seen].T
            outputs[t], kernels[t] = net.c * hidden.T @ state.V, hidden.T @ hidden
            rows = list(run.batch(t))
            losses[t], slope = loss_and_slope(run.loss, state.outputs(X[rows]), Y[rows])
            if not np.isfinite(outputs[t]).all() or not np.isfinite(losses[t]):
                reason = f"`f` is not finite at step {t}"
                raise LimitError(Message(net.span, reason, "lower the learning rate or the number of steps", "diverges"))
            if t < run.steps:
                state.step(X[rows], slope, run.rates[t])
    seconds = round(time.perf_counter() - start, 3)
    details = {"width": net.d + net.k, "bytes": 8 * (net.d + net.k) ** 2 * (2 if run.momentum else 1), "seconds": seconds}
    zero = np.zeros_like
    return Trained(run.program.name, outputs, zero(outputs), losses, zero(losses), kernels, zero(kernels), "exact", details)


class _State:
    """U : [d + k, d] and V : [d + k, k] of the finite network, and their velocities; columns are contiguous."""

    def __init__(self, net: Linear, momentum: float, decay: float) -> None:
        self.net, self.momentum, self.decay = net, momentum, decay
        self.U = np.zeros((net.d + net.k, net.d), order="F")
        self.V = np.zeros((net.d + net.k, net.k), order="F")
        np.fill_diagonal(self.U, net.std_u)
        np.fill_diagonal(self.V[net.d :], net.std_v)
        self.velocity = (np.zeros_like(self.U), np.zeros_like(self.V)) if momentum else None

    def outputs(self, X: Array) -> Array:
        self.seen = np.flatnonzero(X.any(axis=0))
        self.hidden = self.U[:, self.seen] @ X[:, self.seen].T
        return np.asarray(self.net.c * self.hidden.T @ self.V)

    def step(self, X: Array, slope: Array, rate: float) -> None:
        """One update; ``slope`` is ∂loss/∂f of the rows last given to ``outputs``."""
        from scipy.linalg.blas import dgemm

        seen, keep = self.seen, 1 - self.decay
        du = (self.V @ slope.T) @ X[:, seen]
        eta_u, eta_v = rate * self.net.rate_u, rate * self.net.rate_v
        if self.decay:
            self.U *= keep
        if self.velocity is None:
            self.U[:, seen] -= eta_u * du
            self.V = dgemm(-eta_v, self.hidden, slope, beta=keep, c=self.V, overwrite_c=1)
            return
        vu, vv = self.velocity
        vu *= self.momentum
        vu[:, seen] += du
        vv = dgemm(1.0, self.hidden, slope, beta=self.momentum, c=vv, overwrite_c=1)
        self.velocity = (vu, vv)
        self.U -= eta_u * vu
        self.V *= keep
        self.V -= eta_v * vv


def loss_and_slope(loss: str, f: Array, y: Array) -> tuple[float, Array]:
    """The mean loss over rows and its derivative by ``f``."""
    rows = len(f)
    match NAMES[loss]:
        case "mse":
            return float(np.sum((f - y) ** 2) / 2 / rows), (f - y) / rows
        case "logistic":
            return float(np.sum(np.logaddexp(0, -y * f)) / rows), -y / (1 + np.exp(y * f)) / rows
        case _:
            top = f.max(axis=1, keepdims=True)
            whole = top + np.log(np.exp(f - top).sum(axis=1, keepdims=True))
            total = y.sum(axis=1, keepdims=True)
            return float(np.sum(total * whole - (y * f).sum(axis=1, keepdims=True)) / rows), (
                total * np.exp(f - whole) - y
            ) / rows
