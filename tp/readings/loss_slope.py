"""The mean of a loss over rows, and its derivative by the outputs, for arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.program.derivative import derivative
from tp.program.ir import Ref
from tp.readings.expression import Compiler
from tp.readings.ops import Frame
from tp.transform.losses import NAMES, loss_named

Array = NDArray[np.float64]


def loss_and_slope(loss: Any, f: Array, y: Array) -> tuple[float, Array]:
    """Of any loss (see :mod:`tp.transform.losses`), for outputs and targets [rows, outputs]."""
    rows = len(f)
    match NAMES.get(loss) if isinstance(loss, str) else None:
        case "mse":
            return float(np.sum((f - y) ** 2) / 2 / rows), (f - y) / rows
        case "logistic":
            return float(np.sum(np.logaddexp(0, -y * f)) / rows), -y / (1 + np.exp(y * f)) / rows
        case "xent":
            top = f.max(axis=1, keepdims=True)
            powers = np.exp(f - top)
            whole = powers.sum(axis=1, keepdims=True)
            total = y.sum(axis=1, keepdims=True)
            loss = np.sum(total * (np.log(whole) + top)) - np.sum(y * f)
            return float(loss / rows), (powers * (total / whole) - y) / rows
        case _:
            return _written(loss, f, y)


def _written(loss: Any, f: Array, y: Array) -> tuple[float, Array]:
    expr, values, compiler = loss_named(loss)(Ref("f"), Ref("y"), ()), _Values(f, y), Compiler()

    def value(e: sp.Expr) -> Array:
        found = Frame({}, values, vector=False).value(compiler.op(e))
        return np.broadcast_to(np.asarray(found, dtype=np.float64), f.size)

    return float(value(expr).sum() / len(f)), value(derivative(expr, Ref("f"))).reshape(f.shape) / len(f)


@dataclass(frozen=True)
class _Values:
    """What a loss reads."""

    f: Array
    y: Array

    def read(self, key: Any) -> Array:
        return self.f.ravel() if key[0] == "f" else self.y.ravel()
