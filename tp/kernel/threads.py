"""Tasks on the threads of one process, with a bar where someone watches and it takes long."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from tp.kernel.cores import Leave, cores_of_their_own
from tp.progress import bar

T = TypeVar("T")


def default_threads() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def run(work: Callable[[Any], T], tasks: Sequence[Any], threads: int, what: str | None) -> list[T]:
    """``work(task)`` for all tasks; the first ones begin first, this thread is one of those at work.

    ``what`` names the bar that is shown where someone watches; None shows none. An error ends the run.
    """
    found: list[T | None] = [None] * len(tasks)
    left = deque(range(len(tasks)))
    errors: list[BaseException] = []

    def take(leave: Leave, done: Callable[[int], object] = lambda count: None) -> None:
        told = 0
        try:
            while (k := _next(left)) is not None:
                found[k] = work(tasks[k])
                count = len(tasks) - len(left)
                done(count - told)
                told = count
                leave.take()
        except BaseException as error:
            left.clear()
            errors.append(error)

    helpers = _helpers(threads if len(tasks) > 1 else 1)
    with helpers.asleep() as asleep, cores_of_their_own(helpers.numbers, asleep) as leave:
        helps = [_Help(partial(take, Leave(leave.anywhere))) for _ in range(min(threads, len(tasks)) - 1)]
        try:
            for h in helps:
                helpers.queue.put(h)
            with bar(what or "", len(tasks), progress=None if what else False) as done:
                take(leave, done)
                for h in helps:
                    h.end()
        finally:
            left.clear()  # whatever ended this thread's part, nobody begins another task
    if errors:
        raise errors[0]
    return cast("list[T]", found)


class _Help:
    """What a helper is to do, unless it is not needed any more when it comes to it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.begun, self.done = threading.Lock(), threading.Lock()
        self.done.acquire()

    def __call__(self) -> None:
        if self.begun.acquire(blocking=False):
            try:
                self.work()
            finally:
                self.done.release()

    def end(self) -> None:
        """Waits for it; one that has not begun by now has nothing to do."""
        if not self.begun.acquire(blocking=False):
            self.done.acquire()


class _Helpers:
    """Threads beside the one that calls, which stay: to start one takes as long as a short call.

    Executors of the standard library take a tenth of a millisecond more for a call, in locks and conditions.
    """

    def __init__(self, count: int) -> None:
        self.queue: SimpleQueue[_Help] = SimpleQueue()
        threads = [threading.Thread(target=self._serve, name="tensor-programs", daemon=True) for _ in range(count)]
        for t in threads:
            t.start()
        self.numbers = [n for t in threads if (n := t.native_id) is not None]
        """What the system calls them."""
        self.called = threading.Lock()

    @contextmanager
    def asleep(self) -> Iterator[bool]:
        """Whether no other call is at work with them."""
        first = self.called.acquire(blocking=False)
        try:
            yield first
        finally:
            if first:
                self.called.release()

    def _serve(self) -> None:
        while True:
            self.queue.get()()


_teams: dict[int, _Helpers] = {}


def _helpers(threads: int) -> _Helpers:
    """The threads for work on so many, this one among them."""
    if threads not in _teams:
        _teams[threads] = _Helpers(threads - 1)
    return _teams[threads]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_teams.clear)  # a fork has none of its parent's threads


def _next(left: deque[int]) -> int | None:
    """The next task, which no other thread gets."""
    try:
        return left.popleft()
    except IndexError:
        return None
