"""Functions of a module compiled side by side, each process at some of them.

numba compiles one function at a time in a process. So others compile in processes of their own and leave what they made in
numba's cache, from which it is loaded here; what one of them fails to make is compiled here when it is called. One of them is
started before there is anything to compile: it loads numba while the kernel is derived. Which functions are needed, and for
arrays of which kinds, a rehearsal tells: a call with a :class:`Recorder` in the place of the module. What is compiled while
nobody waits for it goes on when this process has ended, with what time others leave, so that the next process finds it.
"""

from __future__ import annotations

import ast
import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from tp.errors import DataError
from tp.forks import waited_for
from tp.kernel import mirror
from tp.kernel.disk.lock import locked
from tp.kernel.module import cache_folder, digest, is_compiled, load
from tp.kernel.quick import in_cache, warm
from tp.kernel.threads import default_threads
from tp.seldom import seldom

MOST = 4
"""Processes at most: there are few functions, and each process takes some 150 MB."""

START = 10_000
"""What a process does before its first function, in characters of generated text compiled meanwhile."""

LOADING = 4_000
"""What is left of that for the process that asks, which has Python and its data already."""

PATIENCE = 60.0
"""Seconds that a process started ahead waits for something to do."""

LONGEST = 120.0
"""Seconds that one works on for nobody at most."""

START_UP = """
import json, sys
sys.path[:] = json.loads(sys.stdin.readline())
from tp.kernel.aside import serve
serve()
"""

Kind = str | tuple[str, int, str, bool, bool]
"""What an argument is, to numba: a number's type, or an array's: of what, axes, layout, only for reading, aligned."""

Signature = tuple[Kind, ...]


class Recorder:
    """Looks like a module; ``calls`` has the arguments' kinds of each function that was called.

    Without one, they do nothing but declare pairs of images ``hard``, if told to.
    """

    def __init__(self, module: Any = None, hard: bool = False) -> None:
        self.calls: dict[str, Signature] = {}
        self.module, self.hard = module, hard

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            self.calls.setdefault(name, tuple(kind(a) for a in arguments))
            if self.hard and name == "rows":
                arguments[4][:] = 1
            return 1 if self.module is None else getattr(self.module, name)(*arguments)

        return called


def kind(argument: Any) -> Kind:
    """``numba.typeof``, as data and without numba."""
    if isinstance(argument, np.ndarray):
        flags = argument.flags
        layout = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
        dtype = "boolean" if argument.dtype == np.bool_ else str(argument.dtype)
        return dtype, argument.ndim, layout, not flags.writeable, flags.aligned
    return "boolean" if isinstance(argument, (bool, np.bool_)) else str(np.asarray(argument).dtype)


def types(signature: Sequence[Any]) -> tuple[Any, ...]:
    """numba's types of these kinds, which may come from JSON."""
    from numba import types

    def of(kind: Any) -> Any:
        if isinstance(kind, str):
            return getattr(types, kind)
        dtype, ndim, layout, readonly, aligned = kind
        return types.Array(getattr(types, dtype), ndim, layout, readonly, aligned=aligned)

    return tuple(map(of, signature))


_compiling = waited_for(threading.RLock())
_ahead: list[Helper] = []
_behind: dict[str, Helper] = {}  # by the text it works on while nobody waits


def start_ahead() -> None:
    """A process that gets ready to compile while a kernel is derived here; where this process is ready itself, none."""
    if "numba" not in sys.modules and not _ahead and _may_start() and idle() > 0:
        _ahead.extend(_started())


def compile_aside(text: str, calls: Mapping[str, Signature], processes: int) -> None:
    """Compile functions of the module with this text, or load them where they are kept."""
    with _compiling:
        if (behind := _behind.pop(text, None)) is not None:
            load(text)  # and numba, meanwhile
            behind.wait()
            behind.end()
        missing = _missing(text, calls) if is_compiled(text) else list(calls)
        if not missing:
            return
        ahead = [helper for helper in _taken() if helper.waits()]
        more = min(processes - 1, MOST - 1, idle()) - len(ahead) if _may_start() else 0
        own, *shares = _dealt(text, missing, [LOADING if ahead else 0, *[0 for _ in ahead], *[START] * more])
        given = [share for share in shares if share]
        started = [helper for _ in given[len(ahead) :] for helper in _started()]
        team = list(zip([*ahead, *started], given, strict=False))  # what is not given is compiled here
        try:
            for helper, share in team:  # before numba is loaded here
                helper.give(text, {name: calls[name] for name in share})
            work(text, {name: calls[name] for name in own})
            for helper, _ in team:
                helper.wait()
        finally:
            for helper in (*ahead, *(helper for helper, _ in team)):
                helper.end()


def compile_behind(text: str, calls: Mapping[str, Signature]) -> None:
    """Functions that are not needed yet, left to a process that was started ahead, whether this one goes on or not."""
    with _compiling:
        for helper in _taken():
            if helper.waits():
                helper.give(text, calls, waited=False)
                _behind[text] = helper


