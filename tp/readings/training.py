"""``TrainingRun``: a network, data and an optimizer; trained at infinite width or at a finite one.

Both read the same trained program, of :func:`tp.transform.train.train`, and share nothing else.
Conventions: the loss is the mean over the batch; all weights are updated at once; rates are the spec's times ``lr``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.asked import asked
from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.kernel.disk.tiles import bytes_of
from tp.kernel.module import digest
from tp.program.ir import Program
from tp.progress import over
from tp.readings.checkpoint import Checkpoint, Story
from tp.readings.expression import Compiler
from tp.readings.indexing import Key
from tp.readings.inputs import generator, numbers_of, samples_of
from tp.readings.moments import table_numbers
from tp.readings.trained import Exact, Trained
from tp.target import target
from tp.transform.backprop import flat
from tp.transform.entrywise import Entrywise
from tp.transform.losses import loss_named
from tp.transform.train import Training, sgd, train

if TYPE_CHECKING:
    from tp.limit.zcalculus import ZLimit
    from tp.readings.verify import Report

Array = NDArray[np.float64]


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
    def normal(self) -> Program:
        """The network with vectors of size 1, its weights being trained."""
        from tp.transform.normalize import Updates, normalize

        return normalize(self.program, Updates(2 if self.entrywise is None else 1))

    @cached_property
    def training(self) -> Training:
        """The program of this training run."""
        from tp.readings.orders import adjoint_scale

        scale = adjoint_scale(self.normal)
        numbers = [_float(r) for r in self.rates]
        batches = [list(b) for b in self.batches] or [[0]]
        beta, decay = _float(self.momentum), _float(self.decay)
        schedule = sgd(self.steps, numbers, batches, self.samples, beta, decay, self.nesterov)
        return train(self.program, replace(schedule, entrywise=self.entrywise), loss_named(self.loss), scale)

    @cached_property
    def leading(self) -> Program:
        """Its leading order in the width: the program whose limit is evaluated."""
        from tp.readings.orders import leading_order, output_orders

        output_orders(self.normal)
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

    @asked
    def limit(
        self,
        method: str = "auto",
        tol: float | None = None,
        seed: int = 0,
        progress: bool | None = None,
        memory: int | str | None = None,
        checkpoint: str | Path | None = None,
    ) -> Trained:
        """The run at infinite width.

        ``method``: ``"exact"``, ``"grid"`` (few Gaussian dimensions, smooth activations), ``"sobol"``, or ``"auto"``, the first
        of these that applies. Exact are polynomial networks as rational numbers, ``.exact``, over a few steps
        (:mod:`tp.readings.rational`), and linear networks in floating point over many (:mod:`tp.readings.linear_limit` for
        one hidden layer, :mod:`tp.readings.closed_system`); ``"auto"`` takes rationals where they cost half a second at most.
        ``tol`` is the error aimed at, of all numbers (two standard errors of Sobol points); ``memory`` limits the arrays, in
        bytes or as "2GB" (4 GiB). A Sobol run keeps its finished scramblings in the file ``checkpoint`` (.npz) and goes on from
        there when it is started again; the file also serves runs of other lengths that begin alike
        (:mod:`tp.readings.checkpoint`). ``progress`` shows a bar when it takes long (None: at a terminal or in a notebook).
        Raises ``LimitError`` where training diverges, and where ``tol`` is out of reach.
        """
        from tp.readings import linear_limit
        from tp.readings.feature_limit import QUICK_MEMBERS, limit

        if method in ("auto", "exact"):
            linear = linear_limit.recognised(self)
            if linear is not None and (method == "auto" or self.samples * linear.d * (self.steps + 1) > QUICK_MEMBERS):
                return replace(linear_limit.train(self, linear), run=self)
        done = None if checkpoint is None else Checkpoint.load(target(checkpoint), self.story(seed))
        generator(seed)  # is it one?
        memory = None if memory is None else bytes_of(memory)
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

    @asked
    def z(self, steps: int | None = None) -> ZLimit:
        """The derivation of the outputs after every step up to ``steps``: every Z with hat and dot parts, every scalar's limit.

        Closed where a rule knows the expectation, so that linear and polynomial networks end in rational numbers. What a matrix
        of entrywise updates makes of a vector is an image Ψ, a mean over the vectors of the other space, written out in a line of
        its own. For one or two steps: the formulas grow fast. Raises ``LimitError`` where training diverges with the width, and
        where an entrywise optimizer's formulas become too long.
        """
        from tp.limit.zcalculus.training import training_limit

        return training_limit(self, steps)

    @asked
    def lazy(self, f0: Any = None) -> Trained:
        """The same steps by kernel gradient descent, with the network's tangent kernel at initialization.

        In NTP this is the limit of training: ``f0`` are the initial outputs, which are random (default 0, which with ``mse``
        gives the mean over initializations). In μP it is what training would be without feature learning. Raises
        ``LimitError`` where the network has no tangent kernel as written, or the optimizer is not SGD with momentum.
        """
        from tp.readings.lazy import lazy

        return replace(lazy(self, f0), run=self)

    @asked
    def simulate(self, width: int = 1024, seeds: int = 1, seed: int = 0, progress: bool | None = None) -> Trained:
        """The same program at finite width: the mean over ``seeds`` networks, with its standard error."""
        from tp.readings.simulate import simulate

        if not isinstance(seeds, int) or seeds < 1:
            raise DataError(Message(NOWHERE, f"{seeds!r} seeds", "give a whole number of at least one", "nothing to run"))
        random = generator(seed)
        given = {name: array[None] for name, array in self.X.items()} | {self.training.targets: self.y[None]}
        wanted = self._wanted()
        values = np.empty((seeds, len(wanted)))
        for s in over(range(seeds), "finite width", " networks", progress):
            run = simulate(self.training.program, given, width, random.spawn(1)[0])
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
        progress: bool | None = None,
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
        _, data = samples_of(self.program, self.X, numbers_of(self.program, {}), compiler)
        for (name, *index), array in data.items():
            found.update({(name, i, *index): float(v) for i, v in enumerate(array)})
        for i, row in enumerate(self.y):
            found.update({(self.training.targets, i, *k): float(v) for k, v in zip(self.coordinates, row.ravel(), strict=True)})
        found.update(table_numbers(self.leading, compiler))
        return found


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


def _float(value: float) -> sp.Expr:
    return sp.Float(value, 17) if value else sp.S.Zero
