"""The lazy curve of a training run: kernel gradient descent with the tangent kernel at initialization.

    u_{t+1} = β u_t + Θ(·, X_t) ∂L/∂f_t,   f_{t+1} = f_t − η_t u_{t+1},

the training of the network's linearization around its initial weights. In a kernel parametrization (NTP) it *is* the limit
of the network's training, given its random f₀; where features are learned it is what their learning departs from.

Source: Jacot, Gabriel & Hongler 2018, *Neural Tangent Kernel*; Yang & Littwin 2021, *Tensor Programs IIb*; Yang & Hu 2021,
*Tensor Programs IV*, Corollary 3.10 (the dichotomy).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.readings.loss_slope import loss_and_slope
from tp.readings.trained import Trained

if TYPE_CHECKING:
    from tp.readings.training import TrainingRun

Array = NDArray[np.float64]
PLAIN = "train with --optimizer sgd or momentum and without --decay"


def lazy(run: TrainingRun, f0: Any = None) -> Trained:
    """See :meth:`tp.readings.training.TrainingRun.lazy`."""
    start = time.perf_counter()
    theta, outputs = tangent_kernel(run), len(run.coordinates)
    f, Y = initial(run, f0), run.y.reshape(run.samples, outputs)
    velocity = np.zeros_like(f)
    found, losses, row = np.empty((len(run.times), len(run.test), outputs)), np.empty(len(run.times)), 0
    with np.errstate(all="ignore"):
        for t in range(run.steps + 1):
            rows = list(run.batch(t))
            loss, slope = loss_and_slope(run.loss, f[rows], Y[rows])
            if t == run.times[row]:
                found[row], losses[row], row = f[list(run.test)], loss, row + 1
            if not np.isfinite(f).all():
                remedy = "lower the learning rate or the number of steps"
                raise LimitError(Message(NOWHERE, f"the lazy curve is not finite at step {t}", remedy, "diverges"))
            if t < run.steps:
                velocity = run.momentum * velocity + theta[:, rows] @ slope
                f = f - run.rates[t] * velocity
    details = {"seconds": round(time.perf_counter() - start, 3)}
    zero = np.zeros_like
    return Trained(run.program.name, found, zero(found), losses, zero(losses), None, None, "lazy (tangent kernel)", details)


def tangent_kernel(run: TrainingRun) -> Array:
    """Θ [rows, rows] of the network as written, all rates included. Raises ``LimitError`` where it has no Θ(1) limit."""
    from tp.kernel.build import build
    from tp.limit.independence import gradient_dependence
    from tp.limit.take import take_limit
    from tp.limit.zcalculus.pairs import needs_pairs, pair_kernel

    if run.entrywise is not None or run.nesterov or run.decay:
        raise _none("kernel gradient descent needs plain gradients", 'train with "sgd" or "momentum" and without decay', PLAIN)
    limit = take_limit(run.program, ("K", "Theta"), True)
    power = limit.power["Theta"]
    if power != 0:
        remedy = 'choose multipliers and rates with a Θ(1) kernel: net.train(…, parametrization="ntp"), or those of net.mup()'
        command = "choose multipliers and rates with a Θ(1) kernel: --parametrization ntp or mup"
        raise _none(f"the tangent kernel as written is of size n^({power})", remedy, command)
    pairs = gradient_dependence(run.program) is not None and needs_pairs(limit)
    kernel: Any = pair_kernel(limit, ("Theta",), {}) if pairs else build(limit, ("Theta",))
    theta = np.asarray(kernel(dict(run.X)))
    if theta.ndim != 2:
        raise _none("the outputs share their read-out, and their joint kernel is not known", "train one output")
    return theta


def initial(run: TrainingRun, f0: Any) -> Array:
    """f₀ [rows, outputs]: 0, or what the user has of it for the rows of X and then the other test rows."""
    shape = (run.samples, len(run.coordinates))
    if f0 is None:
        return np.zeros(shape)
    try:
        given = np.asarray(f0, dtype=np.float64)
    except (TypeError, ValueError):
        given = np.empty(0)
    if given.size != shape[0] * shape[1] or not np.isfinite(given).all():
        reason = f"`f0` has shape {list(given.shape)}, wanted {list(shape)} finite numbers"
        raise DataError(Message(NOWHERE, reason, "initial outputs on the rows of X, then on the other test rows", "wrong shape"))
    return given.reshape(shape).copy()


def _none(reason: str, remedy: str, command: str = "") -> LimitError:
    return LimitError(Message(NOWHERE, reason, remedy, "no lazy curve", command))
