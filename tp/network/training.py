"""The ``train`` line: a known optimizer, known options, each once and with a value that can be."""

from __future__ import annotations

from tp.network import faults
from tp.network.constants import Number
from tp.network.diagnostics import listing, locate, nearest
from tp.network.names import Declarations, Report
from tp.network.references import References, Scope
from tp.network.show import show
from tp.network.tree import Expr, Name
from tp.network.values import number, shown
from tp.network.walk import walk

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw", "sign", "rmsprop", "adagrad", "lion")
LOSSES = ("mse", "logistic", "xent", "cross_entropy")
OPTIONS = ("loss", "steps", "lr", "batch", "momentum", "beta", "beta1", "beta2", "eps", "weight_decay")
SAME = {"beta": "momentum"}
COUNTS = {"steps": 0, "batch": 1}
"""Options that are whole numbers, and the least of each."""


def check_training(d: Declarations, references: References, values: dict[str, Number], report: Report) -> None:
    """Report what is wrong with the ``train`` line, where there is one."""
    train = d.train
    if train is None:
        return
    if train.optimizer not in OPTIMIZERS:
        hint = nearest(train.optimizer, OPTIMIZERS) or f"known are {listing(f'`{o}`' for o in OPTIMIZERS)}"
        report(faults.UnknownOptimizer(locate(train.span, train.optimizer, " "), train.optimizer, hint))
    seen = set[str]()
    for key, e in train.options:
        if SAME.get(key, key) in seen:
            report(faults.GivenTwice(e.span, f"`{key}`"))
        elif key not in OPTIONS:
            hint = nearest(key, OPTIONS) or f"known are {listing(f'`{o}`' for o in OPTIONS)}"
            report(faults.UnknownOption(locate(train.span, key), key, hint))
        elif key == "loss":
            _loss(e, report)
        elif not (key == "batch" and e == Name("full")):
            _value(key, e, references, values, report)
        seen.add(SAME.get(key, key))


def _loss(e: Expr, report: Report) -> None:
    """A loss by name, or an expression in ``f`` and ``y``."""
    names = {x.name for x in walk(e) if isinstance(x, Name)}
    if (isinstance(e, Name) and e.name in LOSSES) or (names and names <= {"f", "y", "pi"}):
        return
    near = nearest(e.name, LOSSES) if isinstance(e, Name) else ""
    known = f"known are {listing(f'`{x}`' for x in LOSSES)}, or write it in the output `f` and the target `y`: `abs(f - y)`"
    report(faults.UnknownLoss(e.span, show(e), near or known))


def _value(key: str, e: Expr, references: References, values: dict[str, Number], report: Report) -> None:
    if not references.expr(e, Scope(constant=f"`{key}`")):
        return
    value = number(e, values, report)
    if value is not None and key in COUNTS and (value != int(value) or value < COUNTS[key]):
        report(faults.NotWhole(e.span, show(e), shown(value), f" of at least {COUNTS[key]}"))
