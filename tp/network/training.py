"""The ``train`` line: a known optimizer, known options, each once."""

from __future__ import annotations

from tp.network import faults
from tp.network.diagnostics import listing, locate, nearest
from tp.network.names import Declarations, Report
from tp.network.references import References, Scope
from tp.network.tree import Expr, Name

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw", "sign", "rmsprop", "adagrad", "lion")
LOSSES = ("mse", "cross_entropy", "logistic", "hinge")
OPTIONS = (
    "loss", "steps", "lr", "batch", "beta", "beta1", "beta2", "eps", "momentum", "weight_decay", "nesterov",
)  # fmt: skip
WORDS = {"batch": ("full",), "loss": LOSSES}


def check_training(d: Declarations, references: References, report: Report) -> None:
    """Report what is wrong with the ``train`` line, where there is one."""
    train = d.train
    if train is None:
        return
    if train.optimizer not in OPTIMIZERS:
        hint = nearest(train.optimizer, OPTIMIZERS) or f"known are {listing(f'`{o}`' for o in OPTIMIZERS)}"
        report(faults.UnknownOptimizer(locate(train.span, train.optimizer, " "), train.optimizer, hint))
    seen = set[str]()
    for key, e in train.options:
        if key in seen:
            report(faults.GivenTwice(e.span, f"`{key}`"))
        elif key not in OPTIONS:
            hint = nearest(key, OPTIONS) or f"known are {listing(f'`{o}`' for o in OPTIONS)}"
            report(faults.UnknownOption(locate(train.span, key), key, hint))
        else:
            _value(key, e, references, report)
        seen.add(key)


def _value(key: str, e: Expr, references: References, report: Report) -> None:
    if key == "loss":
        if not isinstance(e, Name) or e.index or e.name not in LOSSES:
            near = nearest(e.name, LOSSES) if isinstance(e, Name) else ""
            name = e.name if isinstance(e, Name) else "…"
            report(faults.UnknownLoss(e.span, name, near or f"known are {listing(f'`{x}`' for x in LOSSES)}"))
    elif not (isinstance(e, Name) and e.name in WORDS.get(key, ())):
        references.expr(e, Scope(constant=f"`{key}`"))
