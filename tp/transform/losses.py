"""Losses of one sample: scalars of the outputs ``f`` and the targets ``y``, summed over output coordinates.

``mse`` is ½(f − y)², ``logistic`` log(1 + exp(−y f)) with y = ±1, ``xent`` −Σ_k y_k log softmax(f)_k. Any other loss of one
coordinate is an expression in ``f`` and ``y``, written in the language of specs or given as a SymPy expression.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from tp.errors import NOWHERE, DataError, Message, SpecError, under
from tp.program.ir import Domain, Nonlin, Ref, Sum

REMEDY = 'give "mse", "logistic", "xent", or an expression in f and y such as "abs(f - y)"'
COMMAND = 'give --loss mse, logistic, xent, or an expression in f and y such as "abs(f - y)"'
Loss = Callable[[Ref, Ref, Domain], sp.Expr]
"""The loss of a sample: of its output family, its targets and the ranges of their indices."""

PREDICTION, TARGET = sp.Symbol("f", real=True), sp.Symbol("y", real=True)
NAMES = {"mse": "mse", "logistic": "logistic", "xent": "xent", "cross_entropy": "xent"}


def loss_named(loss: Any) -> Loss:
    """The loss that a name, a text or a SymPy expression in ``f`` and ``y`` stands for.

    Raises ``DataError`` for what is none of these.
    """
    if isinstance(loss, sp.Expr):
        return coordinatewise(_own(loss))
    if not isinstance(loss, str):
        raise _unknown(f"the loss is a {type(loss).__name__}")
    if loss not in NAMES:
        return coordinatewise(_parsed(loss))
    if NAMES[loss] == "xent":
        return cross_entropy
    from tp.gaussian.functions import softplus

    return coordinatewise((PREDICTION - TARGET) ** 2 / 2 if NAMES[loss] == "mse" else softplus(-TARGET * PREDICTION))


def coordinatewise(loss: sp.Expr) -> Loss:
    """Σ_k ℓ(f_k, y_k)."""

    def total(f: Ref, y: Ref, ranges: Domain) -> sp.Expr:
        return _summed(loss.subs({PREDICTION: f, TARGET: y}, simultaneous=True), ranges)

    return total


def cross_entropy(f: Ref, y: Ref, ranges: Domain) -> sp.Expr:
    """−Σ_k y_k log softmax(f)_k = (Σ_k y_k) log Σ_k exp f_k − Σ_k y_k f_k."""
    if not ranges:
        reason = "cross entropy compares several outputs, and the network has one"
        raise DataError(
            Message(
                NOWHERE,
                reason,
                'use loss="logistic" with targets ±1, or `output f = V @ h` with V : [k, n]',
                "loss",
                "use --loss logistic with targets ±1, or `output f = V @ h` with V : [k, n]",
            )
        )
    return _summed(y, ranges) * sp.log(_summed(sp.exp(f), ranges)) - _summed(y * f, ranges)


def _summed(expr: sp.Expr, ranges: Domain) -> sp.Expr:
    return Sum(expr, *((r.index, r.lo, r.hi) for r in reversed(ranges))) if ranges else expr


def _own(loss: sp.Expr) -> sp.Expr:
    """The expression over our own symbols, which are told by their names."""
    strange = sorted({str(s) for s in loss.free_symbols} - {"f", "y"})
    if strange:
        raise _unknown(f"the loss `{loss}` uses {', '.join(f'`{s}`' for s in strange)}")
    return loss.xreplace({s: PREDICTION if s.name == "f" else TARGET for s in loss.free_symbols})


def _parsed(text: str) -> sp.Expr:
    """A text in the language of specs; nothing of it is ever executed."""
    from tp.network.check import check
    from tp.network.parse import parse
    from tp.program.lower import lower

    if "\n" in text or "#" in text or len(text) > 1000:
        raise _unknown("the text of a loss is one short line")
    spec = f"network loss\n  width n\n  input f : []\n  input y : []\n  output value = {text}\n"
    try:
        program = lower(check(parse(spec, "<loss>")))
    except SpecError as error:
        raise _unreadable(text, error) from None
    (ins,) = program.body[-1:]
    if not isinstance(ins, Nonlin) or len(program.body) != 1:
        raise _unknown(f"the loss `{text}` is no function of f and y")
    return ins.expr.xreplace({Ref("f"): PREDICTION, Ref("y"): TARGET})


def _unreadable(text: str, error: SpecError) -> DataError:
    """What is wrong with the text of a loss, with a caret under that text."""
    span, reason = under(text, "loss", len("  output value = "), error)
    return DataError(Message(span, reason, REMEDY, "unknown loss", COMMAND))


def _unknown(reason: str) -> DataError:
    return DataError(Message(NOWHERE, reason, REMEDY, "unknown loss", COMMAND))
