"""Cholesky factor of a matrix that is larger than memory, panel by panel, in a file; cut short, it goes on.

Left-looking: a panel of columns takes the matrix, subtracts what the panels before it explain, and is factored. A panel
and one strip of rows are in memory at a time.
Source: Golub & Van Loan 2013, *Matrix Computations*, §4.2.9 (block Cholesky).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message
from tp.kernel.disk.job import read_record, replace_text
from tp.kernel.disk.store import part
from tp.kernel.disk.tiles import size_text
from tp.regression import chunks, jittered

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


def disk_cholesky(matrix: Any, ridge: float, scale: float, out: Path, memory: int, fingerprint: str) -> DiskCholesky:
    """The factor of ``matrix`` + (ridge + jitter) I in ``out``; ``matrix`` [N, N] is read by slices, ``scale`` its mean diagonal.

    ``fingerprint`` says which matrix it is: panels of another are never taken up, and make room for those of this one.
    """
    count = matrix.shape[0]
    width = min(count, memory // (16 * count))  # a panel, and as much again for strips of rows
    if width < min(count, 4):
        reason = f"a panel of the Cholesky factor of {count} samples does not fit {size_text(memory)}"
        raise DataError(Message(NOWHERE, reason, "raise memory=", "over the memory limit"))
    if out.exists() and read_record(out.with_name(f"{out.name}.json")) is None:
        raise DataError(Message(NOWHERE, f"`{out.name}` is there already", "remove it, or choose another name", "name taken"))

    def attempt(shift: float) -> float:
        return _factored(matrix, shift, out, width, f"{fingerprint} {shift!r}")

    log_determinant, jitter = jittered(attempt, ridge, scale)
    return DiskCholesky(out, count, width, jitter, log_determinant)


def _factored(matrix: Any, shift: float, out: Path, width: int, fingerprint: str) -> float:
    """log det; the factor is in ``out`` when this returns. The record counts the panels whose numbers are on disk."""
    record_path, partial = out.with_name(f"{out.name}.json"), out.with_name(f"{out.name}.partial")
    record = read_record(record_path) or {}
    logs: list[float] = [float(x) for x in record.get("logs", ())] if record.get("fingerprint") == fingerprint else []
    if logs:
        width = int(record["width"])
    panels = list(chunks(matrix.shape[0], width))
    if len(logs) == len(panels) and out.exists():
        return float(sum(logs))
    if not partial.exists() or not logs:
        _room(out, matrix.shape[0])
        logs = []
        out.unlink(missing_ok=True)
        np.lib.format.open_memmap(partial, mode="w+", dtype=np.float64, shape=(matrix.shape[0], matrix.shape[0]))
    for columns in panels[len(logs) :]:
        logs.append(_panel(matrix, shift, partial, columns, width))
        replace_text(record_path, json.dumps({"fingerprint": fingerprint, "width": width, "logs": logs}))
    os.replace(partial, out)
    return float(sum(logs))


def _panel(matrix: Any, shift: float, path: Path, columns: slice, width: int) -> float:
    """One panel of columns, below the diagonal, computed and written; its share of the log determinant."""
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
    return 2.0 * float(np.log(np.diag(top)).sum())


def _part(path: Path, rows: slice, columns: slice) -> Array:
    """A copy of part of a matrix in a file; the mapping goes again."""
    return part(np.load(path, mmap_mode="r", allow_pickle=False), rows, columns)


def _room(out: Path, count: int) -> None:
    free = shutil.disk_usage(out.parent).free
    if 8 * count * count > free:
        reason = f"the factor takes {size_text(8 * count * count)}, but {size_text(free)} are free in `{out.parent}`"
        raise DataError(Message(NOWHERE, reason, "make room, or choose another folder", "disk full"))
