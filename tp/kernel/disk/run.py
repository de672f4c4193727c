"""``write``: tiles by any executor, each computed, written and marked by one task; done once, never twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from tp.errors import NOWHERE, DataError, LimitError, Message, TPError
from tp.kernel import inputs
from tp.kernel.disk.job import FORMAT, Job, fingerprint
from tp.kernel.disk.result import Gram
from tp.kernel.disk.source import Source, Spooled
from tp.kernel.disk.store import store_for
from tp.kernel.disk.tiles import MOST, Tile, Tiling, bytes_of, edge_for, size_text
from tp.kernel.tiled import KINDS, Tiled
from tp.progress import bar
from tp.target import target
from tp.version import __version__

PATIENCE = 3
"""How often worker processes may die in a row without finishing a tile."""


@dataclass(frozen=True, slots=True)
class Work:
    """One tile, from samples to marker. Travels to workers, which get our own objects from their executor."""

    kernel: Tiled
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
            first = error.diagnostics[0]
            assert isinstance(first, Message)
            where = f"in the rows from {tile.i0} and the columns from {tile.j0} on"
            raise LimitError(replace(first, reason=f"{where}: {first.reason}")) from None
        blocks = found if isinstance(found, tuple) else (found,)
        checksums = []
        for (kind, _), block in zip(self.job.store.names, blocks, strict=True):
            mirror = self.kernel.transposed(block) if self.columns is None and not diagonal else None
            checksums.append(self.job.store.write(self.job.folder, kind, tile, block, mirror))
        self.job.mark(tile, checksums)


def write(
    kernel: Tiled,
    X: Any,
    X2: Any,
    out: str | os.PathLike[str],
    memory: int | str,
    executor: Executor | str | None,
    progress: bool | None,
) -> Gram:
    """See ``Matrices.gram``."""
    path, budget, executor = target(out), bytes_of(memory), _executor(executor)
    one = _source(kernel, X, "X" if X2 is None else "X1")
    two = None if X2 is None else _source(kernel, X2, "X2")
    rows, columns = one.count, (two or one).count
    ours = kernel.limited(kernel.threads if executor is None else 1)
    at_once = _at_once(kernel, executor)
    share = budget // at_once
    job, tiling = _job(ours, one, two, path, share, at_once)
    finished = job.finished()
    if finished is not None:
        return finished
    if not job.folder.exists():
        _check_disk(path, rows * columns * _pair(ours) * len(ours.kinds))
    with job.held(), _kept(job):
        finished = job.finished()  # by another process, until this one held the folder
        if finished is not None:
            return finished
        job.begin(tiling, progress)
        ours = ours.limited(ours.threads, max(share, ours.working(tiling.edge, tiling.edge)))
        sources: list[Source | Spooled] = [s for s in (one, two) if s is not None]
        if not (executor is None or isinstance(executor, ThreadPoolExecutor)):
            sources = [s.spool(job.folder / "samples", kernel.dtype) for s in (one, two) if s is not None]
        _all(Work(ours, job, sources[0], sources[1] if two else None), tiling, executor, kernel.threads, progress)
        missing = set(tiling.tiles) - job.done(tiling)
        if missing:
            raise _stopped(f"{len(missing)} tiles are not done", job)
        return job.finish()


@contextlib.contextmanager
def _kept(job: Job) -> Iterator[None]:
    """Whatever ends a run says that what is done is kept."""
    try:
        yield
    except TPError:
        raise
    except (OSError, BrokenExecutor, CancelledError) as error:
        said = getattr(error, "strerror", None) or str(error) or "its tasks were cancelled"
        raise _stopped(said, job) from error
    except BaseException as error:
        error.add_note(_remedy(job).replace("again", "again (`tp gram` with --resume)"))
        raise


def _stopped(reason: str, job: Job) -> DataError:
    remedy = _remedy(job)
    return DataError(Message(NOWHERE, reason, remedy, "unfinished", remedy.replace("again", "again with --resume")))


def _remedy(job: Job) -> str:
    return f"run it again: it goes on with what is done, which is kept in `{job.folder.name}`"


# ---------------------------------------------------------------- what is computed


def _source(kernel: Tiled, X: Any, argument: str) -> Source:
    return Source(inputs.arrays(kernel.shapes, X, argument, kernel.sizes), argument)


def _pair(kernel: Tiled) -> int:
    """Bytes of one pair of one kind."""
    return kernel.dtype.itemsize * int(np.prod(kernel.axes, dtype=np.int64))


def _job(kernel: Tiled, one: Source, two: Source | None, out: Path, share: int, at_once: int) -> tuple[Job, Tiling]:
    """The run and its tiles: those of the run that was begun here, if they fit the memory there is now."""
    kinds = tuple(KINDS[k] for k in kernel.kinds)
    rows, columns = one.count, (two or one).count
    shape = (rows, columns, *kernel.axes)
    about: dict[str, Any] = {
        "format": FORMAT,
        "network": kernel.network,
        "kinds": list(kinds),
        "shape": list(shape),
        "dtype": str(kernel.dtype),
        "symmetric": two is None,
        "error_bound": kernel.bound,
        "version": __version__,
    }
    data = [s.digest(kernel.dtype) for s in (one, two) if s is not None]
    about["fingerprint"] = fingerprint({**about, **kernel.decides, "data": data})

    def needs(edge: int) -> int:
        return kernel.working(edge, edge) + 2 * edge * edge * _pair(kernel)

    begun = Job(out, store_for(out, kinds, shape, about["dtype"], 1), about).begun()
    if begun is not None and -(-rows // begun) * -(-columns // begun) > MOST:
        begun = None
    edge = begun or edge_for(rows, columns, kernel.numbers, needs, share, at_once, kernel.parts)
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


def _at_once(kernel: Tiled, executor: Executor | str | None) -> int:
    """Tasks that hold memory of one budget at the same time: those of a pool, or of a worker of a cluster."""
    if executor is None:
        return kernel.at_once
    if isinstance(executor, str):
        return kernel.threads
    client = getattr(executor, "_client", None)  # dask's
    if client is not None:
        return max([1, *client.nthreads().values()])
    return max(1, int(getattr(executor, "_max_workers", 1)))


def _executor(executor: Any) -> Executor | str | None:
    """What tasks are submitted to: "processes", or an executor, that of a dask client where one is given; None: threads."""
    if isinstance(executor, str) and executor == "threads":
        return None
    if hasattr(executor, "get_executor"):
        executor = executor.get_executor(retries=2)
    if executor is None or (isinstance(executor, str) and executor == "processes") or callable(getattr(executor, "submit", None)):
        return executor
    remedy = 'give "threads", "processes", a concurrent.futures.Executor or a dask.distributed.Client'
    raise DataError(Message(NOWHERE, f"{executor!r} is no executor", remedy, "executor"))


def _all(work: Work, tiling: Tiling, executor: Executor | str | None, workers: int, progress: bool | None) -> None:
    """Every tile that has no marker, with a bar over pairs of samples."""

    def todo() -> list[Tile]:
        done = work.job.done(tiling)
        return [t for t in tiling.tiles if t not in done]

    left, total = todo(), sum(t.pairs for t in tiling.tiles)
    with bar("gram", total, "pair", progress, total - sum(t.pairs for t in left)) as advance:
        if executor == "processes":
            _processes(work, todo, workers, advance)
        elif executor is not None:
            assert not isinstance(executor, str)
            _drain(executor, work, left, advance)
        else:
            work.kernel.load()
            with ThreadPoolExecutor(work.kernel.at_once) as pool:
                _drain(pool, work, left, advance)


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
            with ProcessPoolExecutor(min(workers, len(left)), get_context("spawn"), _follow_parent) as pool:
                _drain(pool, work, left, advance)
        except BrokenProcessPool:
            pass
        before, left = len(left), todo()
        fruitless = fruitless + 1 if len(left) == before else 0
        if fruitless == PATIENCE:
            reason = f"worker processes die before they finish a tile; {len(left)} tiles are left"
            remedy = 'lower memory=; in a script, call it under `if __name__ == "__main__":`. What is done is kept'
            raise DataError(Message(NOWHERE, reason, remedy, "workers died"))


def _follow_parent() -> None:
    """A worker ends when its parent is gone, killed perhaps, and leaves it to its parent what an interrupt means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    Thread(target=follow, daemon=True).start()
