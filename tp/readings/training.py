"""``TrainingRun``: a network, data and an optimizer; trained at infinite width or at a finite one.

Both read the same trained program, of :func:`tp.transform.train.train`, and share nothing else.
Conventions: the loss is the mean over the batch; all weights are updated at once; rates are the spec's times ``lr``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, LimitError, Message, with_values
from tp.kernel.module import digest
from tp.network.constants import evaluate
from tp.network.tree import Name, Train
from tp.network.values import lookup
from tp.program.ir import Program
from tp.readings.checkpoint import Checkpoint, Story
from tp.readings.expression import Compiler
from tp.readings.indexing import Key
from tp.readings.inputs import environment, samples_of
from tp.readings.moments import table_numbers
from tp.readings.trained import Exact, Trained
from tp.transform.backprop import flat
from tp.transform.entrywise import BETAS, NAMES, Entrywise, entrywise, reads
from tp.transform.losses import cross_entropy, loss_named
from tp.transform.parametrize import parametrize
from tp.transform.train import Training, sgd, train

if TYPE_CHECKING:
    from tp.limit.zcalculus import ZLimit
    from tp.readings.scale.infer import Engine
    from tp.readings.verify import Report

Array = NDArray[np.float64]
LINEAR = ("sgd", "momentum", "nesterov")
"""Optimizers that are linear in the gradients."""
LONGEST = 500
"""Steps of an entrywise optimizer at most: every update is a function of all gradients before it."""


@dataclass(frozen=True, repr=False)
class TrainingRun:
    """Training of ``program`` on rows ``X``, ``y``; nothing is computed before a limit or a simulation is asked for.

    ``X`` holds the rows trained on and then the other test rows; ``test`` says which rows are reported; ``y`` is
    [rows, …outputs] and 0 for rows that are not trained on. ``rates`` has one rate per step.
    """

    program: Program
    X: dict[str, Array]
    y: Array
    test: tuple[int, ...]
    batches: tuple[tuple[int, ...], ...]
    rates: tuple[float, ...]
    loss: Any = "mse"
    momentum: float = 0.0
    decay: float = 0.0
    nesterov: bool = False
    entrywise: Entrywise | None = None
    every: int = 1

    def __repr__(self) -> str:
        count = len(set().union(*self.batches)) if self.batches else 0
        what = f"<{self.program.name}: training for {self.steps} steps on {count} samples"
        return f"{what}; .limit(), .lazy() and .simulate(width) have .outputs, .losses and .plot()>"

    @property
    def steps(self) -> int:
        return len(self.rates)

    @property
    def times(self) -> tuple[int, ...]:
        """The numbers of updates after which results are reported: multiples of ``every``, and all of them."""
        return tuple(sorted({*range(0, self.steps, self.every), self.steps}))

    @property
    def samples(self) -> int:
        return len(self.y)

    # ------------------------------------------------------------ programs

    @cached_property
    def training(self) -> Training:
        """The program of this training run."""
        from tp.readings.orders import adjoint_scale
        from tp.transform.normalize import normalize

        scale = adjoint_scale(normalize(self.program))
        numbers = [_float(r) for r in self.rates]
        batches = [list(b) for b in self.batches] or [[0]]
        beta, decay = _float(self.momentum), _float(self.decay)
        schedule = sgd(self.steps, numbers, batches, self.samples, beta, decay, self.nesterov)
        return train(self.program, replace(schedule, entrywise=self.entrywise), loss_named(self.loss), scale)

    @cached_property
    def leading(self) -> Program:
        """Its leading order in the width: the program whose limit is evaluated."""
        from tp.readings.orders import leading_order, output_orders
        from tp.transform.normalize import normalize

        output_orders(normalize(self.program))
        try:
            return leading_order(self.training.program)
        except LimitError as error:
            if self.entrywise is None:
                raise
            remedy = (
                'rates that suit SGD are too large entry by entry: net.train(…, parametrization="mup"), or the rates of net.mup'
            )
            command = (
                "rates that suit SGD are too large entry by entry: --parametrization mup, or the rates of `tp mup --optimizer …`"
            )
            found = (replace(d, remedy=remedy, command=command) for d in error.diagnostics if isinstance(d, Message))
            raise LimitError(tuple(found)) from None

    # ------------------------------------------------------------ readings

    def limit(
        self,
        method: str = "auto",
        tol: float | None = None,
        seed: int = 0,
        progress: bool | None = None,
        memory: int | None = None,
        checkpoint: str | Path | None = None,
    ) -> Trained:
        """The run at infinite width.

        ``method``: ``"exact"``, ``"grid"`` (few Gaussian dimensions, smooth activations), ``"sobol"``, or ``"auto"``, the first
        of these that applies. Exact are polynomial networks as rational numbers, ``.exact``, over a few steps
        (:mod:`tp.readings.rational`), and linear networks in floating point over many (:mod:`tp.readings.linear_limit` for
        one hidden layer, :mod:`tp.readings.closed_system`); ``"auto"`` takes rationals where they cost half a second at most.
        ``tol`` is the error aimed at, of all numbers (two standard errors of Sobol points); ``memory`` limits the bytes of
        the arrays (4 GiB). A Sobol run keeps its finished scramblings in the file ``checkpoint`` (.npz) and goes on from
        there when it is started again; the file also serves runs of other lengths that begin alike
        (:mod:`tp.readings.checkpoint`). ``progress`` shows a bar when it takes long (None: where stderr is a terminal).
        Raises ``LimitError`` where training diverges, and where ``tol`` is out of reach.
        """
        from tp.readings import linear_limit
        from tp.readings.feature_limit import QUICK_MEMBERS, limit

        if method in ("auto", "exact"):
            linear = linear_limit.recognised(self)
            if linear is not None and (method == "auto" or self.samples * linear.d * (self.steps + 1) > QUICK_MEMBERS):
                return replace(linear_limit.train(self, linear), run=self)
        done = None if checkpoint is None else Checkpoint.load(Path(checkpoint), self.story(seed))
        marked = self.training.gradients
        found = limit(self.leading, self._numbers(), self._wanted(), method, tol, seed, progress, memory, done, marked)
        outputs, losses, kernels = self._arranged(found.values)
        errors, loss_errors, kernel_errors = self._arranged(found.errors)
        exact = None if found.exact is None else Exact(*self._arranged(found.exact))
        name, details = self.program.name, found.details
        values = (name, outputs, errors, losses, loss_errors, kernels, kernel_errors, found.method, details, exact)
        return Trained(*values, run=self)

    def story(self, seed: int) -> Story:
        """What tells this run from others: of two that begin alike, one may go on from where the other was."""
        rule = self.entrywise
        arrays = [(name, array.shape, array.tobytes()) for name, array in sorted(self.X.items())]
        same = (str(self.program), arrays, self.y.shape, self.y.tobytes(), self.test, str(self.loss), self.momentum, self.decay)
        about = repr((*same, self.nesterov, None if rule is None else str(rule.rule), self.every, seed))

        def step(t: int) -> str:
            means = [] if rule is None else [str(table[t][: t + 1]) for table in (rule.first, rule.second) if table]
            memory = f", means {digest(repr(means))[:8]}" if means else ""
            return f"rows {', '.join(map(str, self.batches[t]))} at rate {self.rates[t]!r}{memory}"

        return Story(digest(about), tuple(map(step, range(self.steps))))

    def z(self, steps: int | None = None) -> ZLimit:
        """The derivation of the outputs after every step up to ``steps``: every Z with hat and dot parts, every scalar's limit.

        Closed where a rule knows the expectation, so that linear and polynomial networks end in rational numbers. What a matrix
        of entrywise updates makes of a vector is an image Ψ, a mean over the vectors of the other space, written out in a line of
        its own. For one or two steps: the formulas grow fast. Raises ``LimitError`` where training diverges with the width, and
        where an entrywise optimizer's formulas become too long.
        """
        from tp.limit.zcalculus.training import training_limit

        return training_limit(self, steps)

    def lazy(self, f0: Any = None) -> Trained:
        """The same steps by kernel gradient descent, with the network's tangent kernel at initialization.

        In NTP this is the limit of training: ``f0`` are the initial outputs, which are random (default 0, which with ``mse``
        gives the mean over initializations). In μP it is what training would be without feature learning. Raises
        ``LimitError`` where the network has no tangent kernel as written, or the optimizer is not SGD with momentum.
        """
        from tp.readings.lazy import lazy

        return replace(lazy(self, f0), run=self)

    def simulate(self, width: int = 1024, seeds: int = 1, seed: int = 0, progress: bool | None = None) -> Trained:
        """The same program at finite width: the mean over ``seeds`` networks, with its standard error."""
        from tp.readings.simulate import simulate

        if seeds < 1:
            raise DataError(Message(NOWHERE, f"{seeds} seeds", "give at least one", "nothing to run"))
        generator = np.random.default_rng(seed)
        given = {name: array[None] for name, array in self.X.items()} | {self.training.targets: self.y[None]}
        wanted = self._wanted()
        values = np.empty((seeds, len(wanted)))
        for s in _bar(range(seeds), progress):
            run = simulate(self.training.program, given, width, generator.spawn(1)[0])
            values[s] = [run.values[key][0] for key in wanted]
        spread = values.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(len(wanted), np.nan)
        outputs, losses, kernels = self._arranged(dict(zip(wanted, values.mean(axis=0).tolist(), strict=True)))
        errors, loss_errors, kernel_errors = self._arranged(dict(zip(wanted, spread.tolist(), strict=True)))
        details = {"width": width, "seeds": seeds}
        method = f"width {width}"
        name = self.program.name
        return Trained(name, outputs, errors, losses, loss_errors, kernels, kernel_errors, method, details, run=self)

    def verify(
        self,
        widths: Sequence[int] = (256, 1024, 4096),
        seeds: int = 8,
        seed: int = 0,
        progress: bool = False,
        method: str = "auto",
    ) -> Report:
        """Finite networks trained alongside the limit: relative errors of outputs and kernels, with the fitted power of n."""
        from tp.readings.verify_training import verify

        return verify(self, widths, seeds, seed, progress, method)

    # ------------------------------------------------------------ members

    @cached_property
    def coordinates(self) -> tuple[tuple[int, ...], ...]:
        """The indices of the output family, in order; one empty index for a single output."""
        return output_indices(self.program)

    def batch(self, t: int) -> tuple[int, ...]:
        """The rows whose loss is reported after t updates: those of step t, or of the last step."""
        return self.batches[min(t, self.steps - 1)] if self.batches else tuple(range(self.samples))

    def _wanted(self) -> list[Key]:
        f, loss, kernel = self.training.output.name, self.training.loss.name, self.training.kernel
        keys: list[Key] = []
        for t in self.times:
            keys += [(f, t, i, *k) for i in self.test for k in self.coordinates]
            keys += [(loss, t, i) for i in dict.fromkeys(self.batch(t))]
            if kernel is not None:
                keys += [(kernel.name, t, i, j) for a, i in enumerate(self.test) for j in self.test[: a + 1]]
        return list(dict.fromkeys(keys))

    def _arranged(self, values: Mapping[Key, Any]) -> tuple[Any, Any, Any]:
        """Outputs, losses and kernels (None where there are none) as arrays of the values' type."""
        f, loss, kernel = self.training.output.name, self.training.loss.name, self.training.kernel
        steps = self.times
        outputs = np.array([[[values[f, t, i, *k] for k in self.coordinates] for i in self.test] for t in steps])
        losses = np.array([np.mean([values[loss, t, i] for i in self.batch(t)]) for t in steps])
        if kernel is None:
            return outputs, losses, None

        def entry(t: int, a: int, b: int) -> float:
            return values[kernel.name, t, self.test[max(a, b)], self.test[min(a, b)]]

        count = range(len(self.test))
        return outputs, losses, np.array([[[entry(t, a, b) for b in count] for a in count] for t in steps])

    def _numbers(self) -> dict[Key, float]:
        """Data, targets and tables by member."""
        found: dict[Key, float] = {}
        compiler = Compiler()
        _, data = samples_of(self.program, self.X, environment(self.program, 1000, {}, compiler), compiler)
        for (name, *index), array in data.items():
            found.update({(name, i, *index): float(v) for i, v in enumerate(array)})
        for i, row in enumerate(self.y):
            found.update({(self.training.targets, i, *k): float(v) for k, v in zip(self.coordinates, row.ravel(), strict=True)})
        found.update(table_numbers(self.leading, compiler))
        return found


