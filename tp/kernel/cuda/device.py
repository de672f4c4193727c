"""The device: whether there is one, and the memory and queues that a kernel keeps there."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DeviceError, Message
from tp.kernel.disk.tiles import size_text

Array = NDArray[Any]


def cuda_module() -> Any:
    """``numba.cuda``, where there is a device that it can use; else a ``DeviceError`` that says what is missing."""
    missing = 'a CUDA device takes its driver and pip install "tensor-programs[cuda]"'
    remedy, command = f'use device="cpu"; {missing}', f"use --device cpu; {missing}"
    try:
        cuda: Any = import_module("numba.cuda")
        found = simulated() or cuda.is_available()
    except Exception as error:  # a driver that is there and broken, in as many ways as there are drivers
        raise DeviceError(Message(NOWHERE, f"CUDA does not start: {error}", remedy, "no such device", command)) from None
    if not found:
        raise DeviceError(Message(NOWHERE, "there is no CUDA device here", remedy, "no such device", command))
    return cuda


def simulated() -> bool:
    """Whether numba runs CUDA kernels in its simulator (``NUMBA_ENABLE_CUDASIM=1``)."""
    from numba import config

    return bool(getattr(config, "ENABLE_CUDASIM", 0))


def has_device() -> bool:
    """Whether a real device is there; the simulator is none."""
    if simulated():
        return False
    try:
        cuda_module()
    except DeviceError:
        return False
    return True


def free_memory(cuda: Any) -> int:
    """Bytes."""
    free = cuda.current_context().get_memory_info()[0]
    return int(free) if free < float("inf") else 1 << 28  # the simulator's is infinite


@dataclass(eq=False)
class Workspace:
    """Memory of the device that a kernel keeps from call to call, and two queues: for work, and for copies back."""

    cuda: Any
    work: Any
    back: Any
    memory: dict[Hashable, Any] = field(default_factory=dict)  # flat, the largest asked for
    views: dict[tuple[Hashable, tuple[int, ...]], Any] = field(default_factory=dict)
    holds: dict[Hashable, Hashable] = field(default_factory=dict)  # what lies under a name
    fits: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)  # by numbers of samples, what memory was found for

    few: Any = None

    @classmethod
    def on(cls, cuda: Any) -> Workspace:
        """An empty one on the current device."""
        return cls(cuda, cuda.stream(), cuda.stream())

    @property
    def size(self) -> int:
        """Bytes it may take: what is free, and what it has."""
        return free_memory(self.cuda) + sum(int(a.nbytes) for a in self.memory.values())

    def room(self, name: Hashable, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory as an array; what is asked for under the same name lies in the same place."""
        shape = tuple(int(k) for k in shape)
        size = prod(shape)
        if name not in self.memory or self.memory[name].size < size:
            self.views = {key: a for key, a in self.views.items() if key[0] != name}
            self.memory.pop(name, None)
            self.holds.pop(name, None)
            self.memory[name] = self._made(max(1, size), dtype)
        if (name, shape) not in self.views:
            self.views[name, shape] = self.memory[name][:size].reshape(*shape)
        return self.views[name, shape]

    def _made(self, size: int, dtype: Any) -> Any:
        try:
            return self.cuda.device_array(size, dtype)
        except Exception as error:
            if "OUT_OF_MEMORY" not in str(error):
                raise
            self.fits.clear()  # it was found when there was more
            reason = (
                f"the device has no {size_text(size * np.dtype(dtype).itemsize)} left: other programs or kernels have its memory"
            )
            remedy = "free what they hold, or pass fewer samples"
            raise DeviceError(Message(NOWHERE, reason, remedy, "over the device's memory")) from None

    def send(self, name: Hashable, array: Array, dtype: Any, mark: Hashable = None) -> Any:
        """``array`` on the device. Where what was sent last under this name had the same ``mark`` it is there already."""
        device = self.room(name, array.shape, dtype)
        if mark is None or self.holds.get(name) != (mark, array.shape):
            device.copy_to_device(np.ascontiguousarray(array, dtype), stream=self.work)
            self.holds[name] = (mark, array.shape)
        return device

    def fetched(self, device: Any) -> Any:
        """A copy of a few numbers, which is there when ``back`` has ended; in locked memory, so that nobody waits before."""
        if self.few is None or self.few.shape != device.shape or self.few.dtype != device.dtype:
            self.few = self.cuda.pinned_array(device.shape, device.dtype)
        device.copy_to_host(self.few, stream=self.back)
        return self.few

    def then_back(self) -> None:
        """What is copied back from now on waits for the work queued until now."""
        done = self.cuda.event()
        done.record(self.work)
        done.wait(self.back)
