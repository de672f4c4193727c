"""``Matrices``: matrices on disk and regressions, as every kernel has them; ``Tiled``: what they ask of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tp.asked import asked
from tp.kernel.inputs import Names, Shapes

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from tp.kernel.disk.result import Gram
    from tp.kernel.posterior import Posterior


KINDS = {"K": "nngp", "Theta": "ntk"}
"""What is asked for, by what it is in equations."""


def names(kinds: tuple[str, ...]) -> str:
    """Kinds as they are asked for."""
    return ", ".join(KINDS[kind] for kind in kinds)


class Tiled(Protocol):
    """``k(X1, X2)``, [N1, N2, *axes] per kind, all calls of which are blocks of one matrix."""

    @property
    def network(self) -> str:
        """Its name."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]: ...

    @property
    def shapes(self) -> Shapes:
        """The shape of one sample, by input."""
        ...

    @property
    def sizes(self) -> Names:
        """What the extents of an input are called in the spec."""
        ...

    @property
    def axes(self) -> tuple[int, ...]:
        """Of an entry: those of the output."""
        ...

    @property
    def numbers(self) -> int:
        """That a pair takes to compute."""
        ...

    @property
    def decides(self) -> Mapping[str, Any]:
        """What entries depend on besides samples, as JSON."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def bound(self) -> float: ...

    @property
    def threads(self) -> int: ...

    @property
    def memory(self) -> int:
        """Bytes that a call may hold."""
        ...

    @property
    def at_once(self) -> int:
        """Tiles that are in work in one process."""
        ...

    @property
    def parts(self) -> int:
        """Tiles a side of a matrix, at least."""
        ...

    def __call__(self, X1: Any, X2: Any = None) -> Any: ...

    def diag(self, X: Any) -> Any: ...

    def working(self, first: int, second: int) -> int:
        """Bytes that a call for so many samples holds at most."""
        ...

    def transposed(self, block: Any) -> Any:
        """Entries (j, i) of a symmetric kernel from entries (i, j)."""
        ...

    def load(self) -> None:
        """Make ready what all threads use."""
        ...

    def limited(self, threads: int, memory: int | None = None) -> Tiled:
        """The same within so many threads and bytes, without a bar, for blocks of one matrix."""
        ...

    def reaching(self, X: Any, X2: Any = None) -> Tiled:
        """What takes all of these samples, so that calls for some of them are blocks of one matrix."""
        ...


class Matrices:
    """What a kernel has beside its calls, once it is ``Tiled``."""

    @asked
    def gram(
        self: Tiled,
        X: Any,
        X2: Any = None,
        *,
        out: str | os.PathLike[str],
        memory: int | str = "2GB",
        executor: Executor | str | None = None,
        progress: bool | None = None,
    ) -> Gram:
        """All pairs of samples, written to ``out`` (.npy or .zarr) tile by tile; a run that was cut short goes on where it was.

        A tile counts as done when its marker is there, which comes after its numbers and has their checksum: what was altered
        since is computed again. ``out`` appears when all are done.
        ``memory`` is what tasks hold at once, on top of what their processes hold anyway: all tasks of a pool, or of one worker
        of a cluster. ``executor`` is "threads", "processes", a ``concurrent.futures.Executor`` or a ``dask.distributed.Client``;
        its workers must see the folder of ``out``. ``progress`` shows a bar (None: at a terminal or in a notebook).
        Raises ``DataError`` where ``out`` holds, or was begun with, another kernel or other data, or where another process is at
        work on it.
        """
        from tp.kernel.disk.run import write

        return write(self.reaching(X, X2), X, X2, out, memory, executor, progress)

    @asked
    def solve(
        self: Tiled,
        X: Any,
        y: Any,
        ridge: float | str = 0.0,
        *,
        kind: str | None = None,
        time: float = inf,
        out: str | os.PathLike[str] | None = None,
        memory: int | str | None = None,
        executor: Executor | str | None = None,
        method: str = "auto",
        tol: float | None = None,
        rank: int | None = None,
        progress: bool | None = None,
    ) -> Posterior:
        """What infinitely wide networks predict that have seen ``X`` and ``y``, [N] or [N, outputs]: means and variances.

        Classes are columns, ``y = np.eye(10)[labels]``, and ``.mean(X).argmax(1)`` is the one predicted.
        ``kind="nngp"``: the Gaussian process posterior with noise variance ``ridge``, and its log marginal likelihood;
        ``kind="ntk"`` (default where the kernel has it): networks trained by gradient flow for ``time``, of which the variance
        takes both kernels. ``ridge="loo"`` finds the ridge of least squared error at samples that are left out one at a time, of
        37 from 1e-8 to 10 times the mean diagonal, in memory by one eigendecomposition; ``.ridge`` says it.

        With ``out`` the matrix and its Cholesky factor (float64) are on disk, in tiles and panels within ``memory``, and go on
        after a kill as ``gram`` does. Where the matrix is singular to rounding, a warning and ``.jitter`` say what was added to
        its diagonal.

        ``method="cg"``, for N too large for N³ operations: preconditioned conjugate gradients, some passes over the matrix, with
        no other on disk. They take a ridge, stop at a residual of ``tol`` (1e-8) relative to the targets, or to the columns of
        a variance, and know no marginal likelihood; ``rank`` (4√N) is that of the preconditioner, ``.residual`` and
        ``.iterations`` say how it went. Raises ``DataError`` where they do not get there. "auto" is "cholesky".
        ``progress`` shows bars (None: at a terminal or in a notebook).
        """
        from tp.kernel.conjugate import wish
        from tp.kernel.posterior import solve

        return solve(self.reaching(X), X, y, ridge, kind, time, out, memory, executor, wish(method, tol, rank), progress)
