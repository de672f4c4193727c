"""Threads that help a call on cores of their own, for as long as the system would need to see that this is better.

Linux likes to put a thread that is woken on the core of the one that woke it, above all where cores are virtual, and takes longer
than a short call to find out that another one is idle. So helpers are sent to their cores while they sleep, and stay there. The
thread that calls is left as it is.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter

SHORT = 0.02
"""Seconds for which threads stay where they are put; after the first task that ends later the system knows better."""


@dataclass(slots=True)
class Leave:
    """A thread at work may go to ``anywhere`` once it is not a short time any more; nothing is said where that is empty."""

    anywhere: Collection[int] = ()
    since: float = field(default_factory=perf_counter)

    def take(self) -> None:
        """This thread goes free, if it is time."""
        if self.anywhere and perf_counter() > self.since + SHORT:
            _stay(0, self.anywhere)
            self.anywhere = ()


def sent(helpers: Sequence[int]) -> Collection[int]:
    """Sends ``helpers``, by the system's numbers, to the cores that this thread may use and does not; all that it may use.

    None where the system does not say.
    """
    here = core()
    allowed = os.sched_getaffinity(0) if helpers and here >= 0 else set[int]()
    order = [here, *sorted(allowed - {here})]
    for k, thread in enumerate(helpers if allowed else (), 1):
        _stay(thread, order[k :: len(helpers) + 1] or allowed)
    return allowed


def core() -> int:
    """The core that runs this thread; -1 where the system does not say."""
    return int(_sched_getcpu()) if _sched_getcpu is not None else -1


_sched_getcpu = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None


def _stay(thread: int, cores: Collection[int]) -> None:
    """A thread, 0 is this one, on some cores."""
    with suppress(OSError, ValueError):
        os.sched_setaffinity(thread, cores)
