"""``Kernel``: compiled equations as a function of data."""

from __future__ import annotations

import html
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import inf, isqrt, prod
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.kernel import gram, inputs, mirror
from tp.kernel.aside import Recorder, compile_aside
from tp.kernel.blas import one_thread
from tp.kernel.disk.tiles import size_text
from tp.kernel.inputs import Samples
from tp.kernel.module import load
from tp.kernel.plan import Compiled, Root
from tp.kernel.single import single
from tp.kernel.threads import run

if TYPE_CHECKING:
    from tp.kernel.disk.result import Gram
    from tp.kernel.posterior import Posterior

Array = NDArray[Any]
Task = tuple[int, int, int, int]
"""A block of pairs: rows i0..i1, columns j0..j1."""

CACHE = 1 << 17
"""Numbers a lane loop's tables should hold at most, so that they stay in a core's cache."""

BLOCK = 1 << 21
"""Numbers of a Gram block."""

VECTOR = 16
"""Numbers of a vector of the processor at most."""

EDGE = 512
"""Rows of a block of pairs at most."""

LONGEST = 1024
"""Terms of a coefficient vector at most."""

EPS = {"float64": 1e-11, "float32": 1e-8}
"""Error asked of expectations that are summed as series, relative to their size."""


def default_threads() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def default_memory() -> int:
    """Three quarters of the machine's memory, in bytes."""
    try:
        return int(0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return 1 << 33


@dataclass
class _Side:
    """Samples with what is known of each: site tables and coefficient vectors."""

    data: Samples
    count: int
    sites: dict[str, Array] = field(default_factory=dict)
    by_sample: dict[str, Array] = field(default_factory=dict)  # the same, samples first
    first: dict[str, Array] = field(default_factory=dict)  # the data, coordinates before positions
    converted: dict[str, Array] = field(default_factory=dict)  # what pairs read, in the kernel's precision

    def few(self, count: int) -> _Side:
        """The first samples."""
        return _Side({n: a[:count] for n, a in self.data.items()}, min(count, self.count))


@dataclass(eq=False)
class Kernel:
    """``k(X1, X2)`` [N1, N2]; ``k(X)`` symmetric; ``k.diag(X)`` [N]. Several kinds give a tuple from one pass.

    ``X`` is an array [N, *index ranges, *features], or a dict of such by input name.
    """

    compiled: Compiled = field(repr=False)
    dtype: np.dtype[Any]
    threads: int
    memory: int
    progress: bool = True
    _rehearsed: bool = field(default=False, repr=False)

    device: ClassVar[str] = "cpu"
    at_once: ClassVar[int] = 2
    """Tiles of a matrix on disk that are in work in one process: one is written while the next is computed, by all threads."""

    def __getstate__(self) -> dict[str, Any]:
        """A kernel travels to other processes as its text; there the module is loaded again."""
        return {k: v for k, v in vars(self).items() if k != "_module"}

    # ------------------------------------------------------------ faces

    @property
    def source(self) -> str:
        """The generated module; it holds no number of the network, which are run-time parameters."""
        return self.compiled.text

    @property
    def bound(self) -> float:
        """Error bound of the expectations, relative to sqrt(E[φ(u)²] E[ψ(v)²]): rounding where all are closed forms."""
        return self.compiled.bound

    @property
    def kinds(self) -> tuple[str, ...]:
        return self.compiled.kinds

    def __repr__(self) -> str:
        return f"<Kernel {' '.join(self.kinds)} of {self.compiled.network}, {self.dtype}, error {self.bound:.0e}>"

    def _repr_html_(self) -> str:
        rows = {
            "network": self.compiled.network,
            "kernels": ", ".join(self.kinds),
            "precision": str(self.dtype),
            "expectations": "; ".join(self.compiled.rules) or "none",
            "error bound": f"{self.bound:.1e}",
            "threads": str(self.threads),
        }
        body = "".join(
            f"<tr><th style='text-align:left'>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items()
        )
        return f"<table>{body}</table>"

    # ------------------------------------------------------------ evaluation

    def __call__(self, X1: Any, X2: Any = None) -> Any:
        """All pairs of samples; one array per kind."""
        one = self._samples(X1, "X1" if X2 is not None else "X")
        two = one if X2 is None else self._samples(X2, "X2")
        self._check_memory(one.count, two.count)
        self._rehearse(one, two)
        results, finite = self._filled(one, two)
        return self._returned([np.moveaxis(a, (-2, -1), (0, 1)) for a in results.values()], finite)

    def _filled(self, one: _Side, two: _Side) -> tuple[dict[str, Array], bool]:
        """All tables [out axes…, N1, N2], and whether they are finite."""
        results = {t: np.empty((*self._out_shape(t), one.count, two.count), self.dtype) for t in self.compiled.outputs}
        self._prepare(one, *([] if two is one else [two]))
        if "rows" in self.compiled.functions:
            return results, self._by_rows(one, two, results)
        finite = self._pairs(one, two, results)
        return results, self._equal(one, two, results) and finite

    def _rehearse(self, one: _Side, two: _Side) -> None:
        """Before the first call, compile what it needs, side by side; two samples tell what that is, without being computed."""
        if self._rehearsed or self.device != "cpu" or self.threads < 2:
            return
        understudy = copy(self)
        vars(understudy).update(threads=1, progress=False, _module=(recorder := Recorder()))
        few = one.few(2)
        with np.errstate(all="ignore"):
            understudy._filled(few, few if two is one else two.few(2))
        compile_aside(self._text, recorder.calls, self.threads)
        self._rehearsed = True

    def diag(self, X: Any) -> Any:
        """Each sample with itself; equal to the diagonal of ``k(X)``."""
        one = self._samples(X, "X")
        self._prepare(one)
        results = self._diagonal(one, np.arange(one.count))
        return self._returned([np.moveaxis(a, -1, 0) for a in results.values()], _finite(results))

    def gram(
        self,
        X: Any,
        X2: Any = None,
        *,
        out: str | os.PathLike[str],
        memory: int | str = "2GB",
        executor: Executor | str | None = None,
        progress: bool | None = None,
    ) -> Gram:
        """All pairs of samples, written to ``out`` (.npy or .zarr) tile by tile; a run that was cut short goes on where it was.

        A tile counts as done when its marker is there, which comes after its numbers; ``out`` appears when all are done.
        ``memory`` is what the tasks of one process hold at once, on top of what it holds anyway. ``executor`` is "processes"
        or any ``concurrent.futures.Executor``, ``dask.distributed.Client(…).get_executor(retries=2)`` included; its workers
        must see the folder of ``out``. ``progress`` shows a bar (None: where stderr is a terminal).
        Raises ``DataError`` where ``out`` holds, or was begun with, another kernel or other data.
        """
        from tp.kernel.disk.run import write

        return write(self, X, X2, out, memory, executor, progress)

    def solve(
        self,
        X: Any,
        y: Any,
        ridge: float = 0.0,
        *,
        kind: str | None = None,
        time: float = inf,
        out: str | os.PathLike[str] | None = None,
        memory: int | str | None = None,
        executor: Executor | str | None = None,
        method: str = "auto",
        tol: float | None = None,
        rank: int | None = None,
    ) -> Posterior:
        """What infinitely wide networks predict that have seen ``X`` and ``y``, [N] or [N, outputs]: means and variances.

        ``kind="nngp"``: the Gaussian process posterior with noise variance ``ridge``, and its log marginal likelihood;
        ``kind="ntk"`` (default where the kernel has it): networks trained by gradient flow for ``time``, of which the variance
        takes both kernels. With ``out`` the matrix and its Cholesky factor (float64) are on disk, in tiles and panels within
        ``memory``, and go on after a kill as ``gram`` does. Where the matrix is singular to rounding, a warning and
        ``.jitter`` say what was added to its diagonal.

        ``method="cg"``, for N too large for N³ operations: preconditioned conjugate gradients, some passes over the matrix, with
        no other on disk. They take a ridge, stop at a residual of ``tol`` (1e-8) relative to the targets, or to the columns of
        a variance, and know no marginal likelihood; ``rank`` (4√N) is that of the preconditioner, ``.residual`` and
        ``.iterations`` say how it went. Raises ``DataError`` where they do not get there. "auto" is "cholesky".
        """
        from tp.kernel.conjugate import wish
        from tp.kernel.posterior import solve

        return solve(self, X, y, ridge, kind, time, out, memory, executor, wish(method, tol, rank))

    def working(self, first: int, second: int) -> int:
        """Bytes that a call for ``first`` × ``second`` samples holds at most, its samples and results included."""
        blocks = "rows" not in self.compiled.functions
        grams = [e for n, e in self.compiled.inputs.items() if blocks and n.startswith("pair.") and e.key.kind == "Gram"]
        numbers = sum(prod(a.size for a in e.axes) for e in grams)
        per_pair = sum(prod(self._out_shape(t)) for t in self.compiled.outputs)
        sample = sum(prod(shape) for shape in self.compiled.data.values())
        tables = [*self.compiled.sites, *(root.base for root in self.compiled.roots.values())]
        sites = sum(prod(a.size for a in self.compiled.sites[t]) for t in tables) * (1 if blocks else 2)
        vectors = sum(prod(a.size for a in axes) for axes in self.compiled.coefficients.values()) * LONGEST
        block = max(1, min(BLOCK // max(1, numbers), 4 * EDGE**2)) * numbers
        ahead = min(numbers * first * second, self.threads * block)
        copies = 4 + 2 * len(grams)  # converted, laid out for BLAS, compared with each other
        size = self.dtype.itemsize
        scratch = 8 * self.threads * max(CACHE, *self.compiled.lanes.values())
        return (
            size * (per_pair * first * second + ahead + copies * sample * (first + second))
            + first * second * (per_pair if blocks else per_pair + 64)  # seen to be finite; by rows, a list of pairs
            + 8 * (sites + vectors) * (first + second)
            + scratch
        )

    def transposed(self, block: Array) -> Array:
        """Entries (j, i) of a symmetric kernel from entries (i, j), [N1, N2, out axes…]: (t', j; t, i) is (t, i; t', j)."""
        axes = block.ndim - 2
        half = axes // 2
        swap = [*range(half, axes), *range(half)] if self.compiled.crossed else [*range(axes)]
        return block.transpose(1, 0, *(k + 2 for k in swap))

    def _returned(self, arrays: Sequence[Array], finite: bool) -> Any:
        for kind, array in zip(self.kinds, arrays, strict=True):
            if not finite and not np.isfinite(array).all():
                at = ", ".join(map(str, np.argwhere(~np.isfinite(array))[0]))
                reason = f"the {kind} kernel has no finite value at ({at})"
                remedy = "is every function of the network defined, and smooth enough, for all real arguments?"
                raise LimitError(Message(NOWHERE, reason, remedy, "not finite"))
        return tuple(arrays) if len(arrays) > 1 else arrays[0]

    # ------------------------------------------------------------ what is needed

    def load(self) -> None:
        """Import the generated module now, before several threads ask for it."""
        _ = self._module

    @cached_property
    def _text(self) -> str:
        """The module for the kernel's precision."""
        return self.compiled.text if self.dtype == np.float64 else single(self.compiled.text)

    @cached_property
    def _module(self) -> ModuleType:
        return load(self._text)

    @cached_property
    def _parameters(self) -> tuple[Array, Array]:
        return np.array([*self.compiled.integers, 0], dtype=np.int64), np.array([*self.compiled.floats, 0.0])

    @cached_property
    def _constants(self) -> dict[str, Array]:
        return {name: np.array(c.values).reshape(c.shape) for name, c in self.compiled.constants.items()}

    def _samples(self, X: Any, argument: str) -> _Side:
        data = inputs.samples(self.compiled.data, X, self.dtype, argument)
        return _Side(data, len(next(iter(data.values()))))

    def _out_shape(self, name: str) -> tuple[int, ...]:
        return tuple(a.size for a in self.compiled.out_tables[name])

    def _check_memory(self, first: int, second: int) -> None:
        per_pair = sum(prod(self._out_shape(t)) for t in self.compiled.outputs)
        per_sample = sum(prod(a.size for a in axes) for axes in self.compiled.sites.values())
        result = self.dtype.itemsize * per_pair * first * second + 8 * per_sample * (first + second)
        scratch = 8 * self.threads * max(self.compiled.lanes.values())  # at least one lane a thread
        if result + scratch > self.memory:
            what = "the result" if result > scratch else "computing the kernel"
            needed, most = size_text(result + scratch), size_text(self.memory)
            reason = f"{what} for {first} × {second} samples takes {needed}, over the limit of {most}"
            raise DataError(
                Message(
                    NOWHERE,
                    reason,
                    "pass fewer samples, raise memory=, or write it to disk with .gram(X, out=…)",
                    "over the memory limit",
                )
            )

    # ------------------------------------------------------------ sites

    def _prepare(self, *sides: _Side) -> None:
        """Site tables of all samples, then coefficient vectors of one common length."""
        for side in sides:
            if self.compiled.sites_by_rows:
                self._sites_by_rows(side)
                continue
            self._sites(side)
            for name, root in self.compiled.roots.items():
                side.sites[name] = np.empty_like(side.sites[root.base])
                _root(root, side.sites[root.base], side.sites[name])
        self._coefficients(sides)

    def _sites_by_rows(self, side: _Side) -> None:
        """``_sites`` where positions are lanes: samples one by one, [sample, axes…]."""
        shapes = {n: tuple(a.size for a in axes) for n, axes in self.compiled.sites.items()}
        shapes |= {n: shapes[root.base] for n, root in self.compiled.roots.items()}
        blank = np.empty if self.compiled.grid else np.zeros  # which holds slots beyond boundaries too
        kept = {n: blank((side.count, *shape)) for n, shape in shapes.items()}
        side.sites = {n: np.moveaxis(a, 0, -1) for n, a in kept.items()}
        function = self.compiled.functions["sites"]
        data = {n: a.astype(np.float64, copy=False) for n, a in self._positions_last(side).items()}
        arrays = {**kept, **self._constants, **{f"{n}_{k}": a for n, a in data.items() for k in (1, 2)}}
        integers, floats = self._parameters
        step = -(-side.count // (2 * self.threads))

        def work(start: int) -> None:
            stop = min(side.count, start + step)
            self._module.sites(integers, floats, start, stop, *(arrays[a] for a in function))
            for name, root in self.compiled.roots.items():
                _root(root, kept[root.base][start:stop], kept[name][start:stop])
                if self.compiled.grid:
                    self._blank(kept[name][start:stop])

        self._run(work, list(range(0, side.count, step)), "sites")

    def _positions_last(self, side: _Side) -> dict[str, Array]:
        """The samples with their coordinates before positions."""
        if not side.first:
            turned = {f"data_{n}": np.moveaxis(a, -1, 1) for n, a in side.data.items()}
            side.first = {n: self._on_grid(a) if self.compiled.grid else np.ascontiguousarray(a) for n, a in turned.items()}
        return side.first

    def _on_grid(self, a: Array) -> Array:
        """[…, positions] as […, lanes], with blank lanes after rows."""
        grid = self.compiled.grid
        found = np.zeros((*a.shape[:2], *(n + m for n, m in grid)), a.dtype)
        box: tuple[Any, ...] = (..., *(slice(n) for n, _ in grid))
        found[box] = a
        return found.reshape(*a.shape[:2], -1)

    def _blank(self, a: Array) -> None:
        """Zeros in the blank lanes of [samples, …, lanes]."""
        grid = self.compiled.grid
        box = a.reshape(*a.shape[:-1], *(n + m for n, m in grid))
        for k, (n, m) in enumerate(grid):
            if m:
                beyond: tuple[Any, ...] = (..., slice(n, None), *(slice(None) for _ in grid[k + 1 :]))
                box[beyond] = 0.0

    def _sites(self, side: _Side) -> None:
        function = self.compiled.functions.get("sites")
        if function is None:
            return
        for name, axes in self.compiled.sites.items():
            side.sites[name] = np.zeros((*(a.size for a in axes), side.count))
        layouts = {n: gram.table(side.data, e) for n, e in self.compiled.inputs.items() if n in function and e.key.kind == "Gram"}
        whole = {
            n: gram.coordinates(side.data[e.key.a], e.axes)
            for n, e in self.compiled.inputs.items()
            if n in function and e.key.kind == "data"
        }
        step = max(1, min(BLOCK // max(1, sum(g.numbers for g in layouts.values())), -(-side.count // self.threads)))
        width = self._width("sites", step)

        def work(start: int) -> None:
            stop = min(side.count, start + step)
            arrays = {
                **whole,
                **side.sites,
                **self._constants,
                **{n: gram.alone(g, side.data, slice(start, stop)) for n, g in layouts.items()},
            }
            integers, floats = self._parameters
            self._module.sites(integers, floats, start, stop, width, *(arrays[a] for a in function))

        self._run(work, list(range(0, side.count, step)), "sites")

    def _width(self, name: str, most: int) -> int:
        """How many lanes at a time, in whole vectors of the processor where there are many."""
        lanes = min(512, max(1, CACHE // max(1, self.compiled.lanes[name])))
        return min(most, _whole(lanes))

    def _coefficients(self, sides: Sequence[_Side]) -> None:
        integers, floats = self._parameters
        lengths: dict[str, int] = {}
        for name, root in self.compiled.lengths.items():
            function = f"count_{name}"
            for side in sides:
                arrays = {**side.sites, **self._constants}
                used = (arrays[a] for a in self._arrays(function))
                count = getattr(self._module, function)(integers, floats, side.count, *used, EPS[self.dtype.name])
                lengths[root] = max(lengths.get(root, 1), count)
        for name, axes in self.compiled.coefficients.items():
            for side in sides:
                out = np.zeros((*(a.size for a in axes), side.count, lengths[self.compiled.lengths[name]]))
                self._fill(side, name, out)
                side.sites[name] = out

    def _fill(self, side: _Side, name: str, out: Array) -> None:
        """One table of coefficient vectors, [slots…, N, K]: some samples at a time."""
        integers, floats = self._parameters
        function = f"fill_{name}"
        step = -(-side.count // (8 * self.threads))

        def work(start: int) -> None:
            part = np.zeros_like(out[..., start : start + step, :])
            mine = {n: np.ascontiguousarray(side.sites[n][..., start : start + step]) for n in self.compiled.sites}
            arrays = {**mine, **self._constants}
            used = (arrays[a] for a in self._arrays(function))
            getattr(self._module, function)(integers, floats, part.shape[-2], *used, part)
            out[..., start : start + step, :] = part

        self._run(work, list(range(0, side.count, step)), "coefficients")

    # ------------------------------------------------------------ pairs

    def _sample_first(self, side: _Side) -> dict[str, Array]:
        """What is known of each sample, and the samples with their coordinates before positions: [sample, …]."""
        if not side.by_sample:
            count = dict.fromkeys(self.compiled.coefficients, -2)  # which axis runs over samples
            names = {a[:-2] for key in ("rows", "exact") if key in self.compiled.functions for a in self._arrays(key)}
            found = {n: np.moveaxis(a, count.get(n, -1), 0) for n, a in side.sites.items() if n in names}
            found |= self._positions_last(side)
            side.by_sample = {n: np.ascontiguousarray(a) for n, a in found.items()}
        return side.by_sample

    def _converted(self, side: _Side) -> dict[str, Array]:
        """The same in the kernel's precision, as far as pairs read it."""
        if not side.converted:
            used = {n[:-2] for n in self._arrays("rows")}
            found = self._sample_first(side).items()
            side.converted = {n: a.astype(self.dtype, copy=False) for n, a in found if n in used}
        return side.converted

    def _arrays(self, function: str) -> tuple[str, ...]:
        return self.compiled.functions[function]

    def _row_tasks(
        self, one: _Side, two: _Side, work: NDArray[np.int64], same: bool, results: dict[str, Array]
    ) -> list[Callable[[], None]]:
        """The pairs (i, j) in ``work``, one at a time, each to (row, column) of the results; ``same``: i is j."""
        function = self.compiled.functions["rows"]
        double: dict[str, Array] = {**self._constants}
        fixed: dict[str, Array] = {n: a.astype(self.dtype, copy=False) for n, a in self._constants.items()}
        for side, mark in ((one, 1), (two, 2)):
            double |= {f"{n}_{mark}": a for n, a in self._sample_first(side).items()}
            fixed |= {f"{n}_{mark}": a for n, a in self._converted(side).items()}
        arrays = fixed | results
        integers, floats = self._parameters
        step = max(1, min(256, -(-len(work) // (4 * self.threads))))

        def pairs(part: NDArray[np.int64]) -> None:
            hard = np.zeros(len(part), np.int64)
            self._module.rows(integers, floats.astype(self.dtype), part, same, hard, *(arrays[a] for a in function))
            if hard.any():
                exact = self.compiled.functions["exact"]
                precise = {n: a if n in results else a.astype(np.float64, copy=False) for n, a in (double | results).items()}
                self._module.exact(integers, floats, part, same, hard, *(precise[a] for a in exact))

        return [partial(pairs, work[k : k + step]) for k in range(0, len(work), step)]

    def _by_rows(self, one: _Side, two: _Side, results: dict[str, Array]) -> bool:
        """Fills in all pairs where positions are lanes, those of equal samples last; whether they are finite."""
        rows, columns, need, position = self._twins(one, two)
        alone = {t: np.empty((*self._out_shape(t), len(need)), self.dtype) for t in results}
        tasks = self._row_tasks(one, two, self._in_tiles(one, two), False, results) + self._alone_tasks(one, need, alone)
        self._run(lambda task: task(), tasks, "pairs")
        finite = self._mirrors(results, (0, one.count, 0, one.count)) if one is two else _finite(results)
        for name, values in alone.items():
            results[name][..., rows, columns] = values[..., position]
        return _finite(alone) and finite

    def _in_tiles(self, one: _Side, two: _Side) -> NDArray[np.int64]:
        """All pairs [pair, (i, j, i, j)], by tiles whose samples a core's cache can hold."""
        i, j = np.triu_indices(one.count, 1) if one is two else np.indices((one.count, two.count)).reshape(2, -1)
        edge = max(1, CACHE // (2 * sum(a[0].size for a in self._sample_first(two).values())))
        order = np.lexsort((j // edge, i // edge))
        return np.stack([i, j, i, j], axis=1)[order]

    def _pairs(self, one: _Side, two: _Side, results: dict[str, Array]) -> bool:
        """Fills in all pairs of different samples; whether they were seen to be finite."""
        function = self.compiled.functions["pairs"]
        layouts = {
            n[5:]: gram.table(one.data, e)
            for n, e in self.compiled.inputs.items()
            if n.startswith("pair.") and e.key.kind == "Gram"
        }
        ahead = {}
        for n, g in layouts.items():
            first = gram.left(g, one.data)
            ahead[n] = (g, first, first if one is two and g.plain else gram.right(g, two.data))
        double: dict[str, Array] = {**self._constants}
        double |= {f"{n}_1": a for n, a in one.sites.items()} | {f"{n}_2": a for n, a in two.sites.items()}
        wanted = {c for c in self.compiled.coefficients if f"{c}_columns" in function}
        tails = [s.sites[c][..., -2:].max(initial=0.0) for s in (one, two) for c in self.compiled.coefficients]
        enough = max(tails, default=0.0) ** 2 <= EPS[self.dtype.name]  # as many terms as were asked for: no pair needs more
        double |= {f"{n}_columns": _columns(two.sites[n], enough) for n in wanted}
        used = {n: a for n, a in double.items() if n in function}
        fixed = {n: a.astype(self.dtype, copy=False) for n, a in used.items()} | results
        numbers = sum(g.numbers for g in layouts.values())
        tasks = self._tasks(one.count, two.count, one is two, numbers)
        integers, floats = self._parameters

        rooms = threading.local()

        def inner_products(task: Task, dtype: Any, room: dict[str, Array]) -> dict[str, Array]:
            i0, i1, j0, j1 = task
            return {n: gram.block(g, a, b, slice(i0, i1), slice(j0, j1), dtype, room.get(n)) for n, (g, a, b) in ahead.items()}

        def work(task: Task) -> bool:
            i0, i1, j0, j1 = task
            if not hasattr(rooms, "by_name"):  # the first task is the largest
                most = (tasks[0][1] - tasks[0][0]) * (tasks[0][3] - tasks[0][2])
                rooms.by_name = {n: np.empty(most * g.numbers, self.dtype) for n, g in layouts.items()}
            blocks = inner_products(task, self.dtype, rooms.by_name)
            arrays = {**fixed, **blocks}
            hard = np.zeros(i1 - i0, np.int64)
            place = (i0, i1, j0, j1, one is two, self._width("pairs", j1 - j0), hard)
            self._module.pairs(integers, floats.astype(self.dtype), *place, *(arrays[a] for a in function))
            if hard.any():
                arrays = {**double, **results, **(blocks if self.dtype == np.float64 else inner_products(task, np.float64, {}))}
                self._module.exact(integers, floats, *place, *(arrays[a] for a in self.compiled.functions["exact"]))
            if one is two:
                return self._mirrors(results, task)
            return _finite({n: table[..., i0:i1, j0:j1] for n, table in results.items()})

        with one_thread():
            return all(self._run(work, tasks, "pairs"))

    def _mirrors(self, results: dict[str, Array], task: Task) -> bool:
        seen = [self._mirror(table, task) for table in results.values()]
        return all(seen)

    def _mirror(self, table: Array, task: Task) -> bool:
        """Entry (t, i; t', j) is entry (t', j; t, i). Returns whether those with i < j are finite."""
        if table.ndim == 2:
            return mirror.write(table, *task)
        i0, i1, j0, j1 = task
        upper = table[..., i0:i1, j0:j1]
        flipped = np.moveaxis(self.transposed(np.moveaxis(upper, (-2, -1), (0, 1))), (0, 1), (-2, -1))
        if i0 == j0:
            np.copyto(upper, flipped.copy(), where=np.tri(i1 - i0, k=-1, dtype=bool))
        else:
            table[..., j0:j1, i0:i1] = flipped
        above = np.arange(j0, j1) > np.arange(i0, i1)[:, None]
        return bool((np.isfinite(upper) | ~above).all())

    def _tasks(self, first: int, second: int, symmetric: bool, numbers: int) -> list[Task]:
        """Blocks of pairs, the largest first: wide, which BLAS likes, but small enough for memory and for an even load.

        Those on the diagonal are squares, of which BLAS does half.
        """
        share = first * second // (8 if symmetric else 4) // self.threads
        most = max(1, min(BLOCK // max(1, numbers), share))
        edge = _whole(max(1, min(isqrt(most), first, EDGE)))
        wide = _whole(max(1, min(most // edge, 4 * EDGE)))
        tasks = []
        for i0 in range(0, first, edge):
            i1 = min(i0 + edge, first)
            tasks += [(i0, i1, i0, i1)] if symmetric else []
            tasks += [(i0, i1, j, min(j + wide, second)) for j in range(i1 if symmetric else 0, second, wide)]
        return sorted(tasks, key=lambda t: (t[0] - t[1]) * (t[3] - t[2]))

    def _equal(self, one: _Side, two: _Side, results: dict[str, Array]) -> bool:
        """Pairs of one and the same sample get the values of a sample with itself; whether these are finite."""
        rows, columns, need, position = self._twins(one, two)
        if not len(rows):
            return True
        alone = self._diagonal(one, need)
        for name, values in alone.items():
            results[name][..., rows, columns] = values[..., position]
        return _finite(alone)

    def _twins(self, one: _Side, two: _Side) -> tuple[NDArray[np.int64], ...]:
        """Pairs (row, column) of one and the same sample; the samples in them, and by pair which of these it is."""
        first = inputs.groups(one.data)
        if one is two:
            rows = columns = np.arange(one.count)
            counts = np.unique(first, return_counts=True)[1]
            if counts.max() > 1:
                rows, columns = _matches(first, first)
        else:
            both = inputs.groups({n: np.concatenate([one.data[n], two.data[n]]) for n in one.data})
            rows, columns = _matches(both[: one.count], both[one.count :])
        return rows, columns, *np.unique(rows, return_inverse=True)

    def _diagonal(self, side: _Side, which: NDArray[np.int64]) -> dict[str, Array]:
        """The chosen samples, each with itself: [out axes…, sample]."""
        if "rows" in self.compiled.functions:
            return self._once(side, which)
        if "diagonal" not in self.compiled.functions:
            return {t: side.sites[t][..., which].astype(self.dtype) for t in self.compiled.outputs}
        part = side
        if len(which) < side.count:
            part = _Side({n: a[which] for n, a in side.data.items()}, len(which))
            axis = dict.fromkeys(self.compiled.coefficients, -2)
            part.sites = {n: np.ascontiguousarray(np.take(a, which, axis=axis.get(n, -1))) for n, a in side.sites.items()}
        results = {t: np.empty((*self._out_shape(t), part.count), self.dtype) for t in self.compiled.outputs}
        function = self.compiled.functions["diagonal"]
        layouts = {
            n[5:]: gram.table(part.data, e)
            for n, e in self.compiled.inputs.items()
            if n.startswith("pair.") and e.key.kind == "Gram"
        }
        step = max(1, min(BLOCK // max(1, sum(g.numbers for g in layouts.values())), -(-part.count // self.threads)))
        width = self._width("diagonal", step)
        integers, floats = self._parameters

        def work(start: int) -> None:
            stop = min(part.count, start + step)
            blocks = {n: gram.alone(g, part.data, slice(start, stop)) for n, g in layouts.items()}
            arrays = {**part.sites, **self._constants, **results, **blocks}
            self._module.diagonal(integers, floats, start, stop, width, *(arrays[a] for a in function))

        self._run(work, list(range(0, part.count, step)), "diagonal")
        return results

    def _once(self, side: _Side, which: NDArray[np.int64]) -> dict[str, Array]:
        """``_diagonal`` by rows."""
        results = {t: np.empty((*self._out_shape(t), len(which)), self.dtype) for t in self.compiled.outputs}
        self._run(lambda task: task(), self._alone_tasks(side, which, results), "pairs")
        return results

    def _alone_tasks(self, side: _Side, which: NDArray[np.int64], results: dict[str, Array]) -> list[Callable[[], None]]:
        work = np.stack([which, which, np.arange(len(which)), np.zeros(len(which), np.int64)], axis=1)
        return self._row_tasks(side, side, work, True, {n: a[..., None] for n, a in results.items()})

    def _run(self, work: Callable[[Any], Any], tasks: Sequence[Any], what: str) -> list[Any]:
        return run(work, tasks, self.threads, what if self.progress else None)


def _whole(lanes: int) -> int:
    """About so many, in whole vectors of the processor where that is a small change."""
    return -(-lanes // VECTOR) * VECTOR if lanes > VECTOR else lanes


def _finite(arrays: dict[str, Array]) -> bool:
    return all(bool(np.isfinite(a).all()) for a in arrays.values())


def _root(root: Root, variances: Array, out: Array) -> None:
    """A power of variances; 1/√0 is 0: no variance, no correlation."""
    np.multiply(variances, root.slope, out=out)
    out += root.shift
    with np.errstate(divide="ignore", invalid="ignore"):
        if abs(root.power) == 0.5:
            np.sqrt(out, out=out)
        if root.power == -0.5:
            np.divide(1.0, out, out=out)
        elif root.power != 0.5:
            np.power(out, root.power, out=out)
    finite = np.isfinite(out)
    if not finite.all():
        out[~finite] = 0.0


def _columns(vectors: Array, enough: bool) -> Array:
    """Coefficient vectors [slots…, N, K] as [slots…, K, N]; their tails are the largest of all samples, or 0 if ``enough``."""
    found = np.ascontiguousarray(np.swapaxes(vectors, -1, -2))
    found[..., -2:, :] = 0.0 if enough else found[..., -2:, :].max(-1, keepdims=True)
    return found


def _matches(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All (i, j) with a[i] == b[j]."""
    order = np.argsort(b, kind="stable")
    lo, hi = np.searchsorted(b[order], a, "left"), np.searchsorted(b[order], a, "right")
    rows = np.repeat(np.arange(len(a)), hi - lo)
    starts = np.repeat(hi - np.cumsum(hi - lo), hi - lo)
    return rows, order[np.arange(len(rows)) + starts]


__all__ = ["Kernel", "default_memory", "default_threads"]
