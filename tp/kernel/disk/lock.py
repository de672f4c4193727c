"""One process at a time works on what is on disk under one name; whoever comes second is told so.

The lock is the system's, on a file, and goes with the process that holds it, however that ends: a POSIX record lock, which worker
processes do not inherit. Where files cannot be locked (some network file systems, Windows) there is none.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from tp.errors import NOWHERE, DataError, Message
from tp.forks import waited_for

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_held: set[Path] = set()
_guard = waited_for(threading.Lock())


@contextlib.contextmanager
def locked(path: Path, name: str) -> Iterator[None]:
    """Holds the lock of the file ``path``, which is made where it is not there; a ``DataError`` where another has it."""
    path = path.resolve()
    with _guard:  # record locks are a process's, not a thread's
        if path in _held:
            raise _busy(name, "another thread")
        _held.add(path)
    try:
        with path.open("a+b") as file:
            _take(file.fileno(), name)
            if not _there(file.fileno(), path):
                raise _busy(name, "another process")
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            yield
    finally:
        _held.discard(path)


def _take(descriptor: int, name: str) -> None:
    if fcntl is None:
        return
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        holder = os.pread(descriptor, 20, 0)
        raise _busy(name, f"process {holder.decode()}" if holder.isdigit() else "another process") from None
    except OSError:  # no locks on this file system
        return


def _there(descriptor: int, path: Path) -> bool:
    """Whether the file still has its name: who held it before may have taken it away."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _busy(name: str, who: str) -> DataError:
    return DataError(Message(NOWHERE, f"{who} is at work on `{name}`", "let it finish, or choose another name", "in use"))
