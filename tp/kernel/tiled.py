"""``Tiled``: what matrices on disk and regressions ask of a kernel, all calls of which are blocks of one matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tp.kernel.inputs import Names, Shapes

if TYPE_CHECKING:
    from tp.kernel.disk.result import Gram


class Tiled(Protocol):
    """``k(X1, X2)``, [N1, N2, *axes] per kind."""

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

    def gram(self, X: Any, X2: Any = None, *, out: Any, memory: Any, executor: Any, progress: bool | None) -> Gram: ...

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
