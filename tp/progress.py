"""Bars on stderr for what takes more than two seconds, where someone watches: at a terminal or in a notebook.

Derivations do not know how long they will take, nor who waits for them: they call :func:`tick` for everything they have found,
and :func:`ticking`, around them, makes a count of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
Advance = Callable[[int], object]

DELAY = 2.0
"""Seconds before a bar is shown."""


def watched() -> bool:
    """Whether what is written to stderr is seen at once. Log files, pipes and programs without a stderr want no bars."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config


@contextmanager
def bar(what: str, total: int | None = None, unit: str = "it", progress: bool | None = None, begun: int = 0) -> Iterator[Advance]:
    """Called with what was done since: a bar named ``what``, with the time left where a ``total`` is known.

    ``progress``: True shows it, False does not, None where someone watches. ``begun`` was done before.
    """
    if sys.stderr is None or not (watched() if progress is None else progress):
        yield lambda count: None
        return
    start, done = time.time(), 0
    shown: list[Any] = []

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if shown:
            shown[0].update(count)
        elif time.time() - start >= DELAY:
            shown.append(_shown(what, total, unit, begun, start))
            shown[0].update(done)
            shown[0].refresh()

    try:
        yield advance
    finally:
        for one in shown:
            one.close()


def _shown(what: str, total: int | None, unit: str, begun: int, start: float) -> Any:
    """The bar itself; its library is loaded where one is shown."""
    from tqdm import tqdm

    large = total is not None and total >= 10**4
    made = tqdm(
        total=total, initial=begun, desc=what, unit=unit, unit_scale=large, file=sys.stderr, leave=False, delay=1e-9
    )  # with a delay nothing is shown before the first update
    made.start_t = made.last_print_t = start
    return made


def over(items: Sequence[T], what: str, unit: str, progress: bool | None) -> Iterator[T]:
    """The items, with a bar."""
    with bar(what, len(items), unit, progress) as advance:
        for item in items:
            yield item
            advance(1)


_advance: ContextVar[Advance] = ContextVar("advance", default=lambda count: None)


def tick(count: int = 1) -> None:
    """Something was found."""
    _advance.get()(count)


@contextmanager
def ticking(what: str, unit: str, progress: bool | None) -> Iterator[None]:
    """A count of the ticks inside."""
    with bar(what, unit=unit, progress=progress) as advance:
        token = _advance.set(advance)
        try:
            yield
        finally:
            _advance.reset(token)