def prepare(
    program: Program,
    X: Mapping[str, Any],
    y: Any,
    steps: int | None = None,
    lr: float | Sequence[float] | None = None,
    loss: Any = "mse",
    batches: Sequence[Sequence[int]] | None = None,
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
    if steps is None or lr is None:
        missing = "steps" if steps is None else "lr"
        raise _wrong(
            "missing setting", f"`{missing}` is given neither here nor in the spec", f"give {missing}=…", f"give --{missing}"
        )
    compiler = Compiler()
    env = environment(program, 1000, {}, compiler)
    rows, _ = samples_of(program, X, env, compiler)
    train_rows = {name: np.asarray(a, dtype=np.float64) for name, a in X.items()}
    targets = _targets(program, y, rows)
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or not 0 <= steps <= 1_000_000:
        raise _wrong("steps", f"steps is {steps!r}", "give a whole number from 0 to 1,000,000")
    if isinstance(every, bool) or not isinstance(every, (int, np.integer)) or every < 1:
        raise _wrong("steps", f"results every {every!r} steps", "give a whole number of at least 1")
    rates = _rates(lr, int(steps))
    rows_of = _batches(batches, int(steps), rows)
    rule = _entrywise(optimizer, int(steps), momentum, betas, eps)
    beta = (0.9 if str(optimizer) in LINEAR[1:] else 0.0) if momentum is None else float(momentum)
    for name, value in (("momentum", beta), ("decay", decay)):
        if not 0 <= value < 1:
            raise _wrong(
                "optimizer",
                f"{name} is {value}",
                f"give a {name} of at least 0 and below 1",
                f"give a --{name} of at least 0 and below 1",
            )
    all_rows, test = train_rows, tuple(range(rows))
    if X_test is not None:
        samples_of(program, X_test, env, compiler)
        all_rows, test = _joined(train_rows, {k: np.asarray(a, dtype=np.float64) for k, a in X_test.items()}, rows)
    total = max(len(a) for a in all_rows.values())
    padded = np.zeros((total, *targets.shape[1:]))
    padded[:rows] = targets
    named = loss_named(loss)
    if named is cross_entropy and targets[0].size == 1:
        raise _wrong(
            "loss",
            "cross entropy compares several outputs, and the network has one",
            'use loss="logistic", with targets ±1',
            "use --loss logistic, with targets ±1",
        )
    nesterov = isinstance(optimizer, str) and optimizer == "nesterov"
    return TrainingRun(program, all_rows, padded, test, rows_of, rates, loss, beta, float(decay), nesterov, rule, int(every))


def _entrywise(optimizer: Any, steps: int, momentum: Any, betas: Any, given_eps: float | None) -> Entrywise | None:
    """The rule of an entrywise optimizer; None for one that is linear in the gradients."""
    eps = 1e-8 if given_eps is None else given_eps
    if (betas is not None and (len(betas) != 2 or not all(0 <= b < 1 for b in betas))) or not eps >= 0:
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
    names |= {"beta1": "beta1", "beta2": "beta2", "eps": "eps"}
    found: dict[str, Any] = {"optimizer": line.optimizer}
    for key, e in line.options:
        if key not in names:
            continue
        value = e.name if key == "loss" and isinstance(e, Name) else evaluate(e, lookup(dict(numbers)))
        if value is None:
            raise _wrong(
                "missing constant", f"`{key}` of the `train` line has no number", f"give {names[key]}=…", f"give --{names[key]}"
            )
        whole = key == "steps" and float(value) == int(value)
        found[names[key]] = int(value) if whole else value if key == "loss" else float(value)
    if "beta1" in found or "beta2" in found:
        one, two = BETAS.get(str(line.optimizer if optimizer is None else optimizer), (0.9, 0.999))
        found["betas"] = (found.pop("beta1", one), found.pop("beta2", two))
    another = optimizer is not None and optimizer != line.optimizer
    unread = {"betas", "eps"} - {*reads(optimizer)} if another else set()
    return {key: value for key, value in found.items() if key not in unread}


def output_indices(program: Program) -> tuple[tuple[int, ...], ...]:
    """The indices of the members of the only output."""
    (output,) = program.outputs
    domain = next(d for ins, d in flat(program.body) if ins.out.name == output.name)
    ranges = tuple(r for r in domain if r.index in output.free_symbols)
    compiler = Compiler()
    return tuple(
        tuple(compiler.integer(e, env) for e in output.index if e.free_symbols) if ranges else ()
        for env in compiler.points(ranges, {})
    )


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
        raise _wrong("wrong shape", f"`y` has shape {list(array.shape)}, wanted [{rows}, {count}]", "one row per sample of `X`")
    array = np.asarray(array, dtype=np.float64).reshape(rows, count)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise _wrong("not finite", f"`y[{', '.join(map(str, bad[0]))}]` is {array[tuple(bad[0])]}", "")
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


def _float(value: float) -> sp.Expr:
    return sp.Float(value, 17) if value else sp.S.Zero


def _wrong(heading: str, reason: str, remedy: str, command: str = "") -> DataError:
    return DataError(Message(NOWHERE, reason, remedy, heading, command))


def _bar(runs: range, progress: bool | None) -> Any:
    """A bar over networks, after two seconds; where stderr is a terminal, when ``progress`` is None."""
    from tqdm import tqdm

    disable = None if progress is None else not progress
    return tqdm(runs, desc="finite width", unit="net", delay=2.0, file=sys.stderr, disable=disable, leave=False)
