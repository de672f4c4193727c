"""What is finished of a long run, in a file: written whole after every part, and read back only for the same run."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message

Array = NDArray[np.float64]


@dataclass
class Checkpoint:
    """Rows of numbers by (log2 nodes, scrambling) of the run with a fingerprint."""

    path: Path
    fingerprint: str
    rows: dict[tuple[int, int], Array] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> Checkpoint:
        """The checkpoint in ``path``; empty where there is none. Raises ``DataError`` for that of another run."""
        if not path.exists():
            return cls(path, fingerprint)
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = str(stored["fingerprint"])
                rows = {(int(m), int(k)): row for (m, k), row in zip(stored["which"], stored["rows"], strict=True)}
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise _wrong(path, f"it cannot be read ({type(error).__name__})") from None
        if found != fingerprint:
            raise _wrong(path, "it belongs to another network, other data or another seed")
        return cls(path, fingerprint, rows)

    def add(self, which: tuple[int, int], row: Array) -> None:
        """One more row, on disk before this returns."""
        self.rows[which] = row
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.npz")
        try:
            with temporary.open("wb") as stream:
                np.savez(
                    stream, fingerprint=self.fingerprint, which=np.array(list(self.rows)), rows=np.array(list(self.rows.values()))
                )
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(
        Message(NOWHERE, f"`{path.name}` is no checkpoint of this run: {reason}", "give another file name", "checkpoint")
    )
