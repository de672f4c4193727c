"""What samples decide one by one, found while pairs of other samples are computed: a pair waits for its own two alone.

Where pairs are few and take long, threads would else wait for each other twice in a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from tp.kernel.call import Call, Side
from tp.kernel.sites import site_tasks


class Ahead:
    """``tasks`` fill the site tables of sides, each those of some samples, and go on with ``then`` for these."""

    def __init__(self, call: Call, sides: Sequence[Side], then: Callable[[Side, slice], None]) -> None:
        self.tasks: list[Once] = []
        self.known: dict[int, tuple[int, list[Once]]] = {}
        for side in sides:
            parts = site_tasks(call, side)
            once = [Once(task, partial(then, side, part)) for part, task in parts]
            self.known[id(side)] = parts[0][0].stop, once
            self.tasks += once

    def wait(self, side: Side, samples: NDArray[np.int64]) -> None:
        """Until these samples are known: what nobody has begun, or somebody gave up, is done here."""
        each, once = self.known[id(side)]
        for k in set((samples // each).tolist()):
            once[k]()


class Once:
    """Work that the first one who asks for it does, while others wait; again where that one failed."""

    def __init__(self, *work: Callable[[], None]) -> None:
        self.work = work
        self.lock = Lock()

    def __call__(self) -> None:
        with self.lock:
            for part in self.work:
                part()
            self.work = ()
