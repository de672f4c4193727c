"""The device and what lies on it: whether there is one, streams with their buffers on both sides, memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DeviceError, Message

Array = NDArray[Any]
T = TypeVar("T")


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
class Stream:
    """A stream with its buffers, there and pinned here, and what is to be done when it has finished."""

    cuda: Any
    queue: Any
    there: dict[Hashable, Any] = field(default_factory=dict)  # flat, the largest asked for
    here: dict[Hashable, Any] = field(default_factory=dict)
    holds: dict[Hashable, Any] = field(default_factory=dict)  # what was sent under a name
    finish: Callable[[], bool] | None = None

    def wait(self) -> bool:
        """Until all is done that was queued; what its ``finish`` says."""
        finish, self.finish = self.finish, None
        return True if finish is None else finish()

    def room(self, name: Hashable, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory of the device, as an array."""
        size = prod(shape)
        if name not in self.there or self.there[name].size < size:
            self.there[name] = self.cuda.device_array(max(1, size), dtype)
            self.holds.pop(name, None)
        return self.there[name][:size].reshape(*shape)

    def pinned(self, name: Hashable, shape: tuple[int, ...], dtype: Any) -> Array:
        """Memory of the host that the device copies from and to while both go on."""
        size = prod(shape)
        if name not in self.here or self.here[name].size < size:
            self.here[name] = self.cuda.pinned_array(max(1, size), dtype)
        found: Array = self.here[name][:size].reshape(shape)
        return found

    def send(self, name: Hashable, array: Array, dtype: Any, mark: Hashable = None) -> Any:
        """``array`` on the device. Where what was sent last under this name had the same ``mark`` it is there already."""
        device = self.room(name, array.shape, dtype)
        if mark is None or self.holds.get(name) != mark:
            staged = self.pinned(name, array.shape, dtype)
            np.copyto(staged, array, casting="same_kind")
            device.copy_to_device(staged, stream=self.queue)
            self.holds[name] = mark
        return device

    def fetch(self, name: Hashable, device: Any) -> Array:
        """Where the device's array will be when the stream has finished."""
        staged = self.pinned(name, device.shape, device.dtype)
        device.copy_to_host(staged, stream=self.queue)
        return staged


def in_turn(streams: Sequence[Stream], tasks: Sequence[T], queue: Callable[[Stream, T], None]) -> bool:
    """Queues each task on the stream whose turn it is, once that has finished its last; whether all were finished well."""
    seen = []
    for k, task in enumerate(tasks):
        stream = streams[k % len(streams)]
        seen.append(stream.wait())
        queue(stream, task)
    seen += [stream.wait() for stream in streams]
    return all(seen)
