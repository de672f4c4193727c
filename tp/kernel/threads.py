"""Tasks on the threads of one process, with a bar where someone watches and it takes long."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar, cast

T = TypeVar("T")


def default_threads() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def run(work: Callable[[Any], T], tasks: Sequence[Any], threads: int, what: str | None) -> list[T]:
    """``work(task)`` for all tasks; the first ones begin first, this thread is one of those at work.

    ``what`` names the bar that is shown where stderr is a terminal; None shows none. An error ends the run.
    """
    found: list[T | None] = [None] * len(tasks)
    left = deque(range(len(tasks)))
    errors: list[BaseException] = []

    def take(done: Callable[[int], object] = lambda count: None) -> None:
        try:
            while (k := _next(left)) is not None:
                found[k] = work(tasks[k])
                done(len(tasks) - len(left))
        except BaseException as error:
            left.clear()
            errors.append(error)

    others = [Thread(target=take) for _ in range(min(threads, len(tasks)) - 1)]
    with _bar(len(tasks), what) as done:
        for thread in others:
            thread.start()
        take(done)
        for thread in others:
            thread.join()
    if errors:
        raise errors[0]
    return cast("list[T]", found)


def _next(left: deque[int]) -> int | None:
    """The next task, which no other thread gets."""
    try:
        return left.popleft()
    except IndexError:
        return None


@contextmanager
def _bar(total: int, what: str | None) -> Iterator[Callable[[int], object]]:
    """Called with the number of tasks that are done."""
    if what is None or not sys.stderr.isatty():
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=what, delay=2.0, file=sys.stderr, leave=False) as bar:
        yield lambda count: bar.update(count - bar.n)
