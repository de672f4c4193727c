"""Tasks on the threads of one process, with a bar where someone watches and it takes long."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar, cast

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

    def take(done: Callable[[int], object] = lambda count: None) -> None:
        told = 0
        try:
            while (k := _next(left)) is not None:
                found[k] = work(tasks[k])
                count = len(tasks) - len(left)
                done(count - told)
                told = count
        except BaseException as error:
            left.clear()
            errors.append(error)

    cores: set[int] = set()

    def help_out() -> None:
        _move_apart(cores)
        take()

    helpers = [_Help(help_out) for _ in range(min(threads, len(tasks)) - 1)]
    _move_apart(cores)
    for h in helpers:
        _helpers(threads).put(h)
    with bar(what or "", len(tasks), progress=None if what else False) as done:
        take(done)
        for h in helpers:
            h.end()
    if errors:
        raise errors[0]
    return cast("list[T]", found)


def _core() -> int:
    """The core that runs this thread; -1 where the system does not say."""
    return int(_sched_getcpu()) if _sched_getcpu is not None else -1


_sched_getcpu = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None


def _move_apart(cores: set[int]) -> None:
    """This thread to a core that is not among ``cores``, if there is one; then it is.

    Linux likes to put a thread that is woken on the core of the one that woke it, and takes longer than a short call to find
    out that another core is idle. A core that is forbidden is left at once; that it may be used again changes nothing.
    """
    if (here := _core()) in cores:
        allowed = os.sched_getaffinity(0)
        with suppress(OSError, ValueError):  # not allowed to, or no core left
            os.sched_setaffinity(0, allowed - cores)
            os.sched_setaffinity(0, allowed)
        here = _core()
    if here >= 0:
        cores.add(here)


class _Help:
    """What a helper is to do, unless it is not needed any more when it comes to it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.begun, self.done = threading.Lock(), threading.Lock()
        self.done.acquire()

    def __call__(self) -> None:
        if self.begun.acquire(blocking=False):
            self.work()
            self.done.release()

    def end(self) -> None:
        """Waits for it; one that has not begun by now has nothing to do."""
        if not self.begun.acquire(blocking=False):
            self.done.acquire()


_queues: dict[int, SimpleQueue[_Help]] = {}


def _helpers(threads: int) -> SimpleQueue[_Help]:
    """The queue of the threads beside this one, which stay: to start one takes as long as a short call.

    Executors of the standard library take a tenth of a millisecond more for a call, in locks and conditions.
    """
    if threads not in _queues:
        queue = _queues[threads] = SimpleQueue()
        for _ in range(threads - 1):
            threading.Thread(target=_serve, args=(queue,), name="tensor-programs", daemon=True).start()
    return _queues[threads]


def _serve(queue: SimpleQueue[_Help]) -> None:
    while True:
        queue.get()()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_queues.clear)  # a fork has none of its parent's threads


def _next(left: deque[int]) -> int | None:
    """The next task, which no other thread gets."""
    try:
        return left.popleft()
    except IndexError:
        return None
