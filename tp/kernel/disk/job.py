"""A run in a folder beside its result: what it computes, its arrays, and a marker for every tile that is done.

``K.npy.partial/`` holds the arrays, ``done/`` and ``job.json``, which comes when the others are there; without it the folder is
made anew. Arrays move to their final names after the last tile; then the folder goes. So a kill leaves a run that goes on, never
a file that looks finished and is not. A lock in the folder keeps a second process away. Everything in it is data: it is read as
JSON and arrays, and checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tp.errors import NOWHERE, DataError, Message
from tp.kernel.disk.lock import locked
from tp.kernel.disk.result import Gram
from tp.kernel.disk.store import NpyStore, Store, group
from tp.kernel.disk.tiles import Tile, Tiling
from tp.kernel.module import read
from tp.progress import over

FORMAT = 1

LARGEST = 1 << 26
"""Bytes of a record at most."""


@dataclass(frozen=True, slots=True)
class Job:
    """The files of a run whose result is ``out``; ``about`` is the metadata, with the fingerprint of kernel and data."""

    out: Path
    store: Store
    about: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return self.out.with_name(f"{self.out.name}.partial")

    @property
    def sidecar(self) -> Path:
        """Metadata beside ``.npy`` files; a zarr group has them as attributes."""
        return self.out.with_name(f"{self.out.name}.json")

    # ------------------------------------------------------------ tiles

    def done(self, tiling: Tiling) -> frozenset[Tile]:
        """The tiles that have a marker; a kill while one is written may leave it empty, which is none."""
        markers = {entry.name for entry in os.scandir(self.folder / "done") if entry.stat().st_size}
        return frozenset(t for t in tiling.tiles if t.name in markers)

    def is_done(self, tile: Tile) -> bool:
        try:
            return self._marker(tile).stat().st_size > 0
        except FileNotFoundError:
            return False

    def mark(self, tile: Tile, checksums: Iterable[int]) -> None:
        """A tile is done; ``checksums`` are those of its arrays, in the order of the store's names."""
        self._marker(tile).write_text(_text(checksums), "ascii")

    def _marker(self, tile: Tile) -> Path:
        return self.folder / "done" / tile.name

    def _as_written(self, tile: Tile, mirrored: bool) -> bool:
        """Whether the numbers of a tile that has a marker are on disk, bit by bit as they were written.

        Raises ``DataError`` where they are not, and their array has its final name already.
        """
        found, published = [], []
        for kind, name in self.store.names:
            begun = (self.folder / name).exists()
            found.append(self.store.checksum(self.folder if begun else self.out.parent, kind, tile, mirrored))
            published += [] if begun else [name]
        if None not in found and read(self._marker(tile), 1 << 12) == _text(c for c in found if c is not None).encode():
            return True
        if published:
            raise _damaged(published[0], f"remove it and `{self.folder.name}`, and begin again")
        return False

    # ------------------------------------------------------------ beginning and end

    def finished(self) -> Gram | None:
        """The result, where it is there and is this run's; a ``DataError`` where something else has its name."""
        found = self._found()
        if found is not None and found.get("fingerprint") == self.about["fingerprint"]:
            if not self.store.complete(self.out.parent):
                raise _damaged(self.out.name, "remove it, and compute it again")
            shutil.rmtree(self.folder, ignore_errors=True)
            return Gram(self.out, self.store.open(self.out.parent), {**found, **self.about, "tile": found.get("tile")})
        begun = (self.folder / "job.json").exists()
        for name in self._names:
            if (self.out.parent / name).exists() and not (begun and not (self.folder / name).exists()):
                raise _taken(name, "it holds something else: another kernel, other data or other precision")
        return None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The folder is there, and this process's alone."""
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(exist_ok=True)
                if self._foreign():
                    raise _taken(self.folder.name, "it is no record of an unfinished run")
                if self._linked():
                    raise _taken(self.folder.name, "links are in it, and what they point to would be written to")
                stack.enter_context(locked(self.folder / "lock", self.out.name))
            except OSError as error:
                raise _unwritable(self.folder, error) from error
            yield

    def begin(self, tiling: Tiling, progress: bool | None = None) -> None:
        """Go on with the unfinished run that is there, if it is this one, or make it.

        Tiles whose numbers are not those that were written are not done; a bar shows the reading of those that are.
        """
        record = read_record(self.folder / "job.json")
        if record is None and not self._foreign():
            self._create()
            return
        if record is None or record.get("format") != FORMAT:
            raise _taken(self.folder.name, "it is no record of an unfinished run")
        if record.get("fingerprint") != self.about["fingerprint"] or record.get("tile") != self.about["tile"]:
            raise _taken(self.folder.name, "it was begun for another kernel, other data or other precision")
        for name in self._names:
            path = self.folder / name if (self.folder / name).exists() else self.out.parent / name
            if not self.store.sound(path):
                raise _damaged(self.folder.name, "remove it, and begin again")
        for part in ("done", "samples"):
            (self.folder / part).mkdir(exist_ok=True)
        for tile in over(sorted(self.done(tiling), key=lambda t: (t.i0, t.j0)), "checking", " tiles", progress):
            if not self._as_written(tile, tiling.symmetric):
                self._marker(tile).unlink()

    def begun(self) -> int | None:
        """The edge of the tiles of the unfinished run that is there."""
        record = read_record(self.folder / "job.json") if self.folder.exists() else None
        edge = record.get("tile") if record else None
        return edge if type(edge) is int and edge > 0 else None

    def _create(self) -> None:
        """The record comes last: what is there without it was cut short, and makes room."""
        try:
            for entry in os.scandir(self.folder):
                if entry.name != "lock":
                    shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
            (self.folder / "done").mkdir()
            (self.folder / "samples").mkdir()
            self.store.create(self.folder)
            replace_text(self.folder / "job.json", json.dumps(dict(self.about)))
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise _unwritable(self.folder, error) from error

    def _foreign(self) -> bool:
        """Whether the folder holds what no run puts there before its record."""
        return bool({*os.listdir(self.folder)} - {"lock", "done", "samples", ".job.json.new", *self._names}) and not (
            read_record(self.folder / "job.json")
        )

    def _linked(self) -> bool:
        """Whether a name somewhere in the folder stands for what is elsewhere."""
        folders = [os.fspath(self.folder)]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        return True
                    if entry.is_dir():
                        folders.append(entry.path)
        return False

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for _, name in self.store.names))

    def finish(self) -> Gram:
        """Arrays to their final names, metadata after them, and the folder away."""
        about = dict(self.about)
        if isinstance(self.store, NpyStore):
            self._publish()
            about["files"] = {k: {"name": n, **_stamp(self.out.parent / n)} for k, n in self.store.names}
            replace_text(self.sidecar, json.dumps(about, indent=1))
        else:
            if (self.folder / self.out.name).exists():
                group(self.folder / self.out.name, "r+").attrs.update(about)
            self._publish()
        shutil.rmtree(self.folder, ignore_errors=True)
        return Gram(self.out, self.store.open(self.out.parent), about)

    def _publish(self) -> None:
        for name in self._names:
            if (self.folder / name).exists():
                os.replace(self.folder / name, self.out.parent / name)

    def _found(self) -> Mapping[str, Any] | None:
        """The metadata of a finished result under this name, if its files are those that were finished."""
        if not isinstance(self.store, NpyStore):
            attributes = (read_record(self.out / "zarr.json") or {}).get("attributes")
            return attributes if isinstance(attributes, dict) else None
        record = read_record(self.sidecar)
        if record is None or not isinstance(record.get("files"), dict):
            return None
        for kind, name in self.store.names:
            path = self.out.parent / name
            if not path.is_file() or record["files"].get(kind) != {"name": name, **_stamp(path)}:
                return None
        return record


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Of everything that decides the numbers."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _text(checksums: Iterable[int]) -> str:
    """What a marker says."""
    return " ".join(f"{c:08x}" for c in checksums)


def _stamp(path: Path) -> dict[str, int]:
    """What changes when a file is written again."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def read_record(path: Path) -> dict[str, Any] | None:
    """A JSON record, or None where there is none that can be read."""
    try:
        found = json.loads(read(path, LARGEST) or b"")
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def replace_text(path: Path, text: str) -> None:
    """A file that is there whole or as it was before, even where the machine stops."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def _taken(name: str, reason: str) -> DataError:
    return DataError(Message(NOWHERE, f"`{name}` is there already: {reason}", "remove it, or choose another name", "name taken"))


def _damaged(name: str, remedy: str) -> DataError:
    return DataError(Message(NOWHERE, f"part of `{name}` is missing, or is not what was written", remedy, "damaged"))


def _unwritable(path: Path, error: OSError) -> DataError:
    reason = f"`{path.name}` cannot be made in `{path.parent}`: {error.strerror or error}"
    return DataError(Message(NOWHERE, reason, "make room, or choose another folder or name", "not written"))
