"""Where tiles are written: ``.npy`` files, or arrays of a zarr group whose chunks are the tiles.

A tile and its mirror image belong to one task, so tasks never write the same bytes, or the same bytes alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message
from tp.kernel.disk.tiles import Tile
from tp.regression import chunks

Array = NDArray[Any]

STRIP = 64
"""Rows that are made contiguous at a time."""


MAPPED = 1 << 22
"""Bytes of a file that are mapped into memory at a time."""


@dataclass(frozen=True, slots=True)
class NpyStore:
    """One ``.npy`` file per kind. Rows of a tile go to their places with plain writes, which take no memory of the process."""

    names: tuple[tuple[str, str], ...]  # (kind, name of its file), one per kernel
    shape: tuple[int, ...]
    dtype: str

    def create(self, folder: Path) -> None:
        """Files of the right size, with nothing in them."""
        for _, name in self.names:
            np.lib.format.open_memmap(folder / name, mode="w+", dtype=np.dtype(self.dtype), shape=self.shape)

    def write(self, folder: Path, kind: str, tile: Tile, block: Array, mirror: Array | None) -> None:
        """A tile and its mirror image, on disk before this returns."""
        path = folder / dict(self.names)[kind]
        offset = int(np.load(path, mmap_mode="r", allow_pickle=False).offset)
        pair = np.dtype(self.dtype).itemsize * int(np.prod(self.shape[2:], dtype=np.int64))
        with path.open("r+b") as file:
            for row, column, numbers in _rows(tile, block, mirror):
                file.seek(offset + (row * self.shape[1] + column) * pair)
                file.write(numbers)
            file.flush()
            os.fsync(file.fileno())

    def sound(self, path: Path) -> bool:
        """Whether a file is an array of this shape and precision, to its end."""
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return False
        return isinstance(found, np.memmap) and _alike(found, self.shape, self.dtype) and found.flags.c_contiguous

    def holds(self, folder: Path, tile: Tile, mirrored: bool) -> bool:
        """Whether the numbers of a tile that was marked are there: a file that is sound has them."""
        return True

    def complete(self, folder: Path) -> bool:
        return all(self.sound(folder / name) for _, name in self.names)

    def open(self, folder: Path) -> dict[str, Array]:
        """Read-only, mapped into memory."""
        return {kind: np.load(folder / name, mmap_mode="r", allow_pickle=False) for kind, name in self.names}


def _rows(tile: Tile, block: Array, mirror: Array | None) -> Iterator[tuple[int, int, memoryview]]:
    """(row, first column, numbers) of every row of a tile and of its mirror image."""
    for part, i0, j0 in ((block, tile.i0, tile.j0), (mirror, tile.j0, tile.i0)):
        for at in range(0, len(part) if part is not None else 0, STRIP):
            assert part is not None
            strip = np.ascontiguousarray(part[at : at + STRIP])
            for k in range(len(strip)):
                yield i0 + at + k, j0, strip[k].data


@dataclass(frozen=True, slots=True)
class ZarrStore:
    """A zarr group, one array per kind; chunks are tiles. Needs the extra ``scale``."""

    names: tuple[tuple[str, str], ...]
    shape: tuple[int, ...]
    dtype: str
    edge: int

    def create(self, folder: Path) -> None:
        group = zarr().create_group(store=str(folder / self.names[0][1]))
        for kind, _ in self.names:
            chunks = (min(self.edge, self.shape[0]), min(self.edge, self.shape[1]), *self.shape[2:])
            group.create_array(
                name=kind, shape=self.shape, chunks=chunks, dtype=self.dtype, compressors=None, fill_value=float("nan")
            )

    def write(self, folder: Path, kind: str, tile: Tile, block: Array, mirror: Array | None) -> None:
        array = zarr().open_group(store=str(folder / self.names[0][1]), mode="r+")[kind]
        array[tile.i0 : tile.i1, tile.j0 : tile.j1] = block
        if mirror is not None:
            array[tile.j0 : tile.j1, tile.i0 : tile.i1] = mirror

    def sound(self, path: Path) -> bool:
        """Whether a group has arrays of this shape and precision; of their chunks nothing is said."""
        try:
            group = zarr().open_group(store=str(path), mode="r")
            return all(_alike(group[kind], self.shape, self.dtype) for kind, _ in self.names)
        except Exception:  # metadata of strangers: anything may be wrong with them
            return False

    def holds(self, folder: Path, tile: Tile, mirrored: bool) -> bool:
        """Whether the chunks of a tile that was marked are there, in full."""
        group = zarr().open_group(store=str(folder / self.names[0][1]), mode="r")
        i, j = tile.i0 // self.edge, tile.j0 // self.edge
        for kind, name in self.names:
            for at in {(i, j), (j, i)} if mirrored else {(i, j)}:
                key = group[kind].metadata.encode_chunk_key((*at, *(0 for _ in self.shape[2:])))
                chunk = folder / name / kind / key
                if not chunk.is_file() or chunk.stat().st_size != prod(group[kind].chunks) * np.dtype(self.dtype).itemsize:
                    return False
        return True

    def complete(self, folder: Path) -> bool:
        path = folder / self.names[0][1]
        return self.sound(path) and all(a.nchunks_initialized == a.nchunks for a in self.open(folder).values())

    def open(self, folder: Path) -> dict[str, Any]:
        group = zarr().open_group(store=str(folder / self.names[0][1]), mode="r")
        return {kind: group[kind] for kind, _ in self.names}


Store = NpyStore | ZarrStore


def _alike(array: Any, shape: tuple[int, ...], dtype: str) -> bool:
    return tuple(array.shape) == shape and array.dtype == np.dtype(dtype)


def store_for(out: Path, kinds: tuple[str, ...], shape: tuple[int, ...], dtype: str, edge: int) -> Store:
    """``K.npy`` for one kernel, ``K.nngp.npy`` and ``K.ntk.npy`` for several; one group ``K.zarr`` for any number."""
    if out.suffix == ".zarr":
        zarr()
        return ZarrStore(tuple((k, out.name) for k in kinds), shape, dtype, edge)
    if out.suffix != ".npy":
        raise DataError(
            Message(NOWHERE, f"`{out.name}` does not say how to store a kernel", "end the name in .npy or .zarr", "file name")
        )
    names = tuple((k, out.name if len(kinds) == 1 else f"{out.stem}.{k}.npy") for k in kinds)
    return NpyStore(names, shape, dtype)


def part(matrix: Any, rows: slice, columns: slice) -> Array:
    """A float64 copy of part of a matrix in memory, in zarr or in a ``.npy`` file, of which little is mapped at a time."""
    if not isinstance(matrix, np.memmap):
        return np.array(matrix[rows, columns], dtype=np.float64)
    start, stop, _ = rows.indices(len(matrix))
    found = np.empty((stop - start, len(range(*columns.indices(matrix.shape[1])))))
    for few in chunks(stop - start, MAPPED // (matrix.shape[1] * matrix.itemsize)):
        mapped = np.load(str(matrix.filename), mmap_mode="r", allow_pickle=False)
        found[few] = mapped[start + few.start : start + few.stop, columns]
    return found


def zarr() -> Any:
    """The library, or how to get it."""
    try:
        import zarr
    except ImportError:
        remedy = 'pip install "tensor-programs[scale]", or end the name in .npy'
        raise DataError(Message(NOWHERE, "zarr is not installed", remedy, "missing extra")) from None
    return zarr
