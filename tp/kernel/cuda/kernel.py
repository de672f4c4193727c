"""``CudaKernel``: pairs on a CUDA device; what one sample decides, and the diagonal, which are little, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from tp.kernel import diagonal
from tp.kernel.call import Array, Call, Side
from tp.kernel.cuda import blocks
from tp.kernel.cuda.device import cuda_module
from tp.kernel.cuda.text import device_text
from tp.kernel.kernel import Kernel
from tp.kernel.module import load


@dataclass(eq=False)
class CudaKernel(Kernel):
    """A kernel whose pairs are computed on the current CUDA device, in the same equations and precision as on the CPU."""

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
        return device_text(self.compiled.text, self.compiled.pair_grams, self.dtype == np.float32)

    @cached_property
    def _device(self) -> ModuleType:
        return load(self.device_source)

    def _pairs(self, call: Call, one: Side, two: Side, results: dict[str, Array]) -> bool:
        seen = blocks.fill(cuda_module(), call, self._device, one, two, results)
        return diagonal.fill(call, one, two, results) and seen
