"""``CudaKernel``: pairs on a CUDA device, everything that is linear in the samples on the CPU.

A tile of pairs goes through three stages: inner products by BLAS, the equations on the device, the result to its place and
its mirror image. Two tiles are under way at a time, each on a stream of its own, so that copies and BLAS overlap with the
device's work. Numbers are read and stored in the kernel's precision; arithmetic is in double precision, as on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from math import isqrt, prod
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DeviceError, Message
from tp.kernel import gram, mirror
from tp.kernel.call import Call, Side, Task
from tp.kernel.cuda.text import ENTRY, device_text, host_entry
from tp.kernel.kernel import Kernel
from tp.kernel.module import load

Array = NDArray[Any]

BLOCK = 128
"""Threads of a block."""

LANES = 1 << 17
"""Threads of a launch at most: enough to fill any device."""

EDGE = 4096
"""Rows of a tile at most."""

STREAMS = 2


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


@dataclass(eq=False)
class _Slot:
    """A stream with its buffers, on both sides, and what is to be done when it has finished."""

    stream: Any
    buffers: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # (device, pinned), flat
    finish: Callable[[], None] | None = None

    def wait(self) -> None:
        if self.finish is not None:
            self.finish()
            self.finish = None


@dataclass(eq=False)
class CudaKernel(Kernel):
    """A kernel whose pairs are computed on the current CUDA device."""

    device: ClassVar[str] = "cuda"
    at_once: ClassVar[int] = 1
    """Tiles on disk: one call fills the device's memory and overlaps within."""

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "_device"}

    def __repr__(self) -> str:
        return super().__repr__()[:-1] + ", on CUDA>"

    @property
    def device_source(self) -> str:
        """The generated module for the device."""
        return device_text(self.compiled.text)

    @cached_property
    def _device(self) -> ModuleType:
        return load(self.device_source)

    # ------------------------------------------------------------ pairs

    def _pairs(self, call: Call, one: Side, two: Side, results: dict[str, Array]) -> bool:
        cuda = cuda_module()
        tables = call.grams(one.data)
        ahead = {n: (g, gram.left(g, one.data), gram.right(g, two.data)) for n, g in tables.items()}
        edge, lanes = self._fit(cuda, sum(g.numbers for g in tables.values()))
        tasks = self._tiles(one.count, two.count, one is two, edge)
        parameters = [cuda.to_device(p) for p in (call.integers, call.floats)]
        fixed = parameters, {n: cuda.to_device(a) for n, a in call.constants.items()}
        slots = [_Slot(cuda.stream()) for _ in range(min(STREAMS, len(tasks)))]
        scratch = [self._scratch(cuda, lanes) for _ in slots]
        for k, task in enumerate(tasks):
            i0, i1, j0, j1 = task
            slot = slots[k % len(slots)]
            slot.wait()
            blocks = {n: gram.block(g, a, b, slice(i0, i1), slice(j0, j1)) for n, (g, a, b) in ahead.items()}
            sides = {f"{n}_1": self._rows(n, a, i0, i1) for n, a in one.sites.items()}
            sides |= {f"{n}_2": self._rows(n, a, j0, j1) for n, a in two.sites.items()}
            self._launch(cuda, slot, task, {**blocks, **sides}, fixed, scratch[k % len(slots)], lanes, one is two, results)
        for slot in slots:
            slot.wait()
        return False  # not looked at here

    def _launch(
        self,
        cuda: Any,
        slot: _Slot,
        task: Task,
        given: dict[str, Array],
        fixed: tuple[list[Any], dict[str, Any]],
        scratch: list[Any],
        lanes: int,
        symmetric: bool,
        results: dict[str, Array],
    ) -> None:
        """Copies in, the kernel, copies out: queued on the slot's stream; the results are taken when it is waited for."""
        i0, i1, j0, j1 = task
        parameters, constants = fixed
        arrays = {**constants, **{n: self._sent(cuda, slot, n, a) for n, a in given.items()}}
        outs = {t: self._buffer(cuda, slot, t, (*a.shape[:-2], i1 - i0, j1 - j0), a.dtype) for t, a in results.items()}
        arrays |= {t: device for t, (device, _) in outs.items()}
        blocks = -(-min(lanes, (i1 - i0) * (j1 - j0)) // BLOCK)
        launch = getattr(self._device, ENTRY)[blocks, BLOCK, slot.stream]
        names = self.compiled.functions[host_entry(self.compiled.functions)]
        launch(*parameters, 0, i1 - i0, 0, j1 - j0, symmetric and i0 == j0, *(arrays[n] for n in names), *scratch)
        for device, pinned in outs.values():
            device.copy_to_host(pinned, stream=slot.stream)

        def finish() -> None:
            slot.stream.synchronize()
            for t, (_, pinned) in outs.items():
                if symmetric and i0 == j0:
                    np.copyto(results[t][..., i0:i1, j0:j1], pinned, where=~np.tri(i1 - i0, dtype=bool))
                else:
                    results[t][..., i0:i1, j0:j1] = pinned
                if symmetric:
                    mirror.table(results[t], task, self.compiled.crossed)

        slot.finish = finish

    # ------------------------------------------------------------ memory of the device

    def _fit(self, cuda: Any, numbers: int) -> tuple[int, int]:
        """The edge of tiles and the number of threads that the device has memory for."""
        free = cuda.current_context().get_memory_info()[0]
        free = int(free) if free < float("inf") else 1 << 28  # the simulator's is infinite
        per_lane = 8 * sum(prod(s) for s in self._device.scratch(self._parameters[0]))
        lanes = min(LANES, free // 4 // STREAMS // max(1, per_lane)) // BLOCK * BLOCK
        per_pair = self.dtype.itemsize * (numbers + sum(prod(self.compiled.out_shape(t)) for t in self.compiled.outputs))
        edge = min(EDGE, isqrt(free // 2 // STREAMS // max(1, per_pair)))
        if not lanes or not edge:
            reason = f"{BLOCK} pairs of this kernel do not fit the device's {free / 1e9:.2g} GB that are free"
            raise DeviceError(Message(NOWHERE, reason, 'use device="cpu"', "over the device's memory", "use --device cpu"))
        return edge, lanes

    def _scratch(self, cuda: Any, lanes: int) -> list[Any]:
        """Tables that threads share, a column each; slots beyond a zero boundary stay 0."""
        return [cuda.to_device(np.zeros((*size, lanes))) for size in self._device.scratch(self._parameters[0])]

    @staticmethod
    def _tiles(rows: int, columns: int, symmetric: bool, edge: int) -> list[Task]:
        starts = [(a, b) for a in range(0, rows, edge) for b in range(0, columns, edge) if not symmetric or b >= a]
        return [(a, min(a + edge, rows), b, min(b + edge, columns)) for a, b in starts]

    def _rows(self, name: str, array: Array, start: int, stop: int) -> Array:
        """The samples of a tile's side, of a site table or of coefficient vectors."""
        long = name in self.compiled.coefficients
        return np.ascontiguousarray(array[..., start:stop, :] if long else array[..., start:stop])

    def _buffer(self, cuda: Any, slot: _Slot, name: str, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
        """Memory of the device and pinned memory of the host, of a shape; made once for the largest tile of a slot."""
        size = prod(shape)
        if name not in slot.buffers or slot.buffers[name][1].size < size:
            slot.buffers[name] = cuda.device_array(size, dtype), cuda.pinned_array(size, dtype)
        device, pinned = slot.buffers[name]
        return device[:size].reshape(*shape), pinned[:size].reshape(shape)

    def _sent(self, cuda: Any, slot: _Slot, name: str, array: Array) -> Any:
        device, pinned = self._buffer(cuda, slot, name, array.shape, array.dtype)
        np.copyto(pinned, array)
        device.copy_to_device(pinned, stream=slot.stream)
        return device
