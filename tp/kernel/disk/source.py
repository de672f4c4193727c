"""The samples of a run, read a few rows at a time, and a fingerprint of all of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.kernel.inputs import Samples, converted

Array = NDArray[Any]

CHUNK = 1 << 22
"""Bytes that are read at a time to check and to fingerprint."""


@dataclass(frozen=True, slots=True)
class Source:
    """Arrays [N, …] by input name, as they were given: in memory, or mapped from files."""

    arrays: Samples
    argument: str = "X"

    @property
    def count(self) -> int:
        return len(next(iter(self.arrays.values())))

    def rows(self, start: int, stop: int) -> Samples:
        return {name: array[start:stop] for name, array in self.arrays.items()}

    def digest(self, dtype: np.dtype[Any]) -> str:
        """Of every number in the kernel's precision; on the way all are seen to be finite."""
        found = hashlib.sha256()
        for name in sorted(self.arrays):
            found.update(f"{name} {self.arrays[name].shape} {dtype}".encode())
            for part in self._chunks(name, dtype):
                found.update(part.data)
        return found.hexdigest()

    def spool(self, folder: Path, dtype: np.dtype[Any]) -> Spooled:
        """A copy in ``folder`` for workers that do not share this memory; a file appears when it is whole, anew for every run."""
        files = []
        for k, name in enumerate(sorted(self.arrays)):
            path = folder / f"{self.argument}-{k}.npy"
            files.append((name, str(path.absolute())))
            temporary = path.with_name(f"{path.name}.new")
            with temporary.open("wb") as file:
                shape = self.arrays[name].shape
                np.lib.format.write_array_header_2_0(
                    file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                )
                for part in self._chunks(name, dtype):
                    file.write(part.data)
            os.replace(temporary, path)
        return Spooled(tuple(files))

    def _chunks(self, name: str, dtype: np.dtype[Any]) -> Iterator[Array]:
        array = self.arrays[name]
        step = max(1, CHUNK // max(1, dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))))
        for start in range(0, len(array), step):
            yield converted(name, array[start : start + step], dtype, self.argument, start)


@dataclass(frozen=True, slots=True)
class Spooled:
    """Samples in files of the run's own folder, for workers anywhere that folder is seen."""

    files: tuple[tuple[str, str], ...]

    def rows(self, start: int, stop: int) -> Samples:
        return {name: np.load(path, mmap_mode="r", allow_pickle=False)[start:stop] for name, path in self.files}
