"""What a training run is asked for, checked: ``prepare``, and what the ``train`` line of a spec sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message, with_values
from tp.network.constants import evaluate
from tp.network.show import show
from tp.network.training import COUNTS
from tp.network.tree import Name, Train
from tp.network.values import lookup
from tp.program.ir import Program
from tp.readings.expression import Compiler
from tp.readings.inputs import numbers_of, samples_of
from tp.readings.training import TrainingRun, output_indices
from tp.regression import told_of_classes
from tp.transform.backprop import flat
from tp.transform.entrywise import BETAS, NAMES, Entrywise, entrywise, reads
from tp.transform.losses import cross_entropy, loss_named
from tp.transform.parametrize import parametrize

if TYPE_CHECKING:
    from tp.readings.scale.infer import Engine

Array = NDArray[np.float64]
LINEAR = ("sgd", "momentum", "nesterov")
"""Optimizers that are linear in the gradients."""
NUMBER = (int, float, np.integer, np.floating)
LONGEST = 500
"""Steps of an entrywise optimizer at most: every update is a function of all gradients before it."""


def prepare(
    program: Program,
    X: Mapping[str, Any],
    y: Any,
    steps: int | None = None,
    lr: float | Sequence[float] | None = None,
    loss: Any = "mse",
    batches: int | Sequence[Sequence[int]] | None = None,
    X_test: Mapping[str, Any] | None = None,
    optimizer: Any = "sgd",
    momentum: float | None = None,
    decay: float = 0.0,
    betas: Sequence[float] | None = None,
    eps: float | None = None,
    every: int = 1,
) -> TrainingRun:
    """A checked training run; see :meth:`tp.net.Net.train`. Raises ``DataError`` for what does not fit."""
    _check_program(program)
    steps, rates = _schedule(steps, lr, every)
    compiler = Compiler()
    env = numbers_of(program, {})
    rows, _ = samples_of(program, X, env, compiler)
    train_rows = {name: np.asarray(a, dtype=np.float64) for name, a in X.items()}
    targets = _targets(program, y, rows)
    rows_of = _batches(batches, steps, rows)
    rule = _entrywise(optimizer, steps, momentum, betas, eps)
    beta = (0.9 if str(optimizer) in LINEAR[1:] else 0.0) if momentum is None else momentum
    _check_shares(momentum=beta, decay=decay)
    all_rows, test = train_rows, tuple(range(rows))
    if X_test is not None:
        samples_of(program, X_test, env, compiler)
        all_rows, test = _joined(train_rows, {k: np.asarray(a, dtype=np.float64) for k, a in X_test.items()}, rows)
    total = max(len(a) for a in all_rows.values())
    padded = np.zeros((total, *targets.shape[1:]))
    padded[:rows] = targets
    _check_loss(loss, targets)
    nesterov = isinstance(optimizer, str) and optimizer == "nesterov"
    beta, decay = float(beta), float(decay)
    return TrainingRun(program, all_rows, padded, test, rows_of, rates, loss, beta, decay, nesterov, rule, int(every))


def _schedule(steps: Any, lr: Any, every: Any) -> tuple[int, tuple[float, ...]]:
    """The number of steps, and a rate for each."""
    if steps is None or lr is None:
        missing = "steps" if steps is None else "lr"
        raise _wrong(
            "missing setting", f"`{missing}` is given neither here nor in the spec", f"give {missing}=…", f"give --{missing}"
        )
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or not 0 <= steps <= 1_000_000:
        raise _wrong("steps", f"steps is {steps!r}", "give a whole number from 0 to 1,000,000")
    if isinstance(every, bool) or not isinstance(every, (int, np.integer)) or every < 1:
        raise _wrong("steps", f"results every {every!r} steps", "give a whole number of at least 1")
    return int(steps), _rates(lr, int(steps))


def _check_shares(**shares: Any) -> None:
    for name, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, NUMBER) or not 0 <= value < 1:
            remedy = f"{name} of at least 0 and below 1"
            raise _wrong("optimizer", f"{name} is {value!r}", f"give a {remedy}", f"give a --{remedy}")


def _check_loss(loss: Any, targets: Array) -> None:
    if loss_named(loss) is cross_entropy and targets[0].size == 1:
        raise _wrong(
            "loss",
            "cross entropy compares several outputs, and the network has one",
            'use loss="logistic", with targets ±1',
            "use --loss logistic, with targets ±1",
        )


def _entrywise(optimizer: Any, steps: int, momentum: Any, betas: Any, given_eps: float | None) -> Entrywise | None:
    """The rule of an entrywise optimizer; None for one that is linear in the gradients."""
    eps = 1e-8 if given_eps is None else given_eps
    pair = (0, 0) if betas is None else betas
    if not (_is_pair(pair) and isinstance(eps, NUMBER) and eps >= 0):
        raise _wrong("optimizer", f"betas {betas!r}, eps {eps!r}", "two betas at least 0 and below 1, and eps at least 0")
    if isinstance(optimizer, str) and optimizer in LINEAR:
        _refuse_unread(optimizer, betas, given_eps)
        return None
    if steps > LONGEST:
        raise _wrong("steps", f"{steps} steps of an entrywise optimizer", f"take at most {LONGEST}, or train by sgd")
    rule = entrywise(optimizer, steps, betas, eps)
    if rule is None:
        known = ", ".join(f'"{name}"' for name in (*LINEAR, *NAMES))
        plain = f"choose --optimizer {', '.join((*LINEAR, *NAMES))}, or an expression in g, m and v"
        raise _wrong("unknown optimizer", f"optimizer {optimizer!r}", f"choose {known}, or an expression in g, m and v", plain)
    _refuse_unread(optimizer, betas, given_eps)
    if momentum:
        raise _wrong(
            "optimizer",
            f"{optimizer} with momentum",
            "leave momentum out; entrywise optimizers have betas=(b1, b2)",
            "leave --momentum out; entrywise optimizers have --betas B1,B2",
        )
    return rule


def _is_pair(betas: Any) -> bool:
    """Whether these are two numbers of at least 0 and below 1."""
    found = isinstance(betas, Sequence | np.ndarray) and len(betas) == 2
    return found and all(isinstance(b, NUMBER) and 0 <= b < 1 for b in betas)


def _refuse_unread(optimizer: Any, betas: Any, eps: float | None) -> None:
    """``DataError`` where a setting is given that the optimizer does not depend on."""
    known = reads(optimizer)
    for name, value in (("betas", betas), ("eps", eps)):
        if value is not None and name not in known:
            raise _wrong(
                "optimizer",
                f"{optimizer} does not depend on {name}, which is {value}",
                f"leave {name} out",
                f"leave --{name} out",
            )
    if betas is not None and optimizer == "rmsprop" and betas[0]:
        raise _wrong(
            "optimizer", f"rmsprop has no mean of gradients, and betas are {betas}", "give betas=(0, b2)", "give --betas 0,B2"
        )


def reparametrized(engine: Engine, parametrization: Any, name: str) -> Program:
    """The program under a named parametrization, (a, b, c) by weight name, or those of a report, for an optimizer."""
    from tp.readings.coord_check import rules_of
    from tp.readings.scale.optimizers import OPTIMIZERS, Optimizer

    known = OPTIMIZERS.get(name, Optimizer(name, "entries"))  # an expression sees entries in units where they are Θ(1)
    return parametrize(engine.program, rules_of(engine, parametrization, known), engine.growth)


def defaults(line: Train | None, numbers: Mapping[str, Any], optimizer: Any = None) -> dict[str, Any]:
    """What the ``train`` line of a spec sets, as arguments of :func:`prepare`; for another ``optimizer``, what that reads."""
    if line is None:
        return {}
    names = {"loss": "loss", "steps": "steps", "lr": "lr", "momentum": "momentum", "beta": "momentum", "weight_decay": "decay"}
    names |= {"beta1": "beta1", "beta2": "beta2", "eps": "eps", "batch": "batches"}
    found: dict[str, Any] = {"optimizer": line.optimizer}
    for key, e in line.options:
        if e == Name("full"):
            continue
        value = show(e) if key == "loss" else evaluate(e, lookup(dict(numbers)))
        if value is None:
            raise _wrong(
                "missing constant", f"`{key}` of the `train` line has no number", f"give {names[key]}=…", f"give --{names[key]}"
            )
        found[names[key]] = value if isinstance(value, str) else int(value) if key in COUNTS else float(value)
    if "beta1" in found or "beta2" in found:
        one, two = BETAS.get(str(line.optimizer if optimizer is None else optimizer), (0.9, 0.999))
        found["betas"] = (found.pop("beta1", one), found.pop("beta2", two))
    another = optimizer is not None and optimizer != line.optimizer
    unread = {"betas", "eps"} - {*reads(optimizer)} if another else set()
    return {key: value for key, value in found.items() if key not in unread}


def _check_program(program: Program) -> None:
    if program.constants:
        remedy, command = with_values("load it with", (s.name for s in program.constants))
        raise _wrong(
            "missing constant", "the spec leaves constants without a value", remedy, command.replace("load it with", "give")
        )
    if len(program.outputs) != 1:
        raise _wrong(
            "several outputs", f"the network has {len(program.outputs)} outputs", "train a network with one `output`, or a family"
        )
    (output,) = program.outputs
    made = [ins for ins, _ in flat(program.body) if ins.out.name == output.name]
    if any(getattr(ins, "space", None) is not None and type(ins).__name__ != "Moment" for ins in made):
        raise _wrong("output", f"`{output}` is a vector of the width", "read it out: `output f = v @ h`")


def _targets(program: Program, y: Any, rows: int) -> Array:
    """[rows, …output indices]; a column may be left out for one output."""
    count = len(output_indices(program))
    try:
        array = np.asarray(y)
    except (ValueError, TypeError):
        raise _wrong("not an array", "`y` is a ragged list", "") from None
    if array.dtype.kind not in "fiub":
        raise _wrong("wrong dtype", f"`y` has dtype {array.dtype}, not real numbers", "")
    if array.size != rows * count or array.shape[:1] != (rows,):
        remedy = "one row per sample of `X`"
        if count > 1 and array.size == rows:
            remedy += f", one column per output; of classes 0…{count - 1}: np.eye({count})[y]"
        raise _wrong("wrong shape", f"`y` has shape {list(array.shape)}, wanted [{rows}, {count}]", remedy)
    array = np.asarray(array, dtype=np.float64).reshape(rows, count)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise _wrong("not finite", f"`y[{', '.join(map(str, bad[0]))}]` is {array[tuple(bad[0])]}", "")
    told_of_classes(np.asarray(y))
    (output,) = program.outputs
    free = [k for k, e in enumerate(output.index) if e.free_symbols]
    if not free:
        return array[:, 0]
    if len(free) == 1:
        return array
    indices = np.array(output_indices(program))
    return array.reshape(rows, *(len(np.unique(column)) for column in indices.T))


def _rates(lr: Any, steps: int) -> tuple[float, ...]:
    try:
        rates = [float(r) for r in (lr if isinstance(lr, (list, tuple, np.ndarray)) else [lr] * steps)]
    except (TypeError, ValueError):
        raise _wrong("learning rates", f"the learning rate {lr!r} is no number", "give one number, or one per step") from None
    if len(rates) != steps:
        raise _wrong("learning rates", f"{len(rates)} learning rates for {steps} steps", "give one number, or one per step")
    if not np.isfinite(rates).all():
        raise _wrong("learning rates", f"a learning rate is {next(r for r in rates if not np.isfinite(r))}", "")
    return tuple(rates)


def _batches(batches: Any, steps: int, rows: int) -> tuple[tuple[int, ...], ...]:
    if batches is None:
        return (tuple(range(rows)),) * steps
    if isinstance(batches, (int, np.integer)) and batches >= 1:  # rows a step, in order and round again
        size = min(int(batches), rows)
        return tuple(tuple((t * int(batches) + k) % rows for k in range(size)) for t in range(steps))
    if not isinstance(batches, Sequence | np.ndarray):
        raise _wrong("batches", f"batches is {batches!r}", "give how many rows a step, or a list of row numbers per step")
    if len(batches) != steps:
        raise _wrong("batches", f"{len(batches)} batches for {steps} steps", "give one list of row numbers per step")
    for t, batch in enumerate(batches):
        for i in batch:
            if isinstance(i, bool) or not isinstance(i, (int, np.integer)) or not 0 <= i < rows:
                raise _wrong("batches", f"batch {t} has row {i!r}; there are rows 0…{rows - 1}", "")
        if not len(batch):
            raise _wrong("batches", f"batch {t} is empty", "give at least one row")
    return tuple(tuple(int(i) for i in batch) for batch in batches)


def _joined(rows: dict[str, Array], test: dict[str, Array], count: int) -> tuple[dict[str, Array], tuple[int, ...]]:
    """All different rows, and where the test rows are among them."""

    def marks(arrays: dict[str, Array]) -> Iterator[bytes]:
        names = sorted(arrays)
        return (b"".join(arrays[n][i].tobytes() for n in names) for i in range(max(len(a) for a in arrays.values())))

    seen: dict[bytes, int] = {}
    for i, mark in enumerate(marks(rows)):
        seen.setdefault(mark, i)
    places: list[int] = []
    fresh: list[int] = []
    for i, mark in enumerate(marks(test)):
        if mark not in seen:
            seen[mark] = count + len(fresh)
            fresh.append(i)
        places.append(seen[mark])
    return {name: np.concatenate([rows[name], test[name][fresh]]) for name in rows}, tuple(places)


def _wrong(heading: str, reason: str, remedy: str, command: str = "") -> DataError:
    return DataError(Message(NOWHERE, reason, remedy, heading, command))
