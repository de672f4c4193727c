"""Tasks on the threads of one process, with a bar where someone watches and it takes long."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar, cast

from tp.kernel.cores import Leave, sent
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

    try:
        with bar(what or "", len(tasks), progress=None if what else False) as done, _helped(take, len(tasks), threads):
            take(Leave(), done)
    finally:
        left.clear()  # whatever ended this thread's part, nobody begins another task
    if errors:
        raise errors[0]
    return cast("list[T]", found)


def _next(left: deque[int]) -> int | None:
    """The next task, which no other thread gets."""
    try:
        return left.popleft()
    except IndexError:
        return None


class _Help:
    """What a helper is to do, unless it is not needed any more when it comes to it.

    Once that is over it keeps no array alive, for it may stay in a queue, or with a helper that waits, for long.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.begun, self.done = Lock(), Lock()
        self.done.acquire()

    def __call__(self) -> None:
        if self.begun.acquire(blocking=False):
            try:
                self.work()
            finally:
                del self.work
                self.done.release()

    def end(self) -> None:
        """Waits for it; one that has not begun by now has nothing to do."""
        if self.begun.acquire(blocking=False):
            del self.work
        else:
            self.done.acquire()


class _Team:
    """Threads beside the one that calls, which stay: to start one takes as long as a short call.

    Executors of the standard library are no slower, but an interrupt while they are handed work may leave them locked for ever.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.queue: SimpleQueue[_Help] = SimpleQueue()
        self.numbers: list[int] = []
        """What the system calls those that were started."""
        self.starting = Lock()
        self.awake: set[object] = set()

    def start(self) -> None:
        """Those that are missing; none where the system or the end of the interpreter does not let it."""
        with self.starting, suppress(RuntimeError):
            while len(self.numbers) < self.count:
                thread = Thread(target=self._serve, name="tensor-programs", daemon=True)
                thread.start()
                self.numbers.append(thread.native_id or -1)

    def _serve(self) -> None:
        me = object()
        while True:
            one = self.queue.get()
            self.awake.add(me)
            one()
            self.awake.discard(me)

    def sent(self) -> Collection[int]:
        """Helpers on cores of their own; where they may go later. None where another call is at work with them."""
        return () if self.awake or not self.queue.empty() else sent(self.numbers)


_teams: dict[int, _Team] = {}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_teams.clear)  # a fork has none of its parent's threads


@contextmanager
def _helped(work: Callable[[Leave], None], tasks: int, threads: int) -> Iterator[None]:
    """``work`` on other threads meanwhile, at the end of which this one waits for those that have begun."""
    if min(tasks, threads) < 2:
        yield
        return
    team = _teams.setdefault(threads, _Team(threads - 1))
    team.start()
    anywhere = team.sent()
    helps = [_Help(lambda: work(Leave(anywhere))) for _ in range(min(tasks, threads) - 1)]
    for h in helps:
        team.queue.put(h)
    yield
    for h in helps:
        h.end()
