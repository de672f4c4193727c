"""What samples decide one by one, found while pairs of other samples are computed: a pair waits for its own two alone.

Where pairs are few and take long, threads would else wait for each other twice in a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Event

import numpy as np
from numpy.typing import NDArray

from tp.kernel.call import Call, Side
from tp.kernel.sites import site_tasks


class Ahead:
    """``tasks`` fill the site tables of sides, each those of some samples, and go on with ``then`` for these.

    They are begun before any pair, in their order.
    """

    def __init__(self, call: Call, sides: Sequence[Side], then: Callable[[Side, slice], None]) -> None:
        self.then = then
        self.tasks: list[Callable[[], None]] = []
        self.known: dict[int, tuple[int, list[Event]]] = {}
        for side in sides:
            parts = site_tasks(call, side)
            events = [Event() for _ in parts]
            self.known[id(side)] = parts[0][0].stop, events
            self.tasks += [partial(self._fill, side, part, task, e) for (part, task), e in zip(parts, events, strict=True)]

    def wait(self, side: Side, samples: NDArray[np.int64]) -> None:
        """Until these samples are known."""
        each, events = self.known[id(side)]
        for k in set((samples // each).tolist()):
            events[k].wait()

    def _fill(self, side: Side, part: slice, task: Callable[[], None], known: Event) -> None:
        try:
            task()
            self.then(side, part)
        finally:
            known.set()  # an error ends the run: nobody may wait for ever
