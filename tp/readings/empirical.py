"""Empirical kernels: what one finite-width draw says about K and Theta.

``Theta(i, j) = Σ_params rate ⟨∂f(i), ∂f(j)⟩``, the gradients taken in the stored parameters ``w`` of
``W = multiplier * w``, tied weights once, however often they are used. Kernels are per output coordinate: one scalar
member f against one, by default the first member of the first output against itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message
from tp.program.ir import Ref
from tp.readings.dependence import affine_weights
from tp.readings.gradient import Gradient, gradient
from tp.readings.indexing import Key
from tp.readings.simulate import Drawn, Run

Array = NDArray[np.float64]

KINDS = ("K", "Theta")
MODES = ("ntk", "as written")


def kernels_of(
    run: Run,
    kinds: Sequence[str] = KINDS,
    mode: str = "ntk",
    output: str | Ref | Key | None = None,
    against: str | Ref | Key | None = None,
) -> dict[str, Array]:
    """``kind -> [N, N]`` with rows for the samples of ``output`` and columns for those of ``against``.

    ``mode`` "ntk" reads ``~ N(0, V)`` as ``sqrt(V) * w``, w standard normal with rate 1; "as written" as it stands.
    """
    for given, known in [(kind, KINDS) for kind in kinds] + [(mode, MODES)]:
        if given not in known:
            raise DataError(Message(NOWHERE, f"there is no {given!r}", f"choose from {', '.join(known)}", "unknown choice"))
    f = gradient(run, _first_output(run) if output is None else run.key(output))
    g = f if against is None else gradient(run, run.key(against))
    reading = {"K": lambda: covariance(f, g), "Theta": lambda: tangent(f, g, mode)}
    return {kind: reading[kind]() for kind in kinds}


def _first_output(run: Run) -> Key:
    return run.members(run.program.outputs[0])[0]


def tangent(f: Gradient, g: Gradient, mode: str = "ntk") -> Array:
    """Θ(i, j) = Σ_w rate ⟨∂f(i)/∂w, ∂g(j)/∂w⟩ over the weights that are trained.

    Source: Jacot, Gabriel, Hongler 2018.
    """
    run = f.run
    total = np.zeros((run.samples, run.samples))
    for key, drawn in run.weights.items():
        if not drawn.weight.frozen:
            total += speed(drawn, mode) * f.inner(g, key)
    return total


def speed(drawn: Drawn, mode: str) -> float:
    """``rate * (∂W/∂w)²``: how fast the weight W moves along its gradient when w is trained at its rate."""
    if drawn.weight.short and mode == "ntk":
        return drawn.variance
    return drawn.rate * drawn.multiplier**2


def covariance(f: Gradient, g: Gradient) -> Array:
    """E[f(i) g(j)] over the weights in which f and g are affine, all others as drawn.

    For ``f = v·φ``, ``v ~ N(0, V)``, this is V ⟨φ(i), φ(j)⟩: an average over the width, where f(i) f(j) would be one
    draw of a random variable. Where there is no such weight it is f(i) g(j).
    """
    run = f.run
    free = affine_weights(run, (f.output, g.output))
    total = np.outer(_mean(f, free), _mean(g, free))
    for key in free:
        drawn = run.weights[key]
        total += drawn.variance * drawn.multiplier**2 * f.inner(g, key)
    return total


def _mean(f: Gradient, free: frozenset[Key]) -> Array:
    """f with the weights ``free``, in which it is affine, put at their means."""
    run = f.run
    mean = np.array(run[f.output])
    for key in free & f.dense.keys():
        drawn = run.weights[key]
        offset = run[key] - drawn.multiplier * drawn.mean
        mean -= (f.dense[key] * offset).reshape(run.samples, -1).sum(axis=1)
    return mean
