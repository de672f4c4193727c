"""BLAS on one thread each, while threads of ours call it side by side.

OpenBLAS's own threads, once woken, spin for some 20 ms in wait of more to do, on the cores that ours need; and a product that
is made where it is used next is still in that core's cache.

``threadpoolctl`` would do it for one Python thread: it ignores what any other asks for while the first to have asked
lives, so that of two calls which overlap in two threads the last could not restore what was before.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import Any

from tp.forks import waited_for

_lock = waited_for(threading.Lock())
_before: list[int] = []  # how many threads there were, once for every call in progress


@contextmanager
def one_thread() -> Iterator[None]:
    """NumPy's BLAS on the calling thread alone. Calls may overlap, in any threads: the last to end restores what was before."""
    count, limit = _library()
    with _lock:
        _before.append(_before[0] if _before else count())
        limit(1)
    try:
        yield
    finally:
        with _lock:
            before = _before.pop()
            if not _before:
                limit(before)


@cache
def _library() -> tuple[Any, Any]:
    """Reads and sets the number of threads of the OpenBLAS or MKL that NumPy is linked to; of another BLAS, nothing."""
    names = [(f"{a}openblas_get_num_threads{b}", f"{a}openblas_set_num_threads{b}") for a, b in product(PREFIXES, SUFFIXES)]
    for module in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):
        path = getattr(sys.modules.get(module), "__file__", None)
        if path is None:
            continue
        library = ctypes.CDLL(path)  # whose symbols include those of what it is linked to
        for get, put in [*names, ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads")]:
            if hasattr(library, get) and hasattr(library, put):
                return getattr(library, get), getattr(library, put)
    return lambda: 1, lambda count: None


PREFIXES, SUFFIXES = ("", "scipy_"), ("", "64_", "_64")
