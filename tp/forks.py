"""Locks that a fork of the process waits for.

A child has the thread that forks and no other, but all locks as they were. One that another thread held would be held there for
ever, and what it guards might be half done. So the thread that forks takes such locks itself, and gives them back on both sides.
"""

from __future__ import annotations

import os
from typing import Protocol, TypeVar


class Lock(Protocol):
    def acquire(self) -> object: ...

    def release(self) -> object: ...


L = TypeVar("L", bound=Lock)


def waited_for(lock: L) -> L:
    """The lock, free in every child. One that is taken while another is held comes first: a fork takes the last one first."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
