"""Functions of numbers, coordinate by coordinate: value and partial derivatives in NumPy.

Keyed by the name of the SymPy function, so that this page depends on none of them. Conventions where there is no
derivative: ``relu'(0) = 0``, ``abs'(0) = 0``, and the derivative of a step is 0, as in automatic differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Function = Callable[..., Any]

_ERF, _ERFC = np.frompyfunc(math.erf, 1, 1), np.frompyfunc(math.erfc, 1, 1)
MANY = 1000
"""Numbers above which it pays to import SciPy."""


def erf(z: Any) -> Any:
    """2/√π ∫₀ᶻ exp(-t²) dt, to the last bit or two."""
    if np.size(z) > MANY:
        from scipy.special import erf as of_array

        return of_array(z)
    return np.asarray(_ERF(z), dtype=np.float64)[()]


def normal_pdf(z: Any) -> Any:
    """φ(z) = exp(-z²/2)/√(2π)."""
    return np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def normal_cdf(z: Any) -> Any:
    """Φ(z) = ½ erfc(-z/√2), which keeps its digits in the lower tail."""
    if np.size(z) > MANY:
        from scipy.special import ndtr

        return ndtr(z)
    return 0.5 * np.asarray(_ERFC(z * -math.sqrt(0.5)), dtype=np.float64)[()]


def sigmoid(z: Any) -> Any:
    """1/(1 + exp(-z)), written so that nothing overflows."""
    return 0.5 * (1 + np.tanh(0.5 * z))


def elu(z: Any, alpha: Any = 1.0) -> Any:
    """z for z > 0, α (exp(z) - 1) otherwise."""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def leaky_relu(z: Any, alpha: Any) -> Any:
    """z for z > 0, α z otherwise."""
    return np.where(z > 0, z, alpha * z)


def hermite(k: Any, z: Any) -> Any:
    """h_k = He_k/√k!, orthonormal under the Gaussian: √(k+1) h_{k+1} = z h_k - √k h_{k-1}."""
    before, now = np.zeros_like(z), np.ones_like(z)
    for j in range(int(k)):
        before, now = now, (z * now - math.sqrt(j) * before) / math.sqrt(j + 1)
    return now


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A function and its partial derivatives, one per argument (None: constant in that argument)."""

    value: Function
    partials: tuple[Function | None, ...]


def _zero(z: Any, *rest: Any) -> Any:
    return 0.0 * z


TABLE: dict[str, Elementwise] = {
    "exp": Elementwise(np.exp, (np.exp,)),
    "log": Elementwise(np.log, (lambda z: 1 / z,)),
    "sin": Elementwise(np.sin, (np.cos,)),
    "cos": Elementwise(np.cos, (lambda z: -np.sin(z),)),
    "tan": Elementwise(np.tan, (lambda z: 1 / np.cos(z) ** 2,)),
    "tanh": Elementwise(np.tanh, (lambda z: 1 - np.tanh(z) ** 2,)),
    "sinh": Elementwise(np.sinh, (np.cosh,)),
    "cosh": Elementwise(np.cosh, (np.sinh,)),
    "atan": Elementwise(np.arctan, (lambda z: 1 / (1 + z * z),)),
    "erf": Elementwise(erf, (lambda z: 2 / math.sqrt(math.pi) * np.exp(-z * z),)),
    "Abs": Elementwise(np.abs, (np.sign,)),
    "sign": Elementwise(np.sign, (_zero,)),
    "step": Elementwise(lambda z: np.where(z > 0, 1.0, 0.0), (_zero,)),
    "Heaviside": Elementwise(lambda z, at_zero=0.5: np.heaviside(z, at_zero), (_zero, None)),
    "relu": Elementwise(lambda z: np.maximum(z, 0.0), (lambda z: np.where(z > 0, 1.0, 0.0),)),
    "gelu": Elementwise(lambda z: z * normal_cdf(z), (lambda z: normal_cdf(z) + z * normal_pdf(z),)),
    "normal_cdf": Elementwise(normal_cdf, (normal_pdf,)),
    "normal_pdf": Elementwise(normal_pdf, (lambda z: -z * normal_pdf(z),)),
    "sigmoid": Elementwise(sigmoid, (lambda z: sigmoid(z) * sigmoid(-z),)),
    "softplus": Elementwise(lambda z: np.logaddexp(0.0, z), (sigmoid,)),
    "silu": Elementwise(lambda z: z * sigmoid(z), (lambda z: sigmoid(z) * (1 + z * sigmoid(-z)),)),
    "elu": Elementwise(
        elu,
        (lambda z, a=1.0: np.where(z > 0, 1.0, a * np.exp(np.minimum(z, 0))), lambda z, a: np.expm1(np.minimum(z, 0))),
    ),
    "leaky_relu": Elementwise(
        leaky_relu,
        (lambda z, a: np.where(z > 0, 1.0, a), lambda z, a: np.minimum(z, 0.0)),
    ),
    "hermite": Elementwise(hermite, (None, lambda k, z: math.sqrt(k) * hermite(k - 1, z) if k > 0 else 0.0 * z)),
}
