"""``NodeKernel``: kernels of networks that no formula integrates, such as cells that carry a gated state on."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Real
from threading import Lock
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from tp.asked import asked
from tp.errors import NOWHERE, DataError, LimitError, Message, StatisticalWarning
from tp.gaussian.scrambled import FINEST, SCRAMBLINGS, estimate, finer
from tp.kernel.blas import one_thread
from tp.kernel.disk.tiles import size_text
from tp.kernel.memory import default_memory, refuse_over
from tp.kernel.threads import default_threads, run
from tp.kernel.tiled import names
from tp.limit.evaluated import Evaluated
from tp.limit.nodes.draw import Draw, Nodes, alone, each, pairs, shared
from tp.limit.nodes.plan import Plan, plans
from tp.limit.zcalculus.measured import Measured
from tp.limit.zcalculus.pairs import answer, named_samples
from tp.program.ir import Program
from tp.progress import bar
from tp.readings.expression import Compiler
from tp.readings.inputs import generator, numbers_of, samples_of
from tp.regression import chunks

Array = NDArray[np.float64]
Samples = Mapping[str, Array]
Drawn = Callable[[Samples, slice], Draw]
"""Some samples at the nodes of a scrambling."""
T = TypeVar("T")
LEAST, POINTS = 9, 15
"""log2 of the nodes of one scrambling: at least, and as a rule."""
ROOM = 1 << 30
"""Bytes of arrays at nodes from which on samples are taken in parts."""
BOUND = 1e-2
"""Two standard errors of an entry, relative to √(k(x, x) k(x', x')), that a call keeps within or refuses."""


@dataclass(eq=False)
class NodeKernel(Evaluated):
    """``k(X1, X2)``: [N1, N2] per kind, as compiled kernels return it, by means over nodes with a statistical error.

    The ``nodes`` are scrambled Sobol points, 2^15 in each of eight scramblings, with a fixed seed. They do not depend on samples:
    all that is asked of a kernel, ``k(X1, X2)``, its diagonal, tiles of ``gram``, regressions by ``solve``, are blocks of one
    matrix that is positive semidefinite, equal to rounding where they overlap; a kernel that is made anew has the same. Where
    they are too few for a call to keep its ``bound``, the kernel goes on with more, with a ``StatisticalWarning``; a number
    that was given, and that of ``gram`` and ``solve``, stays: what that is too few for is refused. Of the kernel on its nodes
    regressions are exact, those of one Gaussian process; how far it is from the limit is statistical, which a ridge not below
    ``bound`` times the diagonal keeps from being amplified.

    Measured on ``tp.zoo("gru")``, normal inputs, N sequences of T tokens: the largest two standard errors relative to
    √(k(x, x) k(x', x')), and seconds of one core. NNGP: 4.5e-3 in 2 s (N = 20, T = 4), 4.7e-3 in 3 s (20, 8), 4.9e-3 in 6 s
    (20, 16), 5.9e-3 in 15 s (100, 8). NTK: 1.9e-3 in 8 s (20, 4). Errors fall like 1/√nodes, times grow like N. With few
    samples ``measured(X, tol=…)`` of the NNGP kernel gets further, on nodes for these alone: of two sequences of three steps
    two standard errors are 1e-4 after 18 s, on 2^18 nodes, and states within 1e-4 of those that Yang 2019 gives.
    """

    program: Program = field(repr=False)
    kinds: tuple[str, ...]
    constants: Mapping[str, Any]
    output: str | None
    dtype: np.dtype[Any]
    literal: bool = False
    progress: bool | None = None
    nodes: int | None = None
    memory: int = field(default_factory=default_memory, repr=False)  # bytes
    threads: int = field(default_factory=default_threads, repr=False)

    statistical: ClassVar[bool] = True
    """Whether the last digits of a call are chance."""
    at_once: ClassVar[int] = 1
    parts: ClassVar[int] = 4
    """Tiles a side of a matrix on disk, at least: what is done for its samples is done again for each."""

    def __post_init__(self) -> None:
        self._numbers = numbers_of(self.program, self.constants)
        self._answer = answer(self.program, self.output)
        self._fixed = self.nodes is not None
        self._log2 = _log2(2**POINTS if self.nodes is None else self.nodes)
        self.nodes = 2**self._log2
        open_ = sorted(name for name, (_, values) in self.program.tables.items() if values is None)
        if open_:
            reason = f"`{open_[0]}` has no values in the spec, and nodes take none"
            raise DataError(Message(NOWHERE, reason, f"write its entries there, `let {open_[0]}[…] = [ … ]`", "missing constant"))
        made = [plans(self.program, kind, self.literal, self.constants, self._answer.name) for kind in self.kinds]
        self._plans: list[list[Plan]] = [found for found, _ in made]
        self.power = {kind: power for kind, (_, power) in zip(self.kinds, made, strict=True)}

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In another process it is derived again."""
        vars(self).update(state)
        self.__post_init__()

    def __repr__(self) -> str:
        of = f"{names(self.kinds)} of {self.program.name}"
        below = f"{self.bound:.0e} √(k(x, x) k(x', x'))"
        return f"<NodeKernel {of}, {self.dtype}, by {SCRAMBLINGS} × {self.nodes} Sobol points, two standard errors below {below}>"

    @property
    def bound(self) -> float:
        """Two standard errors of every entry of a call, relative to √(k(x, x) k(x', x')); where it is not kept, nodes are added.

        It is statistical: standard errors are estimated from how much eight independent scramblings differ, and two of them are
        exceeded by about one entry in twelve. :meth:`measured` tells them one by one, and goes on to smaller ones.
        """
        return BOUND

    # ------------------------------------------------------------ evaluation

    @asked
    def __call__(self, X1: Any, X2: Any = None) -> Any:
        """All pairs of samples; one array per kind, within ``bound``."""
        one, two = self._sides(X1, X2)
        return self._returned(self._within(lambda log2: [self._pairs(kind, one, two, log2, 0) for kind in self._plans]))

    @asked
    def diag(self, X: Any) -> Any:
        """Each sample with itself: the diagonal of ``k(X)``, to rounding."""
        one, _ = self._sides(X, None)
        return self._returned(self._within(lambda log2: [self._alone(kind, one, log2, 0) for kind in self._plans]))

    @asked
    def measured(self, X1: Any, X2: Any = None, tol: float | None = None, seed: int = 0) -> tuple[Measured, ...]:
        """Per kind the values and their standard errors, by eight scramblings; without ``tol`` the values are those of calls.

        ``tol`` is aimed at by two standard errors of all entries, as they are (``bound`` is relative), on as many nodes as it
        takes, so that other calls do not give blocks of that matrix. Those of NNGP kernels are for these samples alone: of few
        samples errors fall there about like nodes^(−3/4). Tangent kernels, whose gradients meet as many matrices again, gain
        nothing by that (measured at 2^13, GRU and LSTM: errors a fifth larger). Raises ``LimitError`` where it is out of reach,
        and ``DataError`` where memory is not enough.
        """
        generator(seed)
        if tol is not None and not (isinstance(tol, Real) and 0.0 < tol < math.inf):
            raise DataError(Message(NOWHERE, f"`tol` is {tol!r}", "give a positive number", "not a tolerance"))
        one, two = self._sides(X1, X2)
        found = [self._to(tol, plan, name == "K", one, two, seed) for name, plan in zip(self.kinds, self._plans, strict=True)]
        return tuple(Measured(self._arranged(m.values), self._arranged(m.errors), "sobol") for m in found)

    # ------------------------------------------------------------ as tiles and regressions see it

    @property
    def axes(self) -> tuple[int, ...]:
        """Of an entry: one for each index of the output."""
        members = [ref for ref in self._plans[0][0].members if ref.name == self._answer.name]
        return (len(members),) if self._answer.index else ()

    @property
    def numbers(self) -> int:
        """That a pair takes to compute."""
        return 1

    @property
    def decides(self) -> dict[str, Any]:
        """What numbers depend on besides samples."""
        return {**self.spec, "literal": self.literal, "output": self._answer.name, "nodes": self.nodes}

    def working(self, first: int, second: int) -> int:
        """Bytes that a call for ``first`` × ``second`` samples holds at most, results included."""
        every = [plan for kind in self._plans for plan in kind]
        at_nodes = max(shared(p, self._log2) + each(p, self._log2) * min(first + second, 8) for p in every)
        results = (
            8 * first * second * (2 * SCRAMBLINGS * max(len(p.formulas) for p in every) + 3 * sum(len(p.formulas) for p in every))
        )
        return at_nodes + results

    def reaching(self, X: Any, X2: Any = None) -> NodeKernel:
        """This kernel on the nodes it has."""
        return self.limited(self.threads)

    def limited(self, threads: int, memory: int | None = None) -> NodeKernel:
        """The same within so many threads and bytes, on these nodes."""
        found = copy.copy(self)
        found._fixed = True
        found.threads, found.memory, found.progress = threads, self.memory if memory is None else memory, False
        return found

    # ------------------------------------------------------------ within

    def _sides(self, X1: Any, X2: Any) -> tuple[Samples, Samples]:
        one = named_samples(self.program, self.constants, X1, "X" if X2 is None else "X1")
        return one, one if X2 is None else named_samples(self.program, self.constants, X2, "X2")

    def _returned(self, found: list[Array]) -> Any:
        arrays = tuple(self._arranged(a).astype(self.dtype) for a in found)
        return arrays[0] if len(arrays) == 1 else arrays

    def _arranged(self, of: Array) -> Array:
        """[N1, N2] or [N], with an axis more for an output that is a family."""
        return np.moveaxis(of, 0, -1) if self._answer.index else of[0]

    def _to(self, tol: float | None, kind: list[Plan], jointly: bool, one: Samples, two: Samples, seed: int) -> Means:
        """With as many nodes as a tolerance takes, for these samples where they are drawn ``jointly``; without one on calls'."""
        log2 = self._log2
        if tol is None:
            return self._pairs(kind, one, two, log2, seed)
        samples = jointly * sum(len(next(iter(data.values()))) for data in ([one] if two is one else [one, two]))
        while True:
            found = self._pairs(kind, one, two, log2, seed, samples)
            largest = 2.0 * float(found.errors.max(initial=0.0))
            if largest <= tol:
                return found
            more = finer(log2, largest, tol)
            if more > FINEST or any(shared(p, more, samples) + 2 * each(p, more) > self.memory for p in kind):
                reason = f"two standard errors are {largest:.1e} on 2^{log2} nodes, and {tol:.1e} would take about 2^{more}"
                limits = f"there are 2^{FINEST} at most, and {size_text(self.memory)} of memory"
                remedy = f"{limits}: ask for less, k.measured(X, tol={1.05 * largest:.1e}), or leave tol out"
                raise LimitError(Message(NOWHERE, reason, remedy, "tolerance out of reach"))
            log2 = more

    def _pairs(self, kind: list[Plan], one: Samples, two: Samples, log2: int, seed: int, joint: int = 0) -> Means:
        """All entries, [formulas, N1, N2]; those of one set of samples are symmetric. ``joint``: samples that nodes are for."""
        n1, n2 = (len(next(iter(data.values()))) for data in (one, two))

        def entries(plan: Plan, drawn: Drawn, step: int) -> list[Array]:
            """Of a scrambling: all pairs, and each sample of both sides with itself."""
            full = np.empty((len(plan.formulas), n1, n2))
            first, second = list[Array](), list[Array]()
            for rows in chunks(n1, step):
                a = drawn(one, rows)
                first += [] if two is one else [alone(a)]
                for columns in chunks(n2, step):
                    if two is one and columns.start < rows.start:
                        full[:, rows, columns] = full[:, columns, rows].swapaxes(1, 2)
                        continue
                    b = a if two is one and columns == rows else drawn(two, columns)
                    second += [] if two is one or rows.start else [alone(b)]
                    full[:, rows, columns] = pairs(a, b)
            if two is one:
                first = second = [np.einsum("fii->fi", full)]
            return [full, np.concatenate(first, axis=1), np.concatenate(second, axis=1)]

        count = n1 if two is one else n1 + n2
        found = [self._scramblings(plan, entries, n1, n2, count, log2, seed, joint) for plan in kind]
        (values, errors), (first, _), (second, _) = (
            map(np.concatenate, zip(*(estimate(np.array(table)) for table in tables), strict=True))
            for tables in ([[of[k] for of in rows] for rows in found] for k in range(3))
        )
        return Means(values, errors, _scale(first[:, :, None], second[:, None, :]))

    def _alone(self, kind: list[Plan], one: Samples, log2: int, seed: int) -> Means:
        """Each sample with itself, [formulas, N]."""
        count = len(next(iter(one.values())))

        def entries(plan: Plan, drawn: Drawn, step: int) -> Array:
            return np.concatenate([alone(drawn(one, rows)) for rows in chunks(count, step)], axis=1)

        found = [estimate(np.array(self._scramblings(plan, entries, count, 1, count, log2, seed))) for plan in kind]
        values, errors = map(np.concatenate, zip(*found, strict=True))
        return Means(values, errors, _scale(values, values))

    def _scramblings(
        self,
        plan: Plan,
        entries: Callable[[Plan, Drawn, int], T],
        n1: int,
        n2: int,
        count: int,
        log2: int,
        seed: int,
        joint: int = 0,
    ) -> list[T]:
        """What is made of each scrambling, side by side on the threads there are; of ``count`` samples at once, or of parts."""
        own, every, results = each(plan, log2), shared(plan, log2, joint), 8 * 2 * SCRAMBLINGS * len(plan.formulas) * n1 * n2
        refuse_over(self.memory, every + 2 * own + results, n1, n2, f"nodes, 2^{log2} of them,")
        room = min(ROOM, self.memory - results)
        threads = max(1, min(self.threads, SCRAMBLINGS, room // (every + own * min(count, 8))))
        left = room // threads - every
        step = max(n1, n2) if own * count <= left else max(1, left // (2 * own))
        draws = -(-n1 // step) * (1 - (-n2 // step)) // (1 if count > n1 else 2)
        lock = Lock()
        with (
            bar(f"drawing on 2^{log2} nodes", SCRAMBLINGS * draws * len(plan.steps), " vectors", self.progress) as advance,
            one_thread(),
        ):

            def tick() -> None:
                with lock:
                    advance(1)

            def scrambling(k: int) -> T:
                nodes = Nodes(plan, log2, np.random.default_rng((seed, k)), joint)
                return entries(plan, lambda data, rows: self._draw(nodes, data, rows, tick), step)

            return run(scrambling, range(SCRAMBLINGS), threads, None)

    def _draw(self, nodes: Nodes, data: Samples, rows: slice, tick: Callable[[], object]) -> Draw:
        few = {name: array[rows] for name, array in data.items()}
        count, members = samples_of(self.program, few, self._numbers, Compiler())
        return Draw(nodes, members, count, tick)

    def _within(self, measure: Callable[[int], list[Means]]) -> list[Array]:
        """What is measured on 2^… nodes, on as many as keep the bound; where none were given, on these from then on."""
        while True:
            found = measure(self._log2)
            largest = 2.0 * max(float((f.errors / f.scale).max(initial=0.0)) for f in found)
            if largest <= self.bound:
                return [f.values for f in found]
            more = self._log2 + max(1, math.ceil(2.0 * math.log2(largest / self.bound)))
            reason = f"two standard errors of an entry are {largest:.1e} √(k(x, x) k(x', x')) on 2^{self._log2} nodes"
            if self._fixed or more > FINEST:
                reason += f"; {self.bound:.0e} would take about 2^{more}"
                remedy, command = f"net.kernel(…, nodes=2**{more})", f"--nodes 2^{more}"
                if more > FINEST:
                    remedy = command = f"there are 2^{FINEST} at most: scale samples or weights down"
                remedy += "; k.measured(X) gives all entries with the error of each"
                raise LimitError(Message(NOWHERE, reason, remedy, "not accurate enough", command))
            told = f"{reason}: this kernel has 2^{more} from now on, and earlier calls were blocks of another matrix"
            warnings.warn(
                f"{told}; net.kernel(…, nodes=2**{more}) has them from the first call", StatisticalWarning, stacklevel=4
            )
            self._log2, self.nodes = more, 2**more


@dataclass(frozen=True)
class Means:
    """Means over scramblings with their standard errors; ``scale`` is what the bound of these is relative to."""

    values: Array
    errors: Array
    scale: Array


def _log2(nodes: Any) -> int:
    """Raises ``DataError`` where that is no number of nodes."""
    if isinstance(nodes, (int, np.integer)) and not isinstance(nodes, bool) and nodes > 0:
        found = int(nodes).bit_length() - 1
        if int(nodes) == 2**found and LEAST <= found <= FINEST:
            return found
    reason = f"{nodes!r} is no number of nodes: they are a power of 2, from 2^{LEAST} to 2^{FINEST}"
    command = f"give --nodes 2^{POINTS}, or more"
    raise DataError(Message(NOWHERE, reason, f"give nodes=2**{POINTS}, or more", "number of nodes", command))


def _scale(one: Array, two: Array) -> Array:
    """√(k(x, x) k(x', x')), 1 where that is 0."""
    sizes: Array = np.sqrt(np.abs(one)) * np.sqrt(np.abs(two))
    return np.where(sizes > 0.0, sizes, 1.0)
