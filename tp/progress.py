"""Bars on stderr for what takes more than two seconds, where someone watches: at a terminal or in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DELAY = 2.0
"""Seconds before a bar is shown."""


def watched() -> bool:
    """Whether what is written to stderr is seen at once. Log files, pipes and programs without a stderr want no bars."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config


@contextmanager
def bar(
    what: str, total: int | None = None, unit: str = "it", progress: bool | None = None, begun: int = 0, delay: float = DELAY
) -> Iterator[Callable[[int], object]]:
    """Called with what was done since: a bar named ``what``, with the time left where a ``total`` is known.

    ``progress``: True shows it, False does not, None where someone watches. ``begun`` was done before.
    """
    if not (watched() if progress is None else progress) or sys.stderr is None:
        yield lambda count: None
        return
    from tqdm import tqdm

    large = total is not None and total >= 10**4
    with tqdm(
        total=total, initial=begun, desc=what, unit=unit, unit_scale=large, delay=delay, file=sys.stderr, leave=False
    ) as shown:
        yield shown.update
