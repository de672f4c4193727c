"""Tasks on the threads of one process, with a bar where someone watches and it takes long."""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
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

    with bar(what or "", len(tasks), progress=None if what else False) as done:
        _move_apart(cores)
        helpers = [_helpers(threads).submit(help_out) for _ in range(min(threads, len(tasks)) - 1)]
        take(done)
        wait([h for h in helpers if not h.cancel()])  # one that has not begun by now has nothing to do
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


_pools: dict[int, ThreadPoolExecutor] = {}


def _helpers(threads: int) -> ThreadPoolExecutor:
    """Threads beside this one, which stay: to start one takes as long as a short call, and it must not be waited for."""
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads - 1, "tensor-programs")
    return _pools[threads]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # a fork has none of its parent's threads


def _next(left: deque[int]) -> int | None:
    """The next task, which no other thread gets."""
    try:
        return left.popleft()
    except IndexError:
        return None
