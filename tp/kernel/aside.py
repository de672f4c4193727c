"""Functions of a module compiled side by side, each process at some of them.

numba compiles one function at a time in a process. So others compile in processes of their own and leave what they made in
numba's cache, from which it is loaded here; what one of them fails to make is compiled here when it is called. Which functions
are needed, and for arrays of which kinds, a rehearsal tells: a call with a :class:`Recorder` in the place of the module.
"""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tp.kernel.module import load
from tp.kernel.quick import in_cache
from tp.seldom import seldom

MOST = 4
"""Processes at most: there are few functions, and each process takes some 150 MB."""

START = 10_000
"""What a process does before its first function, in characters of generated text compiled meanwhile."""

START_UP = """
import json, sys
job = json.load(sys.stdin)
sys.path[:] = job.pop("path")
from tp.kernel.aside import work
work(**job)
"""

Signature = tuple[Any, ...]
"""numba's types of a function's arguments."""


class Recorder:
    """Looks like a module whose functions do nothing; ``calls`` has the arguments' types of each that was called."""

    def __init__(self) -> None:
        self.calls: dict[str, Signature] = {}

    def __getattr__(self, name: str) -> Callable[..., int]:
        from numba import typeof

        def called(*arguments: Any) -> int:
            self.calls.setdefault(name, tuple(typeof(a) for a in arguments))
            return 1

        return called


_compiling = threading.Lock()


def compile_aside(text: str, calls: Mapping[str, Signature], processes: int) -> None:
    """Compile functions of the module with this text, or load them where they are kept."""
    with _compiling:
        module = load(text)
        compiled = [name for name in calls if hasattr(getattr(module, name), "compile")]  # none where numba is switched off
        missing = [name for name in compiled if not in_cache(getattr(module, name), calls[name])]
        possible = sys.executable and multiprocessing.parent_process() is None
        shares = _dealt(text, missing, min(processes, MOST, 1 + idle()) if possible else 1)
        helpers = [_helper(text, {name: calls[name] for name in share}) for share in shares[1:] if share]
        try:
            for name in shares[0]:
                getattr(module, name).compile(calls[name])
            for helper in helpers:
                helper.wait()
        finally:
            for helper in helpers:
                helper.kill()
                helper.wait()


def idle() -> int:
    """Cores that had nothing to do of late: on a busy machine more processes make more work, not less."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(0, int((os.cpu_count() or 1) - load))


def _dealt(text: str, names: list[str], count: int) -> list[list[str]]:
    """Functions dealt to processes, the longest first and each to whom has the least to do; the first process runs already."""
    work = _lengths(text)
    shares: list[list[str]] = [[] for _ in range(count)]
    loads = [0, *[START] * (count - 1)]
    for name in sorted(names, key=lambda n: -work[n]):
        k = min(range(count), key=lambda k: loads[k] + work[name])
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


def _helper(text: str, calls: Mapping[str, Signature]) -> subprocess.Popen[str]:
    """A process that compiles these functions."""
    job = {"path": sys.path, "text": text, "calls": {name: [_written(t) for t in types] for name, types in calls.items()}}
    helper = subprocess.Popen(
        [sys.executable, "-c", START_UP],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    assert helper.stdin is not None
    try:
        helper.stdin.write(json.dumps(job))
        helper.stdin.close()
    except OSError:  # it has ended: nothing will be found in the cache
        pass
    return helper


@seldom()
def work(text: str, calls: Mapping[str, list[Any]]) -> None:
    """What such a process does."""
    module = load(text)
    for name, types in calls.items():
        getattr(module, name).compile(tuple(_read(t) for t in types))


def _written(kind: Any) -> Any:
    """A type as JSON: a number's name, or what an array is made of."""
    from numba import types

    if isinstance(kind, types.Array):
        return [str(kind.dtype), kind.ndim, kind.layout, not kind.mutable, kind.aligned]
    return str(kind)


def _read(kind: Any) -> Any:
    from numba import types

    if isinstance(kind, list):
        dtype, ndim, layout, readonly, aligned = kind
        return types.Array(getattr(types, dtype), ndim, layout, readonly, aligned=aligned)
    return types.boolean if kind == "bool" else getattr(types, kind)
