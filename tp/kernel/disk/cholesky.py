"""Cholesky factor of a matrix that is larger than memory, panel by panel, in a file; cut short, it goes on.

Left-looking: a panel of columns takes the matrix, subtracts what the panels before it explain, and is factored. A panel
and one strip of rows are in memory at a time.
Source: Golub & Van Loan 2013, *Matrix Computations*, §4.2.9 (block Cholesky).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message
from tp.kernel.disk.job import read_record, replace_text
from tp.kernel.disk.lock import locked
from tp.kernel.disk.store import NpyStore, part
from tp.kernel.disk.tiles import size_above, size_text
from tp.progress import bar
from tp.regression import chunks, jittered, regular

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DiskCholesky:
    """L [N, N] in a ``.npy`` file, in panels of ``width``; solves read it once or twice, a strip of rows at a time."""

    path: Path
    count: int
    width: int
    jitter: float
    log_determinant: float

    def half(self, right: Array) -> Array:
        found = np.array(right, dtype=np.float64)
        for rows in chunks(self.count, self.width // 4):
            found[rows] = self._forward(rows, found)
        return found

    def _forward(self, rows: slice, found: Array) -> Array:
        from scipy.linalg import solve_triangular

        strip = _part(self.path, rows, slice(0, rows.stop))
        rest = found[rows] - strip[:, : rows.start] @ found[: rows.start]
        return solve_triangular(strip[:, rows.start :], rest, lower=True, check_finite=False)

    def solve(self, right: Array) -> Array:
        from scipy.linalg import solve_triangular

        found = self.half(right)
        for rows in reversed(list(chunks(self.count, self.width // 4))):
            strip = _part(self.path, rows, slice(0, rows.stop))
            found[rows] = solve_triangular(strip[:, rows.start :], found[rows], lower=True, trans=1, check_finite=False)
            found[: rows.start] -= strip[:, : rows.start].T @ found[rows]
        return found


def disk_cholesky(
    matrix: Any, ridge: float, scale: float, out: Path, memory: int, fingerprint: str, progress: bool | None = None
) -> DiskCholesky:
    """The factor of ``matrix`` + (ridge + jitter) I in ``out``; ``matrix`` [N, N] is read by slices, ``scale`` its mean diagonal.

    ``fingerprint`` says which matrix it is: panels of another are never taken up, and make room for those of this one.
    """
    count = matrix.shape[0]
    width = min(count, memory // (16 * count))  # a panel, and as much again for strips of rows
    if width < min(count, 4):
        reason = f"a panel of the Cholesky factor of {count} samples does not fit {size_text(memory)}"
        raise DataError(Message(NOWHERE, reason, f'raise memory= to "{size_above(64 * count)}"', "over the memory limit"))
    if out.exists() and Record.read(out) is None:
        raise DataError(Message(NOWHERE, f"`{out.name}` is there already", "remove it, or choose another name", "name taken"))

    def attempt(shift: float) -> float:
        return _factored(matrix, shift, out, width, f"{fingerprint} {ridge!r}", progress)

    lock = out.with_name(f"{out.name}.lock")
    try:
        with locked(lock, out.name):
            try:
                log_determinant, jitter = jittered(attempt, ridge, scale)
            finally:
                lock.unlink(missing_ok=True)
    except OSError as error:
        remedy = "run it again: it goes on with the panels that are done"
        raise DataError(Message(NOWHERE, f"`{out.name}`: {error.strerror or error}", remedy, "not written")) from error
    return DiskCholesky(out, count, width, jitter, log_determinant)


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of the files: which matrix, what is added to its diagonal, and the pivots of the panels that are on disk.

    It is written before the files of a factor are begun, so that it never speaks of those of another.
    """

    fingerprint: str
    shift: float
    width: int
    logs: tuple[float, ...] = ()  # log det of each panel
    least: float = inf  # of all pivots
    largest: float = 0.0

    @staticmethod
    def read(out: Path) -> Record | None:
        """None where there is none, or where it is not one."""
        try:
            found = read_record(out.with_name(f"{out.name}.json")) or {}
            logs = tuple(map(float, found.pop("logs")))
            record = Record(**found, logs=logs)
        except (KeyError, TypeError, ValueError):
            return None
        right = isinstance(record.fingerprint, str) and type(record.width) is int and record.width > 0
        numbers = (record.shift, record.least, record.largest, *logs)
        return record if right and all(isinstance(x, (int, float)) for x in numbers) and all(map(isfinite, logs)) else None

    def write(self, out: Path) -> None:
        replace_text(out.with_name(f"{out.name}.json"), json.dumps(asdict(self)))

    def after(self, pivots: Array) -> Record:
        """With one panel more, of these L_ii²."""
        least, largest = min(self.least, float(pivots.min())), max(self.largest, float(pivots.max()))
        return replace(self, logs=(*self.logs, float(np.log(pivots).sum())), least=least, largest=largest)


