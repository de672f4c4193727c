"""Where tiles are written: ``.npy`` files, or arrays of a zarr group whose chunks are the tiles.

A tile and its mirror image belong to one task, so tasks never write the same bytes, or the same bytes alike. Of what was written
a checksum is kept, so that bytes that were altered since are seen when a run goes on.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
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

    def write(self, folder: Path, kind: str, tile: Tile, block: Array, mirror: Array | None) -> int:
        """A tile and its mirror image, on disk before this returns; their checksum."""
        path = folder / dict(self.names)[kind]
        offset = int(np.load(path, mmap_mode="r", allow_pickle=False).offset)
        found = 0
        with path.open("r+b") as file:
            for row, column, numbers in _rows(tile, block, mirror):
                file.seek(offset + (row * self.shape[1] + column) * self._pair)
                file.write(numbers)
                found = zlib.crc32(numbers, found)
            file.flush()
            os.fsync(file.fileno())
        return found

    def sound(self, path: Path) -> bool:
        """Whether a file is an array of this shape and precision, to its end."""
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return False
        return isinstance(found, np.memmap) and _alike(found, self.shape, self.dtype) and found.flags.c_contiguous

    def checksum(self, folder: Path, kind: str, tile: Tile, mirrored: bool) -> int:
        """That of a tile and its mirror image as they are on disk, by plain reads."""
        path = folder / dict(self.names)[kind]
        offset = int(np.load(path, mmap_mode="r", allow_pickle=False).offset)
        found = 0
        with path.open("rb") as file:
            for i0, i1, j0, j1 in _places(tile, mirrored):
                for row in range(i0, i1):
                    file.seek(offset + (row * self.shape[1] + j0) * self._pair)
                    found = zlib.crc32(file.read((j1 - j0) * self._pair), found)
        return found

    @property
    def _pair(self) -> int:
        """Bytes of an entry."""
        return np.dtype(self.dtype).itemsize * prod(self.shape[2:])

    def complete(self, folder: Path) -> bool:
        return all(self.sound(folder / name) for _, name in self.names)

    def open(self, folder: Path) -> dict[str, Array]:
        """Read-only, mapped into memory."""
        return {kind: np.load(folder / name, mmap_mode="r", allow_pickle=False) for kind, name in self.names}


def _rows(tile: Tile, block: Array, mirror: Array | None) -> Iterator[tuple[int, int, memoryview]]:
    """(row, first column, numbers) of every row of a tile and of its mirror image."""
    parts = [block] if mirror is None else [block, mirror]
    for part, (i0, _, j0, _) in zip(parts, _places(tile, mirror is not None), strict=True):
        for at in range(0, len(part), STRIP):
            strip = np.ascontiguousarray(part[at : at + STRIP])
            for k in range(len(strip)):
                yield i0 + at + k, j0, strip[k].data


def _places(tile: Tile, mirrored: bool) -> Iterable[tuple[int, int, int, int]]:
    """Rows and columns, ends excluded, of a tile and of its mirror image, which a tile on the diagonal is itself."""
    own = (tile.i0, tile.i1, tile.j0, tile.j1)
    return (own, (*own[2:], *own[:2])) if mirrored and tile.i0 != tile.j0 else (own,)


@dataclass(frozen=True, slots=True)
class ZarrStore:
    """A zarr group, one array per kind; chunks are tiles. Needs the extra ``scale``."""

    names: tuple[tuple[str, str], ...]
    shape: tuple[int, ...]
    dtype: str
    edge: int

    def create(self, folder: Path) -> None:
        group = zarr().create_group(store=str(folder / self.names[0][1]), zarr_format=3)
        for kind, _ in self.names:
            chunks = (min(self.edge, self.shape[0]), min(self.edge, self.shape[1]), *self.shape[2:])
            group.create_array(
                name=kind, shape=self.shape, chunks=chunks, dtype=self.dtype, compressors=None, fill_value=float("nan")
            )

    def write(self, folder: Path, kind: str, tile: Tile, block: Array, mirror: Array | None) -> int:
        array = group(folder / self.names[0][1], "r+")[kind]
        array[tile.i0 : tile.i1, tile.j0 : tile.j1] = block
        if mirror is not None:
            array[tile.j0 : tile.j1, tile.i0 : tile.i1] = mirror
        return _checksum(tile, block, mirror)

    def sound(self, path: Path) -> bool:
        """Whether a group has arrays of this shape and precision, in plain bytes; of their chunks nothing is said."""
        try:
            arrays = [group(path)[kind] for kind, _ in self.names]
            return all(_alike(a, self.shape, self.dtype) and _plain(a) for a in arrays)
        except Exception:  # metadata of strangers: anything may be wrong with them
            return False

    def checksum(self, folder: Path, kind: str, tile: Tile, mirrored: bool) -> int | None:
        """That of a tile and its mirror image; None where their chunks are not there in full."""
        name = dict(self.names)[kind]
        array = group(folder / name)[kind]
        size = prod(array.chunks) * np.dtype(self.dtype).itemsize
        parts = []
        for i0, i1, j0, j1 in _places(tile, mirrored):
            key = array.metadata.encode_chunk_key((i0 // self.edge, j0 // self.edge, *(0 for _ in self.shape[2:])))
            chunk = folder / name / kind / key
            if not chunk.is_file() or chunk.stat().st_size != size:
                return None
            parts.append(np.asarray(array[i0:i1, j0:j1]))
        return _checksum(tile, *parts)

    def complete(self, folder: Path) -> bool:
        path = folder / self.names[0][1]
        return self.sound(path) and all(a.nchunks_initialized == a.nchunks for a in self.open(folder).values())

    def open(self, folder: Path) -> dict[str, Any]:
        opened = group(folder / self.names[0][1])
        return {kind: opened[kind] for kind, _ in self.names}


def _checksum(tile: Tile, block: Array, mirror: Array | None = None) -> int:
    found = 0
    for _, _, numbers in _rows(tile, block, mirror):
        found = zlib.crc32(numbers, found)
    return found


Store = NpyStore | ZarrStore


def _alike(array: Any, shape: tuple[int, ...], dtype: str) -> bool:
    return tuple(array.shape) == shape and array.dtype == np.dtype(dtype)


def _plain(array: Any) -> bool:
    """Whether chunks are the numbers as they stand. A stranger may name any codec, one that unpickles among them."""
    return [c.to_dict() for c in array.metadata.codecs] == [{"name": "bytes", "configuration": {"endian": "little"}}]


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


def group(path: Path, mode: str = "r") -> Any:
    """The zarr group in a folder, of the third format: arrays of the second one may name codecs that unpickle."""
    return zarr().open_group(store=str(path), mode=mode, zarr_format=3)


def zarr() -> Any:
    """The library, or how to get it."""
    try:
        import zarr
    except ImportError:
        remedy = 'pip install "tensor-programs[scale]", or end the name in .npy'
        raise DataError(Message(NOWHERE, "zarr is not installed", remedy, "missing extra")) from None
    return zarr
