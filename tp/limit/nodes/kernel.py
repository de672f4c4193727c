"""``NodeKernel``: kernels of networks that no formula integrates, such as cells that carry a gated state on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tp.asked import asked
from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.gaussian.scrambled import FINEST, POINTS, estimate, finer
from tp.kernel.disk.tiles import size_text
from tp.kernel.memory import default_memory
from tp.limit.nodes.draw import drawn, memory
from tp.limit.nodes.plan import Plan, plans
from tp.limit.zcalculus.measured import Measured
from tp.limit.zcalculus.pairs import answer, named_samples
from tp.program.ir import Program
from tp.readings.expression import Compiler
from tp.readings.inputs import generator, numbers_of, samples_of

Array = NDArray[np.float64]
LEAST = 9
"""log2 of the nodes of one scrambling, at least."""
ROOM = 1 << 29
"""Bytes of a scrambling from which on it has fewer nodes."""
BOUND = 1e-2
"""Two standard errors of an entry, relative to √(k(x, x) k(x', x')), that a call keeps within or refuses."""


@dataclass(eq=False)
class NodeKernel:
    """``k(X1, X2)``: [N1, N2] per kind, as compiled kernels return it, by means over nodes with a statistical error.

    The nodes are scrambled Sobol points, eight scramblings with a fixed seed: the same call has the same result. All samples of
    a call are on the same nodes, so that ``k(X)`` is positive semidefinite to rounding. Calls with other samples differ by their
    errors: for a regression take one matrix of all samples, ``k(np.concatenate([X, X_test]))``, and its blocks.

    Measured on ``tp.zoo("gru")``, normal inputs, N sequences of T tokens, with as many nodes as ``measured`` takes of itself: the
    largest two standard errors relative to √(k(x, x) k(x', x')), and seconds of one core. NNGP: 5.5e-3 in 3 s (N = 20, T = 4),
    5.8e-3 in 5 s (20, 8), 6.0e-3 in 12 s (20, 16), 1.1e-2 in 16 s (100, 8), 1.4e-2 in 15 s (200, 4). NTK: 2.5e-3 in 6 s (20, 4),
    3.5e-3 in 8 s (20, 8). They fall about like nodes^(−3/4); with ``tol=1e-4`` states of three steps are within 1e-4 of those
    that Yang 2019 gives.
    """

    program: Program = field(repr=False)
    kinds: tuple[str, ...]
    constants: Mapping[str, Any]
    output: str | None
    dtype: str
    literal: bool = False
    progress: bool | None = None
    limit: int = field(default_factory=default_memory, repr=False)  # of bytes

    statistical: ClassVar[bool] = True
    """Whether the last digits of a call are chance."""

    def __post_init__(self) -> None:
        numbers_of(self.program, self.constants)
        self._answer = answer(self.program, self.output)
        open_ = sorted(name for name, (_, values) in self.program.tables.items() if values is None)
        if open_:
            reason = f"`{open_[0]}` has no values in the spec, and nodes take none"
            raise DataError(Message(NOWHERE, reason, f"write its entries there, `let {open_[0]}[…] = [ … ]`", "missing constant"))
        made = [plans(self.program, kind, self.literal, self.constants, self._answer.name) for kind in self.kinds]
        self._plans: list[list[Plan]] = [found for found, _ in made]
        self.power = {kind: power for kind, (_, power) in zip(self.kinds, made, strict=True)}

    def __repr__(self) -> str:
        of = f"{' '.join(self.kinds)} of {self.program.name}"
        below = f"{self.bound:.0e} √(k(x, x) k(x', x'))"
        return f"<NodeKernel {of}, {self.dtype}, by Sobol points, two standard errors below {below}>"

    @property
    def bound(self) -> float:
        """Two standard errors of every entry of a call, relative to √(k(x, x) k(x', x')): nodes are added until they are smaller.

        It is statistical: standard errors are estimated from how much eight independent scramblings differ, and two of them are
        exceeded by about one entry in twelve. :meth:`measured` tells them one by one, and goes on to smaller ones.
        """
        return BOUND

    @asked
    def __call__(self, X1: Any, X2: Any = None) -> Any:
        """All pairs of samples; one array per kind, within ``bound``."""
        return self._returned(tuple(m.values for m in self._measured(X1, X2, self.bound, True, 0)))

    @asked
    def diag(self, X: Any) -> Any:
        """Each sample with itself: the diagonal of ``k(X)``."""
        return self._returned(tuple(np.einsum("ii...->i...", m.values) for m in self._measured(X, None, self.bound, True, 0)))

    def gram(self, *_: Any, **__: Any) -> Any:
        """Refused: all samples are on the same nodes, in memory."""
        raise _in_memory("np.save(out, k(X)) writes the matrix")

    def solve(self, *_: Any, **__: Any) -> Any:
        """Refused, as ``gram``."""
        raise _in_memory("take the blocks of k(np.concatenate([X, X_test])) for a regression of your own, with a ridge")

    @asked
    def measured(self, X1: Any, X2: Any = None, tol: float | None = None, seed: int = 0) -> tuple[Measured, ...]:
        """Per kind the values and their standard errors, by eight scramblings.

        ``tol`` is aimed at by two standard errors of all entries, as they are (``bound`` is relative), with more nodes; without
        it they are 2^14, fewer where samples are many. Raises ``LimitError`` where it is out of reach, and ``DataError`` where
        memory is not enough.
        """
        generator(seed)
        if tol is not None and not (isinstance(tol, Real) and 0.0 < tol < math.inf):
            raise DataError(Message(NOWHERE, f"`tol` is {tol!r}", "give a positive number", "not a tolerance"))
        return self._measured(X1, X2, tol, False, seed)

    def _measured(self, X1: Any, X2: Any, tol: float | None, relative: bool, seed: int) -> tuple[Measured, ...]:
        one = named_samples(self.program, self.constants, X1, "X" if X2 is None else "X1")
        two = one if X2 is None else named_samples(self.program, self.constants, X2, "X2")
        data, places = _distinct(one, two)
        i, j = np.split(places, [len(next(iter(one.values())))])
        rows = np.ix_(i, i if X2 is None else j)
        found = []
        for kind in self._plans:
            parts = [self._plan(plan, data, tol, relative, seed) for plan in kind]
            values, errors = (
                self._arranged(np.concatenate([getattr(p, of) for p in parts]), rows) for of in ("values", "errors")
            )
            found.append(Measured(values, errors, "sobol"))
        return tuple(found)

    def _arranged(self, of: Array, rows: Any) -> Array:
        """[N1, N2], with an axis more for an output that is a family."""
        full = np.moveaxis(of, 0, -1)[rows]
        return full if self._answer.index else full[..., 0]

    def _plan(self, plan: Plan, data: Mapping[str, Array], tol: float | None, relative: bool, seed: int) -> Measured:
        """The kernels of a plan, [formulas, samples, samples]."""
        count, members = samples_of(self.program, data, numbers_of(self.program, self.constants), Compiler())
        log2 = self._log2(plan, count)
        while True:
            values, errors = estimate(drawn(plan, members, count, log2, seed, self.limit, self.progress))
            largest = 2.0 * float((errors / _scale(values) if relative else errors).max(initial=0.0))
            if tol is None or largest <= tol:
                return Measured(values, errors, "sobol")
            more = finer(log2, largest, tol)
            if more > FINEST or memory(plan, count, more) > self.limit:
                reason = f"two standard errors are {largest:.1e} on 2^{log2} nodes, and {tol:.1e} would take about 2^{more}"
                limits = f"there are 2^{FINEST} at most, and {size_text(self.limit)} of memory"
                remedy = f"{limits}: pass fewer samples, ask for less, k.measured(X, tol={1.05 * largest:.1e}), or leave tol out"
                raise LimitError(Message(NOWHERE, reason, remedy, "tolerance out of reach"))
            log2 = more

    def _log2(self, plan: Plan, count: int) -> int:
        """log2 of the nodes of a scrambling. Raises ``DataError`` where memory is not enough."""
        fits = [m for m in range(LEAST, POINTS + 1) if memory(plan, count, m) <= min(ROOM, self.limit)]
        least = memory(plan, count, LEAST)
        if least > self.limit:
            needed, most = size_text(least), size_text(self.limit)
            reason = f"{count} samples on 2^{LEAST} common nodes take {needed}, over the limit of {most}"
            raise DataError(Message(NOWHERE, reason, "pass fewer samples, or shorter ones", "over the memory limit"))
        return max(fits, default=LEAST)

    def _returned(self, found: tuple[Array, ...]) -> Any:
        arrays = tuple(a.astype(self.dtype) for a in found)
        return arrays[0] if len(arrays) == 1 else arrays


def _in_memory(remedy: str) -> LimitError:
    reason = "this kernel is a mean over nodes that all samples share, in memory"
    return LimitError(Message(NOWHERE, reason, remedy, "in memory only"))


def _scale(values: Array) -> Array:
    """√(k(x, x) k(x', x')), 1 where that is 0."""
    roots = np.sqrt(np.abs(np.einsum("kii->ki", values)))
    sizes: Array = roots[:, :, None] * roots[:, None, :]
    return np.where(sizes > 0.0, sizes, 1.0)


def _distinct(one: Mapping[str, Array], two: Mapping[str, Array]) -> tuple[dict[str, Array], NDArray[np.intp]]:
    """The samples of both, each once, and the place of every one of them."""
    both = dict(one) if one is two else {name: np.concatenate([a, two[name]]) for name, a in one.items()}
    keys = [b"".join(a[k].tobytes() for a in both.values()) for k in range(len(next(iter(both.values()))))]
    first: dict[bytes, int] = {}
    places = [first.setdefault(key, len(first)) for key in keys]
    kept = [places.index(k) for k in range(len(first))]
    every = places if one is not two else [*places, *places]
    return {name: a[kept] for name, a in both.items()}, np.array(every, dtype=np.intp)
