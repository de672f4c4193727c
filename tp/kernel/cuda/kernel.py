"""``CudaKernel``: pairs on a CUDA device; what one sample decides, and the diagonal, which are little, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from tp.kernel import diagonal
from tp.kernel.call import Array, Call, Side
from tp.kernel.cuda import blocks
from tp.kernel.cuda.device import Workspace, cuda_module
from tp.kernel.cuda.pinned import POOL
from tp.kernel.cuda.text import device_text
from tp.kernel.kernel import Kernel
from tp.kernel.module import load
from tp.kernel.sites import prepare


@dataclass(eq=False)
class CudaKernel(Kernel):
    """A kernel whose pairs are computed on the current CUDA device, in the same equations and precision as on the CPU."""

    device: ClassVar[str] = "cuda"
    at_once: ClassVar[int] = 1
    """Tiles on disk: one call fills the device's memory and overlaps within."""

    _turn: Lock = field(default_factory=Lock, repr=False)
    """One call at a time has the memory that the kernel keeps on the device."""

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k not in ("_device", "_space", "_turn")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _turn=Lock())

    def __repr__(self) -> str:
        return super().__repr__()[:-1] + ", on CUDA>"

    @cached_property
    def device_source(self) -> str:
        """The generated module for the device. Raises ``DeviceError`` where the device does not do what it takes."""
        return device_text(self.compiled.text, self.compiled.pair_grams, self.dtype == np.float32)

    def check_device(self) -> None:
        _ = self.device_source

    @cached_property
    def _device(self) -> ModuleType:
        return load(self.device_source)

    @cached_property
    def _space(self) -> Workspace:
        return Workspace.on(cuda_module())

    def _filled(self, call: Call, one: Side, two: Side) -> tuple[dict[str, Array], bool]:
        shapes = {t: (*call.plan.out_shape(t), one.count, two.count) for t in call.plan.outputs}
        results = {t: POOL.lend(cuda_module(), shape, call.dtype) for t, shape in shapes.items()}
        prepare(call, *([one] if two is one else [one, two]))
        with self._turn:
            end = blocks.fill(self._space, call, self._device, one, two, results)
            try:
                ours = diagonal.values(call, one, two)  # meanwhile
            finally:
                seen = end()  # nothing may be lent to others that the device still writes to
        return results, diagonal.place(ours, results) and seen