def is_helped() -> bool:
    """Whether another process gets ready to compile."""
    return any(helper.waits() for helper in _ahead)


def at_work(text: str) -> bool:
    """Whether a process still compiles functions of the module with this text, while nobody waits."""
    behind = _behind.get(text)
    return behind is not None and behind.waits()


def _missing(text: str, calls: Mapping[str, Signature]) -> list[str]:
    """The functions that are not kept."""
    module = load(text)
    return [name for name in calls if not in_cache(getattr(module, name), types(calls[name]))]


def _taken() -> list[Helper]:
    """The process that was started ahead, which is then no longer there for others."""
    taken, _ahead[:] = _ahead[:], []
    return taken


def _started() -> list[Helper]:
    """A process; none where the system starts no more."""
    try:
        return [Helper()]
    except OSError:
        return []


def _may_start() -> bool:
    """Whether this process may start others: it was started by none itself, and there is something to compile."""
    from multiprocessing import parent_process

    off = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    return bool(sys.executable) and parent_process() is None and not off


def idle() -> int:
    """Cores that have nothing to do right now: on a busy machine more processes make more work, not less."""
    return max(0, default_threads() - _running())


def _running() -> int:
    """Threads of this machine that are at work, this one among them; where the system does not say, its load of late."""
    try:
        return int(Path("/proc/loadavg").read_text("ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1 + ceil(os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)


def _dealt(text: str, names: list[str], loads: Sequence[int]) -> list[list[str]]:
    """Functions dealt to processes with these loads, the longest first and each to whom has the least to do."""
    work, loads = _lengths(text), list(loads)
    shares: list[list[str]] = [[] for _ in loads]
    for name in sorted(names, key=lambda n: -work[n]):
        k = min(range(len(loads)), key=lambda k: loads[k] + work[name])
        shares[k].append(name)
        loads[k] += work[name]
    return shares


def _lengths(text: str) -> dict[str, int]:
    """How much text is compiled for each function: its own and that of all it calls."""
    functions = {f.name: f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef)}
    used = {name: {n.id for n in ast.walk(f) if isinstance(n, ast.Name)} & functions.keys() for name, f in functions.items()}
    lines = {name: sum(map(len, text.splitlines()[f.lineno - 1 : f.end_lineno])) for name, f in functions.items()}
    reached: dict[str, set[str]] = {}
    for name in functions:  # those that are called come first
        reached[name] = {name}.union(*(reached.get(n, set()) for n in used[name]))
    return {name: sum(lines[n] for n in reached[name]) for name in functions}


# ------------------------------------------------------------ the other processes


class Helper:
    """A process that gets ready to compile, compiles the functions it is given, and ends."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", START_UP],  # what lies in the current folder is not imported
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self.owner = os.getpid()
        self._say([place for place in sys.path if place])
        atexit.register(self.end)

    def waits(self) -> bool:
        """Whether it is there, and there for this process."""
        return self.owner == os.getpid() and self.process.poll() is None

    def give(self, text: str, calls: Mapping[str, Signature], waited: bool = True) -> None:
        """Functions of the module with this text; where nobody waits for them it does not end with this process."""
        self._say([text, calls, waited])
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        if not waited:
            atexit.unregister(self.end)

    def wait(self) -> None:
        self.process.wait()

    def end(self) -> None:
        """What it has not made by now is made elsewhere."""
        self.process.kill()
        self.process.wait()
        atexit.unregister(self.end)

    def _say(self, what: Any) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # it has ended: nothing will be found in the cache
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()


def serve() -> None:
    """What such a process does: it is ready first, and told what to compile then."""
    impatience = _ends_after(PATIENCE)
    with seldom():
        warm()
        work(mirror.TEXT, mirror.USUAL)
        job = sys.stdin.readline()
        impatience.cancel()
        if job:
            text, calls, waited = json.loads(job)
            if waited:
                work(text, calls)
            else:
                _ends_after(LONGEST)
                if hasattr(os, "nice"):
                    os.nice(10)
                work_behind(text, calls)
    os._exit(0)  # somebody waits


def _ends_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()
    return timer


def work_behind(text: str, calls: Mapping[str, Sequence[Any]]) -> None:
    """Compile what nobody waits for, unless another process is at it."""
    name = digest(text)
    place = cache_folder() / f"tp_kernel_{name}.lock"
    with suppress(DataError), locked(place, name):
        work(text, calls)
        place.unlink()


def work(text: str, calls: Mapping[str, Sequence[Any]]) -> None:
    """Compile functions of a module, and leave them in the cache; none where numba is switched off."""
    module = load(text)
    for name, signature in calls.items():
        if hasattr(function := getattr(module, name), "compile"):
            function.compile(types(signature))
