"""Compiled functions loaded from numba's cache without what numba needs only to compile.

Before it looks into its cache numba gets ready to compile anything that Python and NumPy have: it imports some 200 modules,
SciPy's linear algebra among them, which takes longer than all the rest of a first call. A function that is found needs
none of it but numba's memory management; so here the cache is looked into first. This goes below numba's interface, and
is done for the releases in which it has been checked; with others everything is loaded as numba does it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

CHECKED = ("0.67.", "0.68.")
"""Releases of numba: tests of kernels pass with each, compiled."""


def lighten(module: ModuleType) -> None:
    """Let the functions of a generated module that are kept on disk look there first, for what is whole."""
    import numba
    from numba.core.caching import FunctionCache

    if not numba.__version__.startswith(CHECKED):
        return
    caches = (getattr(function, "_cache", None) for function in vars(module).values())
    kept: list[Any] = [cache for cache in caches if type(cache) is FunctionCache]  # not those of a device's functions
    from tp.kernel.whole import Whole

    for cache in kept:
        cache._cache_file = Whole(cache._cache_file)
        cache.load_overload = _First(cache)
    from tp.kernel.lean import compile_lean

    compile_lean(module)


def warm() -> None:
    """Load what compiling takes, and compile what every generated function has."""
    import numba
    import numpy as np

    if numba.__version__.startswith(CHECKED):
        _ready()
    numba.njit((numba.int64,))(lambda n: np.empty((2, n)))


def in_cache(function: Any, signature: Any) -> bool:
    """Whether a compiled function is kept; then it is loaded."""
    first: Any = getattr(getattr(function, "_cache", None), "load_overload", None)
    if not isinstance(first, _First):
        return False
    if tuple(signature) not in function.overloads:
        if (found := first(signature, function.targetctx, refresh=False)) is None:
            return False
        first.found[tuple(signature)] = found
    function.compile(tuple(signature))
    return True


class _First:
    """``load_overload`` of a function's cache."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache
        self.found: dict[Any, Any] = {}  # already, and not yet asked for

    def __call__(self, signature: Any, context: Any, refresh: bool = True) -> Any:
        if tuple(signature) in self.found:
            return self.found.pop(tuple(signature))
        from numba.core.runtime.nrt import rtsys

        rtsys.initialize(context)
        with self.cache._guard_against_spurious_io_errors():
            found = self.cache._load_overload(signature, context)
        if found is None and refresh:
            _ready()
            context.refresh()
        return found


def _ready() -> None:
    """The part of numba that looks whether SciPy's linear algebra is there, without its loading that: what needs it, loads it."""
    from importlib.util import find_spec

    from numba.np import linalg

    if "numba.np.arraymath" in sys.modules or find_spec("scipy") is None:
        return
    whole, linalg.ensure_blas = linalg.ensure_blas, lambda: None
    try:
        from numba.np import arraymath
    finally:
        linalg.ensure_blas = whole
    vars(arraymath)["ensure_blas"] = whole