def _factored(matrix: Any, shift: float, out: Path, width: int, fingerprint: str, progress: bool | None) -> float:
    """log det; the factor is in ``out`` when this returns. The record counts the panels whose numbers are on disk."""
    count, partial = matrix.shape[0], out.with_name(f"{out.name}.partial")
    record = Record.read(out)
    if record and record.fingerprint == fingerprint and record.shift > shift:
        raise np.linalg.LinAlgError  # known from before
    known = record is not None and (record.fingerprint, record.shift) == (fingerprint, shift)
    whole = [_whole(path, count) for path in (out, partial)]
    if known and record and len(record.logs) == len(list(chunks(count, record.width))) and any(whole):
        if whole[1]:
            os.replace(partial, out)
        return sum(record.logs)
    if not (known and record and record.logs and whole[1]):
        record = _begun(Record(fingerprint, shift, width), out, partial, count)
    if record.width > width:
        taken = size_text(16 * count * record.width)
        reason = f"the factor that was begun has panels of {record.width} columns, which take {taken}"
        raise DataError(Message(NOWHERE, reason, "raise memory=", "over the memory limit"))
    panels = list(chunks(count, record.width))
    with bar("cholesky", _work(panels, count), "flop", progress, _work(panels[: len(record.logs)], count)) as advance:
        for columns in panels[len(record.logs) :]:
            record = record.after(_panel(matrix, shift, partial, columns, record.width))
            regular(record.least, record.largest, count)
            record.write(out)
            advance(_work([columns], count))
    os.replace(partial, out)
    return sum(record.logs)


def _begun(record: Record, out: Path, partial: Path, count: int) -> Record:
    """The files of a factor with nothing in them yet; where there is no room for it nothing changes."""
    _check_disk(out, 8 * count * count, _taken(out) + _taken(partial))
    partial.unlink(missing_ok=True)
    record.write(out)
    out.unlink(missing_ok=True)
    np.lib.format.open_memmap(partial, mode="w+", dtype=np.float64, shape=(count, count))
    return record


def _whole(path: Path, count: int) -> bool:
    """Whether a matrix of this size is in a file, to its end."""
    return NpyStore((), (count, count), "float64").sound(path)


def _work(panels: list[slice], count: int) -> int:
    """Multiplications and additions of panels of columns."""
    return sum((p.stop - p.start) * (count - p.start) * (2 * p.start + p.stop - p.start) for p in panels)


def _panel(matrix: Any, shift: float, path: Path, columns: slice, width: int) -> Array:
    """One panel of columns, below the diagonal, computed and written; its pivots, the squares of its diagonal."""
    from scipy.linalg import cholesky, solve_triangular

    at, stop, count = columns.start, columns.stop, matrix.shape[0]
    panel = part(matrix, slice(at, count), columns)
    panel[np.arange(stop - at), np.arange(stop - at)] += shift
    for before in chunks(at, width):
        mine = _part(path, columns, before)
        for rows in chunks(count - at, max(1, width // 4)):
            panel[rows] -= _part(path, slice(at + rows.start, at + rows.stop), before) @ mine.T
    top = cholesky(panel[: stop - at], lower=True, check_finite=False)
    panel[: stop - at] = top
    for rows in chunks(count - stop, max(1, width // 4)):
        below = slice(stop - at + rows.start, stop - at + rows.stop)
        panel[below] = solve_triangular(top, panel[below].T, lower=True, check_finite=False).T
    offset = int(np.load(path, mmap_mode="r", allow_pickle=False).offset)
    with path.open("r+b") as file:
        for k, row in enumerate(panel):
            file.seek(offset + 8 * ((at + k) * count + at))
            file.write(row.data)
        file.flush()
        os.fsync(file.fileno())
    return np.diag(top) ** 2


def _part(path: Path, rows: slice, columns: slice) -> Array:
    """A copy of part of a matrix in a file; the mapping goes again."""
    return part(np.load(path, mmap_mode="r", allow_pickle=False), rows, columns)


def _check_disk(out: Path, needed: int, freed: int) -> None:
    """``freed`` are the bytes of what makes room."""
    free = shutil.disk_usage(out.parent).free + freed
    if needed > free:
        reason = f"the factor takes {size_text(needed)}, but {size_text(free)} are free in `{out.parent}`"
        raise DataError(Message(NOWHERE, reason, "make room, or choose another folder", "disk full"))


def _taken(path: Path) -> int:
    """Bytes that a file takes on disk, without those that were never written."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return 512 * status.st_blocks if hasattr(status, "st_blocks") else status.st_size
