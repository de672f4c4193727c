"""``write``: tiles by any executor, each computed, written and marked by one task; done once, never twice."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.kernel import inputs
from tp.kernel.disk.job import FORMAT, Job, fingerprint
from tp.kernel.disk.result import Gram
from tp.kernel.disk.source import Source, Spooled
from tp.kernel.disk.store import store_for
from tp.kernel.disk.tiles import Tile, Tiling, bytes_of, edge_for, size_text
from tp.version import __version__

if TYPE_CHECKING:
    from tp.kernel.kernel import Kernel

KINDS = {"K": "nngp", "Theta": "ntk"}

PATIENCE = 3
"""How often worker processes may die in a row without finishing a tile."""


@dataclass(frozen=True, slots=True)
class Work:
    """One tile, from samples to marker. Travels to workers, which get our own objects from their executor."""

    kernel: Kernel
    job: Job
    rows: Source | Spooled
    columns: Source | Spooled | None  # None: the rows, symmetric

    def __call__(self, tile: Tile) -> None:
        if self.job.is_done(tile):
            return
        one = self.rows.rows(tile.i0, tile.i1)
        diagonal = self.columns is None and tile.i0 == tile.j0
        two = None if diagonal else (self.columns or self.rows).rows(tile.j0, tile.j1)
        try:
            found = self.kernel(one, two)
        except LimitError as error:
            where = f"in the rows from {tile.i0} and the columns from {tile.j0} on"
            reason = f"{where}: {error.diagnostics[0].reason}"  # type: ignore[attr-defined]
            raise LimitError(Message(NOWHERE, reason, "is every function defined, and smooth enough?", "not finite")) from None
        blocks = found if isinstance(found, tuple) else (found,)
        for (kind, _), block in zip(self.job.store.names, blocks, strict=True):
            mirror = self.kernel.transposed(block) if self.columns is None and not diagonal else None
            self.job.store.write(self.job.folder, kind, tile, block, mirror)
        self.job.mark(tile)


def write(
    kernel: Kernel,
    X: Any,
    X2: Any,
    out: str | os.PathLike[str],
    memory: int | str,
    executor: Executor | str | None,
    progress: bool | None,
) -> Gram:
    """See ``Kernel.gram``."""
    path, budget = _out(out), bytes_of(memory)
    one = _source(kernel, X, "X" if X2 is None else "X1")
    two = None if X2 is None else _source(kernel, X2, "X2")
    rows, columns = one.count, (two or one).count
    ours = replace(kernel, threads=kernel.threads if executor is None else 1, progress=False)
    at_once = _at_once(kernel, executor)
    share = budget // at_once
    job, tiling = _job(ours, one, two, path, share, at_once)
    finished = job.finished()
    if finished is not None:
        return finished
    if not job.folder.exists():
        _check_disk(path, rows * columns * _pair(ours) * len(ours.kinds))
    job.begin()
    ours = replace(ours, memory=max(share, ours.working(tiling.edge, tiling.edge)))
    sources: list[Source | Spooled] = [s for s in (one, two) if s is not None]
    if not (executor is None or isinstance(executor, ThreadPoolExecutor)):
        sources = [s.spool(job.folder / "samples", kernel.dtype) for s in (one, two) if s is not None]
    work = Work(ours, job, sources[0], sources[1] if two else None)
    _all(work, tiling, executor, kernel.threads, progress)
    missing = set(tiling.tiles) - job.done(tiling)
    if missing:
        raise DataError(
            Message(NOWHERE, f"{len(missing)} tiles are not done", "run it again: it goes on from there", "unfinished")
        )
    return job.finish()


# ---------------------------------------------------------------- what is computed


def _out(out: str | os.PathLike[str]) -> Path:
    path = Path(out).absolute()
    if not path.parent.is_dir():
        raise DataError(Message(NOWHERE, f"there is no folder `{path.parent}`", "make it first", "no such folder"))
    return path


def _source(kernel: Kernel, X: Any, argument: str) -> Source:
    return Source(inputs.arrays(kernel.compiled.data, X, argument), argument)


def _pair(kernel: Kernel) -> int:
    """Bytes of one pair of one kind."""
    axes = kernel.compiled.out_tables[kernel.compiled.outputs[0]]
    return kernel.dtype.itemsize * int(np.prod([a.size for a in axes], dtype=np.int64))


def _job(kernel: Kernel, one: Source, two: Source | None, out: Path, share: int, at_once: int) -> tuple[Job, Tiling]:
    """The run and its tiles: those of the run that was begun here, if they fit the memory there is now."""
    made = kernel.compiled
    kinds = tuple(KINDS[k] for k in kernel.kinds)
    axes = tuple(a.size for a in made.out_tables[made.outputs[0]])
    rows, columns = one.count, (two or one).count
    shape = (rows, columns, *axes)
    about: dict[str, Any] = {
        "format": FORMAT,
        "network": made.network,
        "kinds": list(kinds),
        "shape": list(shape),
        "dtype": str(kernel.dtype),
        "symmetric": two is None,
        "error_bound": made.bound,
        "version": __version__,
    }
    decides = {
        "text": made.text,
        "integers": made.integers,
        "floats": made.floats,
        "constants": {n: [c.shape, c.values] for n, c in made.constants.items()},
        "power": made.power,
        "data": [s.digest(kernel.dtype) for s in (one, two) if s is not None],
    }
    about["fingerprint"] = fingerprint({**about, **decides})

    def needs(edge: int) -> int:
        return kernel.working(edge, edge) + 2 * edge * edge * _pair(kernel)

    numbers = max(made.lanes.values()) + sum(a.size for e in made.inputs.values() for a in e.axes)
    begun = Job(out, store_for(out, kinds, shape, about["dtype"], 1), about).begun()
    edge = begun or edge_for(rows, columns, numbers, needs, share, at_once)
    if needs(edge) > share:
        reason = f"the run that was begun has tiles of {edge} × {edge}, which take {size_text(needs(edge))} each"
        raise DataError(Message(NOWHERE, reason, "raise memory=, or use fewer workers", "over the memory limit"))
    about["tile"] = edge
    return Job(out, store_for(out, kinds, shape, about["dtype"], edge), about), Tiling(rows, columns, edge, two is None)


def _check_disk(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        reason = f"the result takes {size_text(needed)}, but {size_text(free)} are free in `{path.parent}`"
        raise DataError(Message(NOWHERE, reason, "make room, choose another folder, or use float32", "disk full"))


# ---------------------------------------------------------------- who computes it


def _at_once(kernel: Kernel, executor: Executor | str | None) -> int:
    """Tasks that hold memory of one budget at the same time."""
    if executor is None:
        return kernel.at_once
    if executor == "processes":
        return kernel.threads
    if isinstance(executor, str) or not callable(getattr(executor, "submit", None)):
        remedy = 'give "processes" or a concurrent.futures.Executor, such as dask.distributed.Client(…).get_executor()'
        raise DataError(Message(NOWHERE, f"{executor!r} is no executor", remedy, "executor"))
    return max(1, int(getattr(executor, "_max_workers", 1)))


def _all(work: Work, tiling: Tiling, executor: Executor | str | None, workers: int, progress: bool | None) -> None:
    """Every tile that has no marker, with a bar over pairs of samples."""
    from tqdm import tqdm

    total = sum(t.pairs for t in tiling.tiles)

    def todo() -> list[Tile]:
        done = work.job.done(tiling)
        left = [t for t in tiling.tiles if t not in done]
        bar.n = total - sum(t.pairs for t in left)
        bar.refresh()
        return left

    first = total - sum(t.pairs for t in tiling.tiles if t not in work.job.done(tiling))
    disable = None if progress is None else not progress
    with tqdm(
        total=total, initial=first, desc="gram", unit="pair", unit_scale=True, file=sys.stderr, disable=disable, leave=False
    ) as bar:
        if isinstance(executor, Executor) or callable(getattr(executor, "submit", None)):
            _drain(executor, work, todo(), bar.update)  # type: ignore[arg-type]
        elif executor == "processes":
            _processes(work, todo, workers, bar.update)
        else:
            work.kernel.load()
            with ThreadPoolExecutor(work.kernel.at_once) as pool:
                _drain(pool, work, todo(), bar.update)


def _drain(pool: Executor, work: Work, tiles: Iterable[Tile], advance: Callable[[int], object]) -> None:
    """All tiles through a pool; the first failure takes back what has not begun."""
    futures = {pool.submit(work, tile): tile for tile in tiles}
    try:
        for future in as_completed(futures):
            future.result()
            advance(futures[future].pairs)
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _processes(work: Work, todo: Callable[[], list[Tile]], workers: int, advance: Callable[[int], object]) -> None:
    """Spawned processes of our own; where some die, new ones go on with what has no marker."""
    left, fruitless = todo(), 0
    while left:
        try:
            with ProcessPoolExecutor(min(workers, len(left)), mp_context=get_context("spawn")) as pool:
                _drain(pool, work, left, advance)
        except BrokenProcessPool:
            pass
        before, left = len(left), todo()
        fruitless = fruitless + 1 if len(left) == before else 0
        if fruitless == PATIENCE:
            reason = f"worker processes die before they finish a tile; {len(left)} tiles are left"
            remedy = 'lower memory=; in a script, call it under `if __name__ == "__main__":`. What is done is kept'
            raise DataError(Message(NOWHERE, reason, remedy, "workers died"))
