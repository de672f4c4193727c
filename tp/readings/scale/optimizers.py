"""Optimizers, by the one thing that scaling needs: how large an update is, given the gradient.

A matrix's gradient is a sum of outer products d xᵀ. ``none`` uses it as it is; ``entries`` divides it by the size of its entries;
``spectral`` by its spectral norm. An update is then n^(-u) times that, u = 2a + c for an optimizer that follows the
gradient's size (the gradient of w is n^(-a) times that of W = n^(-a) w) and u = a + c for one that does not.

To add an optimizer, add a line.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 3.2; Yang & Littwin 2023, *Tensor Programs IVb*, Definition 2.4.1
(entrywise updates); Yang, Simon & Bernstein 2023, *A Spectral Condition for Feature Learning* (orthogonalised ones).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from fractions import Fraction

from tp.errors import NOWHERE, DataError, LimitError, Message


@dataclass(frozen=True, slots=True)
class Optimizer:
    """``normalised`` is how matrices' updates are; other tensors' are ``entries`` unless it is ``none``."""

    name: str
    normalised: str  # "none" | "entries" | "spectral"
    epsilon: bool = False
    decay: bool = False

    @property
    def degree(self) -> int:
        """How often the multiplier counts in an update of the effective weight: u = degree · a + c."""
        return 2 if self.normalised == "none" else 1


OPTIMIZERS = {
    o.name: o
    for o in (
        Optimizer("sgd", "none"),
        Optimizer("momentum", "none"),
        Optimizer("nesterov", "none"),
        Optimizer("sign", "entries"),
        Optimizer("lion", "entries", decay=True),
        Optimizer("rmsprop", "entries", epsilon=True),
        Optimizer("adam", "entries", epsilon=True),
        Optimizer("adamw", "entries", epsilon=True, decay=True),
        Optimizer("adafactor", "entries", epsilon=True),
        Optimizer("muon", "spectral", decay=True),
        Optimizer("shampoo", "spectral", epsilon=True),
    )
}


def optimizer(name: str) -> Optimizer:
    """The optimizer of that name; ``LimitError`` for one without a rule, ``DataError`` for a slip of the pen."""
    if name not in OPTIMIZERS:
        reason = f"the optimizer `{name}` has no rule for how large its updates are"
        near = difflib.get_close_matches(str(name), OPTIMIZERS, 1)
        if near:
            remedy = f"did you mean `{near[0]}`?"
            raise DataError(Message(NOWHERE, f"there is no optimizer `{name}`", remedy, "unknown optimizer"))
        remedy = f"rules are known for {', '.join(OPTIMIZERS)}"
        raise LimitError(Message(NOWHERE, reason, remedy, "no scaling rule"))
    return OPTIMIZERS[name]


def exponent(opt: Optimizer, a: Fraction, c: Fraction) -> Fraction:
    """u, the update's exponent: what of (a, c) does not change under the symmetry of parametrizations."""
    return opt.degree * a + c
