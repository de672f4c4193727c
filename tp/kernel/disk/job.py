"""A run in a folder beside its result: what it computes, its arrays, and a marker for every tile that is done.

``K.npy.partial/`` holds ``job.json``, the arrays and ``done/``. It appears whole, by rename, before the first tile; the
arrays move to their final names after the last one; then the folder goes. So a kill leaves a run that goes on, never a
file that looks finished and is not. Everything in the folder is data: it is read as JSON and arrays, and checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tp.errors import NOWHERE, DataError, Message
from tp.kernel.disk.result import Gram
from tp.kernel.disk.store import NpyStore, Store, zarr
from tp.kernel.disk.tiles import Tile, Tiling

FORMAT = 1


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
        """The tiles that have a marker."""
        markers = {entry.name for entry in os.scandir(self.folder / "done")}
        return frozenset(t for t in tiling.tiles if t.name in markers)

    def is_done(self, tile: Tile) -> bool:
        return (self.folder / "done" / tile.name).exists()

    def mark(self, tile: Tile) -> None:
        """The marker appears whole, by rename."""
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix="marker-")
        os.close(handle)
        os.replace(temporary, self.folder / "done" / tile.name)

    # ------------------------------------------------------------ beginning and end

    def finished(self) -> Gram | None:
        """The result, where it is there and is this run's; a ``DataError`` where something else has its name."""
        found = self._found()
        if found is not None and found.get("fingerprint") == self.about["fingerprint"]:
            shutil.rmtree(self.folder, ignore_errors=True)
            return Gram(self.out, self.store.open(self.out.parent), found)
        begun = self.folder.exists()
        for name in dict.fromkeys(name for _, name in self.store.names):
            if (self.out.parent / name).exists() and not (begun and not (self.folder / name).exists()):
                raise _taken(name, "it holds something else: another kernel, other data or other precision")
        return None

    def begin(self) -> None:
        """Go on with the unfinished run that is there, if it is this one, or make the folder."""
        if not self.folder.exists():
            self._create()
        record = read_record(self.folder / "job.json")
        if record is None or record.get("format") != FORMAT:
            raise _taken(self.folder.name, "it is no record of an unfinished run")
        if record.get("fingerprint") != self.about["fingerprint"] or record.get("tile") != self.about["tile"]:
            raise _taken(self.folder.name, "it was begun for another kernel, other data or other precision")

    def begun(self) -> int | None:
        """The edge of the tiles of the unfinished run that is there."""
        record = read_record(self.folder / "job.json") if self.folder.exists() else None
        edge = record.get("tile") if record else None
        return edge if isinstance(edge, int) and edge > 0 else None

    def _create(self) -> None:
        """Made under another name, so that the folder is there whole or not at all; who comes second finds the first's."""
        new = Path(tempfile.mkdtemp(dir=self.out.parent, prefix=f".{self.out.name}."))
        try:
            (new / "done").mkdir()
            (new / "samples").mkdir()
            self.store.create(new)
            (new / "job.json").write_text(json.dumps(dict(self.about)), encoding="utf-8")
            new.chmod(0o755)
            new.rename(self.folder)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            if not self.folder.exists():
                raise

    def finish(self) -> Gram:
        """Arrays to their final names, metadata after them, and the folder away."""
        about = dict(self.about)
        if isinstance(self.store, NpyStore):
            self._publish()
            about["files"] = {k: {"name": n, **_stamp(self.out.parent / n)} for k, n in self.store.names}
            replace_text(self.sidecar, json.dumps(about, indent=1))
        else:
            if (self.folder / self.out.name).exists():
                zarr().open_group(store=str(self.folder / self.out.name), mode="r+").attrs.update(about)
            self._publish()
        shutil.rmtree(self.folder, ignore_errors=True)
        return Gram(self.out, self.store.open(self.out.parent), about)

    def _publish(self) -> None:
        for name in dict.fromkeys(name for _, name in self.store.names):
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


def _stamp(path: Path) -> dict[str, int]:
    """What changes when a file is written again."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def read_record(path: Path) -> dict[str, Any] | None:
    """A JSON record, or None where there is none that can be read."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def replace_text(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def _taken(name: str, reason: str) -> DataError:
    return DataError(Message(NOWHERE, f"`{name}` is there already: {reason}", "remove it, or choose another name", "name taken"))
