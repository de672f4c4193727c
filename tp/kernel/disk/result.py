"""``Gram``: kernel matrices on disk, with what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """Finished kernels in files: ``gram["ntk"]`` is a read-only memmap or a zarr array [N1, N2, …], as ``k(X1, X2)`` gives.

    Iterates over the matrices in the kernel's order: ``Kn, Kt = net.kernel("nngp", "ntk").gram(X, out="K.npy")``.
    """

    path: Path
    arrays: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.arrays)

    @property
    def shape(self) -> tuple[int, ...]:
        """[N1, N2, …] of each matrix."""
        return tuple(self.metadata["shape"])

    def __getitem__(self, kind: str) -> Any:
        return self.arrays[kind]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.arrays.values())

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.shape))
        return f"<Gram {' '.join(self.kinds)} of {self.metadata['network']}, {shape}, {self.metadata['dtype']}, in {self.path}>"
