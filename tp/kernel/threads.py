"""Tasks on the threads of one process, with a bar where someone watches and it takes long."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def default_threads() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def run(work: Callable[[Any], T], tasks: Sequence[Any], threads: int, what: str | None) -> list[T]:
    """``work(task)`` for all tasks, in order.

    ``what`` names the bar that is shown where stderr is a terminal; None shows none. A single task is done on this thread.
    """
    if len(tasks) < 2:
        return [work(task) for task in tasks]
    found = []
    with _bar(len(tasks), what) as done, ThreadPoolExecutor(threads) as pool:
        for one in pool.map(work, tasks):
            found.append(one)
            done()
    return found


@contextmanager
def _bar(total: int, what: str | None) -> Iterator[Callable[[], object]]:
    """Called for each task that is done."""
    if what is None or not sys.stderr.isatty():
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=what, delay=2.0, file=sys.stderr, leave=False) as bar:
        yield bar.update
