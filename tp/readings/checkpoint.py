"""What is finished of a long run, in a file: written whole after every part, and read back only for the same run.

A run may be started again with more steps: the file serves all runs that begin alike. Scramblings are those of a number of steps,
for points have a coordinate for every Gaussian of the whole run; a longer run makes its own, beside those that are there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tp.archive import arrays_in, reason
from tp.errors import NOWHERE, DataError, Message

Array = NDArray[np.float64]
Rows = dict[tuple[int, int], Array]


@dataclass(frozen=True, slots=True)
class Story:
    """What tells a run from others: all that is the same at every step, as a digest, and every step in words."""

    about: str
    steps: tuple[str, ...]


@dataclass
class Checkpoint:
    """Rows of numbers by (log2 nodes, scrambling), of a run and of others that begin like it, by their number of steps."""

    path: Path
    story: Story
    runs: dict[int, Rows] = field(default_factory=dict)
    longest: tuple[str, ...] = ()

    @property
    def rows(self) -> Rows:
        """Those of this run."""
        return self.runs.setdefault(len(self.story.steps), {})

    @classmethod
    def load(cls, path: Path, story: Story) -> Checkpoint:
        """The checkpoint in ``path``; empty where there is none. Raises ``DataError`` for that of another run."""
        if not path.exists():
            return cls(path, story, {}, story.steps)
        try:
            stored = arrays_in(path)
            about, steps = str(stored["about"]), tuple(map(str, stored["steps"]))
            runs = {int(k): dict(_rows(stored[f"which {k}"], stored[f"rows {k}"])) for k in stored["runs"]}
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise _wrong(path, f"it cannot be read ({reason(error)})") from None
        if about != story.about:
            raise _wrong(path, "it belongs to another network, other data, another optimizer or another seed")
        for t, (there, here) in enumerate(zip(steps, story.steps, strict=False)):
            if there != here:
                raise _wrong(path, f"step {t} is {_short(there)} there, and {_short(here)} here")
        return cls(path, story, runs, max(steps, story.steps, key=len))

    def add(self, which: tuple[int, int], row: Array) -> None:
        """One more row, on disk before this returns."""
        self.rows[which] = row
        tables = {f"which {steps}": np.array(list(rows)) for steps, rows in self.runs.items()}
        tables |= {f"rows {steps}": np.array(list(rows.values())) for steps, rows in self.runs.items()}
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.npz")
        try:
            with temporary.open("wb") as stream:
                about, steps = np.array(self.story.about), np.array(self.longest)
                np.savez(stream, about=about, steps=steps, runs=np.array(list(self.runs)), **tables)  # type: ignore[arg-type]
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)


def _rows(which: Array, rows: Array) -> Iterator[tuple[tuple[int, int], Array]]:
    for (m, k), row in zip(which, rows, strict=True):
        yield (int(m), int(k)), row


def _short(step: str) -> str:
    return step if len(step) <= 60 else f"{step[:60]}…"


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(
        Message(NOWHERE, f"`{path.name}` is no checkpoint of this run: {reason}", "give another file name", "checkpoint")
    )
